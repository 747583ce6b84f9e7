-- When something was started under a limit of starts in a span of time.
CREATE TABLE slot_start (
    name      TEXT NOT NULL,            -- of the limit: `rate api`
    timestamp INTEGER NOT NULL,
    until     INTEGER NOT NULL          -- when it is forgotten
) STRICT;

CREATE INDEX slot_start_by_name ON slot_start (name, timestamp);
CREATE INDEX slot_start_by_until ON slot_start (until);
