-- The rows of usage_span of a UTC day as one blob of columns, which is quicker to read. Upkeep makes
-- it from the rows; whoever changes a row lets go of it by these triggers, in the same transaction.
CREATE TABLE day_sheet (
    start INTEGER PRIMARY KEY,              -- the quarter hour with which the day begins
    version INTEGER NOT NULL,               -- of the blob's form; 0: more rows than a blob holds
    crc INTEGER NOT NULL,                   -- CRC-32 of the blob
    columns BLOB NOT NULL
) STRICT;
CREATE TRIGGER day_sheet_insert AFTER INSERT ON usage_span WHEN NEW.span = 0
    BEGIN DELETE FROM day_sheet WHERE start = NEW.start; END;
CREATE TRIGGER day_sheet_delete AFTER DELETE ON usage_span WHEN OLD.span = 0
    BEGIN DELETE FROM day_sheet WHERE start = OLD.start; END;
CREATE TRIGGER day_sheet_update AFTER UPDATE ON usage_span WHEN OLD.span = 0 OR NEW.span = 0
    BEGIN DELETE FROM day_sheet WHERE start IN (OLD.start, NEW.start); END;
