-- Cost: bills, what was closed, business figures.

-- Merged changes and what trackers tell: one row each, as it stood last. Times are milliseconds.
CREATE TABLE business_event (
    source TEXT NOT NULL, id TEXT NOT NULL,
    at INTEGER NOT NULL,
    updated INTEGER NOT NULL,               -- what is told of an earlier time changes nothing
    kind TEXT NOT NULL,
    is_fix INTEGER NOT NULL,
    claude INTEGER,                         -- NULL: not told
    merge_commit TEXT,
    user TEXT, team TEXT,
    amount INTEGER NOT NULL,                -- millionths
    PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX business_event_at ON business_event (at);
CREATE INDEX business_event_commit ON business_event (merge_commit) WHERE merge_commit IS NOT NULL;
-- Deliveries of webhooks, so that one that comes again is known.
CREATE TABLE business_delivery (
    source TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX business_delivery_at ON business_delivery (at);
-- Commits in which Claude Code took part.
CREATE TABLE business_commit (hash TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX business_commit_at ON business_commit (at);
-- Fixed bugs as /metrics shows them; a decrease is debt, paid by later growth.
CREATE TABLE business_published (
    claude TEXT PRIMARY KEY, value INTEGER NOT NULL, debt INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Logs of Bedrock: where they are read from, and which objects were read.
CREATE TABLE log_source (
    id INTEGER PRIMARY KEY,
    -- As the configuration writes it.
    name TEXT NOT NULL UNIQUE,
    -- The first round, in milliseconds: what happened before it is history.
    since INTEGER NOT NULL,
    -- All before it was read, in milliseconds.
    read_to INTEGER NOT NULL
) STRICT;

CREATE TABLE log_object (
    source INTEGER NOT NULL,
    -- Hash of the object's key and version.
    key BLOB NOT NULL,
    -- The UTC hour since 1970 that it lies under; the largest number where it lies under none.
    hour INTEGER NOT NULL,
    PRIMARY KEY (source, key)
) STRICT, WITHOUT ROWID;

-- Months that were closed: frozen lines, and lines that correct earlier closed months.
CREATE TABLE closed_month (
    month TEXT PRIMARY KEY,                 -- 2026-10, in the calendar of the zone
    zone TEXT NOT NULL,
    closed_at INTEGER NOT NULL,             -- milliseconds since 1970
    closed_by TEXT NOT NULL,
    forced INTEGER NOT NULL,
    standing TEXT NOT NULL,                 -- how sure the figures were
    columns TEXT NOT NULL,                  -- JSON: names of keys and of amounts
    sha256 TEXT NOT NULL,                   -- of the lines
    manifest TEXT NOT NULL                  -- JSON: what the lines were made of
) STRICT, WITHOUT ROWID;
CREATE TABLE closed_line (
    month TEXT NOT NULL, position INTEGER NOT NULL,
    corrects TEXT NOT NULL,                 -- the month itself, or an earlier closed one
    keys TEXT NOT NULL,                     -- JSON list of texts
    amounts TEXT NOT NULL,                  -- JSON list of integers as text, or null
    method TEXT NOT NULL,                   -- how the amount came to the line
    PRIMARY KEY (month, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX closed_line_corrects ON closed_line (corrects);

-- The bill: one row a billed UTC day of an account, as its newest revision stands.
CREATE TABLE bill_day (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL, provider TEXT NOT NULL, account TEXT NOT NULL,
    day INTEGER NOT NULL,                   -- since 1970-01-01
    estimated INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    pulled_at INTEGER NOT NULL,             -- milliseconds since 1970, of the newest reading
    UNIQUE (source, provider, account, day)
) STRICT;
CREATE INDEX bill_day_day ON bill_day (day);
-- The newest revisions of each day. What was replaced stays to be looked up.
CREATE TABLE bill_revision (
    bill INTEGER NOT NULL, revision INTEGER NOT NULL,
    pulled_at INTEGER NOT NULL,             -- when these lines were first read
    estimated INTEGER NOT NULL,
    after_final INTEGER NOT NULL,           -- 1: it replaced lines that were final
    PRIMARY KEY (bill, revision)
) STRICT, WITHOUT ROWID;
CREATE TABLE bill_line (
    bill INTEGER NOT NULL, revision INTEGER NOT NULL, position INTEGER NOT NULL,
    provider TEXT NOT NULL, account TEXT NOT NULL, charge TEXT NOT NULL,
    model TEXT, kind TEXT, scope TEXT, region TEXT, tier TEXT NOT NULL,
    long_context INTEGER NOT NULL,
    service TEXT NOT NULL, usage_type TEXT NOT NULL, user TEXT,
    quantity TEXT NOT NULL, unit TEXT NOT NULL, tokens INTEGER,
    currency TEXT NOT NULL,
    unblended TEXT, net TEXT, blended TEXT, -- in 1e-12 of the currency
    PRIMARY KEY (bill, revision, position)
) STRICT, WITHOUT ROWID;
-- Calls of Cost Explorer by UTC month, so that a restart does not begin the ceiling anew.
CREATE TABLE bill_call (
    month TEXT PRIMARY KEY,                 -- 2026-11
    calls INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- What Cost Explorer forecast last for an account's month.
CREATE TABLE bill_forecast (
    account TEXT PRIMARY KEY,
    from_day INTEGER NOT NULL, to_day INTEGER NOT NULL, -- since 1970-01-01, half-open
    currency TEXT NOT NULL,
    low TEXT NOT NULL, mid TEXT NOT NULL, high TEXT NOT NULL, -- in 1e-12 of the currency
    level INTEGER NOT NULL,                 -- percent of the interval
    made_at INTEGER NOT NULL                -- milliseconds since 1970
) STRICT, WITHOUT ROWID;

-- Which price table was in force from when on.
CREATE TABLE price_table_use (
    at INTEGER PRIMARY KEY,                 -- milliseconds since 1970
    version TEXT NOT NULL, sha256 TEXT NOT NULL
) STRICT;
-- Runs that priced usage anew. Rows are only ever added.
CREATE TABLE reprice_run (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,                    -- milliseconds since 1970
    first_day INTEGER NOT NULL, end_day INTEGER NOT NULL,   -- UTC days since 1970, half-open
    version TEXT NOT NULL, sha256 TEXT NOT NULL,
    reason TEXT NOT NULL, created_by TEXT NOT NULL
) STRICT;
-- What each run changed: the sum of a UTC day, identity and SKU before and after, in pico-USD and
-- tokens without a price.
CREATE TABLE price_adjustment (
    day INTEGER NOT NULL, run INTEGER NOT NULL, identity INTEGER NOT NULL, sku INTEGER NOT NULL,
    old_cost INTEGER NOT NULL, new_cost INTEGER NOT NULL,
    old_unpriced INTEGER NOT NULL, new_unpriced INTEGER NOT NULL,
    old_version TEXT NOT NULL,              -- of the price table before; empty if not known
    PRIMARY KEY (day, run, identity, sku)
) STRICT, WITHOUT ROWID;

-- Reports that were written by schedule, once for each period. All times are milliseconds since
-- 1970.
CREATE TABLE report_delivery (
    schedule TEXT NOT NULL,
    period_start INTEGER NOT NULL, period_end INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    report_id TEXT NOT NULL,
    PRIMARY KEY (schedule, period_start)
) STRICT, WITHOUT ROWID;
