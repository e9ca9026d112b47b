-- The feed as it arrived, kept as evidence of an incident. The files lie beside the database.
CREATE TABLE clip (
    incident TEXT NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    part     INTEGER NOT NULL,
    state    TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (incident, part)
) WITHOUT ROWID;
