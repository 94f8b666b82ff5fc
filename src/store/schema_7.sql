-- Warnings of limits that stand now, so that a restart repeats none. One row a counter and level.
CREATE TABLE quota_warning (
    name TEXT PRIMARY KEY,
    ends INTEGER,                           -- end of the window; NULL: a rolling one
    transition TEXT NOT NULL                -- JSON: what was told
) WITHOUT ROWID;
