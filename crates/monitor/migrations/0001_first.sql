-- Times are milliseconds since 1970 (UTC).

CREATE TABLE coverage (
    channel TEXT NOT NULL,
    start   INTEGER NOT NULL,
    end     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    reason  TEXT,
    PRIMARY KEY (channel, start)
) WITHOUT ROWID;
-- Spans of a channel never overlap, so those that reach into a time are found by their end.
CREATE INDEX coverage_end ON coverage (channel, end);

-- The highest score of each second in which a face was judged.
CREATE TABLE score (
    channel TEXT NOT NULL,
    second  INTEGER NOT NULL,
    score   REAL NOT NULL,
    PRIMARY KEY (channel, second)
) WITHOUT ROWID;

CREATE TABLE incident (
    id      TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    kind    TEXT NOT NULL,
    opened  INTEGER NOT NULL,
    closed  INTEGER,
    peak    REAL,
    body    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX incident_opened ON incident (opened);
CREATE INDEX incident_open ON incident (channel) WHERE closed IS NULL;

-- Everything that happened, in order: what the event stream resumes from.
CREATE TABLE event (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    incident TEXT NOT NULL,
    type     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    body     TEXT NOT NULL
);

-- One row for each event and sink; gone once it is delivered.
CREATE TABLE outbox (
    event      INTEGER NOT NULL REFERENCES event (number) ON DELETE CASCADE,
    sink       TEXT NOT NULL,
    incident   TEXT NOT NULL,
    due        INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    PRIMARY KEY (sink, event)
) WITHOUT ROWID;

CREATE TABLE thumbnail (
    incident TEXT PRIMARY KEY REFERENCES incident (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,
    jpeg     BLOB NOT NULL
);

CREATE TABLE review (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    incident TEXT NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,
    user     TEXT NOT NULL,
    action   TEXT NOT NULL,
    value    TEXT,
    note     TEXT
);
CREATE INDEX review_incident ON review (incident);
-- What somebody decided is never rewritten; another decision is another row.
CREATE TRIGGER review_is_append_only BEFORE UPDATE ON review
BEGIN SELECT RAISE(ABORT, 'reviews are append-only'); END;

CREATE TABLE user (
    name    TEXT PRIMARY KEY,
    hash    TEXT NOT NULL,
    role    TEXT NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;

-- Tokens are stored hashed: a copy of the database logs nobody in.
CREATE TABLE session (
    token   BLOB PRIMARY KEY,
    user    TEXT NOT NULL,
    role    TEXT NOT NULL,
    csrf    TEXT NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE login_link (
    token   BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) WITHOUT ROWID;

-- Who did what, and what was deleted why.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    who    TEXT NOT NULL,
    what   TEXT NOT NULL
);
