-- Cost: bills, what was closed, business figures.

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
