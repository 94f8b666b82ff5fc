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
