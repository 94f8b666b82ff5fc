-- The role that a gateway claimed for somebody.
ALTER TABLE identity ADD COLUMN role TEXT;

-- Requests whose quota windows are told by their reservation, not by the time they ended: what
-- moves from the quarter hour of the usage to that of the reservation.
CREATE TABLE booking_shift (
    quarter INTEGER NOT NULL,
    identity INTEGER NOT NULL,
    sku INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    cost INTEGER NOT NULL, -- pico-USD
    PRIMARY KEY (quarter, identity, sku)
) STRICT, WITHOUT ROWID;
