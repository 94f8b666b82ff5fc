-- Alarms as they stand, what happened to them, and what is to be told. Times are milliseconds
-- since 1970.
CREATE TABLE alarm_state (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL, since INTEGER NOT NULL, updated INTEGER NOT NULL,
    reason TEXT NOT NULL, value REAL
) WITHOUT ROWID;
CREATE TABLE alarm_history (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL, alarm TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL,
    reason TEXT NOT NULL, value REAL
);

-- One row a transition and target, until it was told or given up. A number is never used twice.
CREATE TABLE notice (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    transition TEXT NOT NULL,               -- JSON
    due INTEGER NOT NULL,
    open_since INTEGER,                     -- NULL: it could not be told yet
    batch INTEGER,                          -- first notice of the message it was sent in
    sending INTEGER NOT NULL DEFAULT 0,     -- 1: handed over, and the answer is not known yet
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT
);
CREATE INDEX notice_target ON notice (target, id);

-- What each target heard last of each alarm.
CREATE TABLE notice_told (
    target TEXT NOT NULL, alarm TEXT NOT NULL,
    state TEXT NOT NULL, at INTEGER NOT NULL, transition TEXT NOT NULL,
    PRIMARY KEY (target, alarm)
) WITHOUT ROWID;

-- Maintenance windows that were set while tallyd ran.
CREATE TABLE mute (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    starts INTEGER NOT NULL, ends INTEGER NOT NULL,
    alarms TEXT NOT NULL, reason TEXT NOT NULL, created_by TEXT NOT NULL
);
