-- What `/metrics` published of times to the first token and of refusals for the rate, so that they
-- go on after a restart like all other counters.
CREATE TABLE published_first_token (
    provider TEXT NOT NULL, model TEXT NOT NULL,
    buckets BLOB NOT NULL,                  -- u64 little endian, as published_duration
    sum_ms INTEGER NOT NULL,
    throttled INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
) STRICT, WITHOUT ROWID;
