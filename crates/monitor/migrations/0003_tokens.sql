-- Programs that use the API. Tokens are stored hashed.
CREATE TABLE token (
    name    TEXT PRIMARY KEY,
    hash    BLOB NOT NULL UNIQUE,
    role    TEXT NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;
