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
    PRIMARY KEY (month, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX closed_line_corrects ON closed_line (corrects);
