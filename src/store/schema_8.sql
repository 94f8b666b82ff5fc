-- Cost: bills, what was closed, business figures.

-- Logs of Bedrock: where they are read from, and which objects were read.
CREATE TABLE log_source (
    id INTEGER PRIMARY KEY,
    -- As the configuration writes it.
    name TEXT NOT NULL UNIQUE,
    -- The first round, in milliseconds: what happened before it is history.
    since INTEGER NOT NULL,
    -- All before it was read, in milliseconds.
    read_to INTEGER NOT NULL
);

CREATE TABLE log_object (
    source INTEGER NOT NULL,
    -- Hash of the object's key and version.
    key BLOB NOT NULL,
    -- The UTC hour since 1970 that it lies under; the largest number where it lies under none.
    hour INTEGER NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
