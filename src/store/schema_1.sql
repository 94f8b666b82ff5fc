-- Dictionaries: names are stored once and referred to by number.
CREATE TABLE source (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE label (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
-- A session, or what stands for it: 's:' session, 'd:' device and UTC day, 'm:' UTC day.
CREATE TABLE session (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE identity (
    id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL,
    user TEXT, device TEXT, account TEXT, organization TEXT,
    team TEXT, project TEXT, department TEXT, cost_center TEXT,
    last_at INTEGER NOT NULL DEFAULT 0      -- milliseconds; kept to the minute
);
CREATE TABLE sku (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL, model TEXT NOT NULL, raw_model TEXT NOT NULL, scope TEXT NOT NULL,
    region TEXT, tier TEXT NOT NULL, band INTEGER NOT NULL
);

-- One row a report of a request, in order of arrival. Times are milliseconds since 1970.
CREATE TABLE fact (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,                      -- 16 bytes: hash of source and id
    received INTEGER NOT NULL,              -- UTC day
    source INTEGER NOT NULL, rank INTEGER NOT NULL, flags INTEGER NOT NULL,
    at INTEGER NOT NULL, booked_at INTEGER, -- NULL: as at
    identity INTEGER NOT NULL, sku INTEGER NOT NULL, model INTEGER NOT NULL, session INTEGER,
    request INTEGER, client_request INTEGER, reservation INTEGER,   -- hashes
    input INTEGER NOT NULL, output INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
    cache_write_unknown INTEGER NOT NULL,
    outcome INTEGER NOT NULL, status_code INTEGER,
    duration_ms INTEGER, ttft_ms INTEGER, tools INTEGER,
    query_source INTEGER, entrypoint INTEGER,
    client_cost INTEGER,                    -- micro-USD
    -- What counting once made of it:
    grp INTEGER,                            -- the best report of its request; NULL: itself, alone
    counted_as INTEGER,                     -- identity under which it counts; NULL: it does not
    pin INTEGER,                            -- published series in which it was first counted
    cost INTEGER                            -- pico-USD; NULL: no price known
);
CREATE INDEX fact_by_group ON fact (grp) WHERE grp IS NOT NULL;
CREATE TABLE fact_key (key BLOB PRIMARY KEY, fact INTEGER NOT NULL) WITHOUT ROWID;
-- By what reports are recognised as one request: hashes of ids, and of session and counts.
-- Most keys belong to one report only; further reports with the same key are in join_more.
CREATE TABLE join_key (hash INTEGER PRIMARY KEY, fact INTEGER NOT NULL);
CREATE TABLE join_more (hash INTEGER NOT NULL, fact INTEGER NOT NULL, PRIMARY KEY (hash, fact))
    WITHOUT ROWID;

-- Counter points and activities that were counted, and the state of cumulative counters.
CREATE TABLE seen (key BLOB PRIMARY KEY, received INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE cumulative (
    series BLOB NOT NULL, start INTEGER NOT NULL, received INTEGER NOT NULL, points BLOB NOT NULL,
    PRIMARY KEY (series, start)
) WITHOUT ROWID;

-- Requests (e: the client's events, r: counted ones) that counters are held against, by scope
-- and quarter hour (seconds since 1970 / 900). The six amounts: input, output, cache reads,
-- cache writes, the client's cost in micro-USD, requests.
CREATE TABLE cover (
    session INTEGER NOT NULL, model INTEGER NOT NULL, quarter INTEGER NOT NULL,
    e0 INTEGER NOT NULL, e1 INTEGER NOT NULL, e2 INTEGER NOT NULL,
    e3 INTEGER NOT NULL, e4 INTEGER NOT NULL, e5 INTEGER NOT NULL,
    r0 INTEGER NOT NULL, r1 INTEGER NOT NULL, r2 INTEGER NOT NULL,
    r3 INTEGER NOT NULL, r4 INTEGER NOT NULL, r5 INTEGER NOT NULL,
    PRIMARY KEY (session, model, quarter)
) WITHOUT ROWID;
-- What counters said (m), and the part of it that counts (x).
CREATE TABLE metered (
    session INTEGER NOT NULL, model INTEGER NOT NULL, quarter INTEGER NOT NULL,
    identity INTEGER NOT NULL, sku INTEGER NOT NULL, source INTEGER NOT NULL,
    m0 INTEGER NOT NULL, m1 INTEGER NOT NULL, m2 INTEGER NOT NULL,
    m3 INTEGER NOT NULL, m4 INTEGER NOT NULL, m5 INTEGER NOT NULL,
    x0 INTEGER NOT NULL, x1 INTEGER NOT NULL, x2 INTEGER NOT NULL,
    x3 INTEGER NOT NULL, x4 INTEGER NOT NULL, x5 INTEGER NOT NULL,
    cost INTEGER NOT NULL, unpriced INTEGER NOT NULL, pin INTEGER,
    PRIMARY KEY (session, model, quarter, identity, sku, source)
) WITHOUT ROWID;

-- Roll-ups of what counts. Costs are pico-USD of the priced part.
CREATE TABLE usage_quarter (
    quarter INTEGER NOT NULL, identity INTEGER NOT NULL, sku INTEGER NOT NULL,
    requests INTEGER NOT NULL, errors INTEGER NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
    cache_write_unknown INTEGER NOT NULL,
    cost INTEGER NOT NULL, unpriced INTEGER NOT NULL,
    PRIMARY KEY (quarter, identity, sku)
) WITHOUT ROWID;
-- span: 0 UTC days, 1 days in the configured zone, 2 UTC months, 3 months in the zone.
-- start: the quarter hour with which the day or month begins.
CREATE TABLE usage_span (
    span INTEGER NOT NULL, start INTEGER NOT NULL, identity INTEGER NOT NULL, sku INTEGER NOT NULL,
    requests INTEGER NOT NULL, errors INTEGER NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
    cache_write_unknown INTEGER NOT NULL,
    cost INTEGER NOT NULL, unpriced INTEGER NOT NULL,
    PRIMARY KEY (span, start, identity, sku)
) WITHOUT ROWID;
-- Days and months whose roll-up no longer equals its quarter hours.
CREATE TABLE stale_span (span INTEGER NOT NULL, start INTEGER NOT NULL, PRIMARY KEY (span, start))
    WITHOUT ROWID;
-- What each source reported and how much of it counted, by UTC day.
CREATE TABLE control_day (
    day INTEGER NOT NULL, source INTEGER NOT NULL, sku INTEGER NOT NULL,
    requests INTEGER NOT NULL, counted_requests INTEGER NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
    cache_write_unknown INTEGER NOT NULL,
    counted_input INTEGER NOT NULL, counted_output INTEGER NOT NULL,
    counted_cache_read INTEGER NOT NULL, counted_cache_write_5m INTEGER NOT NULL,
    counted_cache_write_1h INTEGER NOT NULL, counted_cache_write_unknown INTEGER NOT NULL,
    PRIMARY KEY (day, source, sku)
) WITHOUT ROWID;
CREATE TABLE activity_quarter (
    quarter INTEGER NOT NULL, identity INTEGER NOT NULL, metric TEXT NOT NULL,
    labels INTEGER NOT NULL, amount INTEGER NOT NULL,
    PRIMARY KEY (quarter, identity, metric, labels)
) WITHOUT ROWID;

-- What /metrics has published: values only grow; a decrease is debt, paid by later growth.
CREATE TABLE published_usage (
    id INTEGER PRIMARY KEY,
    user TEXT NOT NULL, team TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    amounts BLOB NOT NULL                   -- values, then debts, 8 bytes each
);
CREATE TABLE published_activity (
    id INTEGER PRIMARY KEY,
    metric TEXT NOT NULL, user TEXT NOT NULL, team TEXT NOT NULL, labels TEXT NOT NULL,
    amount INTEGER NOT NULL,
    UNIQUE (metric, user, team, labels)
);
CREATE TABLE published_duration (
    provider TEXT NOT NULL, model TEXT NOT NULL,
    buckets BLOB NOT NULL, sum_ms INTEGER NOT NULL, debt INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
) WITHOUT ROWID;

CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
