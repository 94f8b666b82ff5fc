-- Keys lie in sorted runs now, not in trees: a commit then writes no page for a key alone. The
-- keys of reports that are in no run are made from their rows when the ledger is opened.
DROP TABLE fact_key;
DROP TABLE join_key;
DROP TABLE join_more;
-- A run holds the keys of the reports numbered above the run before it, up to `last`. Its blocks
-- are numbered from `block` on; `edges` are their first keys, 8 bytes each.
CREATE TABLE key_run (
    id INTEGER PRIMARY KEY,
    level INTEGER NOT NULL, last INTEGER NOT NULL, entries INTEGER NOT NULL,
    block INTEGER NOT NULL, edges BLOB NOT NULL, filter BLOB NOT NULL
);
-- Entries of 14 bytes: the key, then the number of the report; sorted.
CREATE TABLE key_block (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
