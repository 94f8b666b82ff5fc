-- One-minute datapoints. Minutes are numbered from 1970-01-01 00:00 UTC.
-- A series: the metric, then dimension=value for each dimension, separated by U+001F.
CREATE TABLE series (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE minute (
    at INTEGER NOT NULL, series INTEGER NOT NULL,
    count INTEGER NOT NULL, sum REAL NOT NULL, min REAL NOT NULL, max REAL NOT NULL,
    spread BLOB,        -- distinct values: 8 bytes value, 4 bytes how often; NULL: only min
    PRIMARY KEY (at, series)
) WITHOUT ROWID;
-- Minutes that no longer change.
CREATE TABLE minute_sealed (at INTEGER PRIMARY KEY);
-- Datapoints of sealed minutes that an exporter has not delivered.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, series INTEGER NOT NULL,
    sending INTEGER NOT NULL DEFAULT 0      -- 1 while a call with it is under way
);
CREATE INDEX outbox_by_minute ON outbox (at, id);
CREATE INDEX outbox_under_way ON outbox (id) WHERE sending = 1;
-- Combinations of dimension values that are exported under their own name: dimension=value for
-- each dimension, separated by U+001F.
CREATE TABLE exported_group (name TEXT PRIMARY KEY) WITHOUT ROWID;
