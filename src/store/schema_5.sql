-- What people added to quota counters by hand, or took back. Rows are only ever added.
CREATE TABLE quota_adjustment (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL, -- milliseconds since 1970: the window that it counts in
    limit_name TEXT NOT NULL,
    unit TEXT NOT NULL,
    scope TEXT NOT NULL, -- JSON: values by field
    amount TEXT NOT NULL, -- decimal, in the unit
    reason TEXT NOT NULL,
    created_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quota_adjustment_at ON quota_adjustment (at);
