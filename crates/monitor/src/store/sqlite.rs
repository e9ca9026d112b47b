//! The store in one SQLite file: write-ahead log, one writer.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::retention::{Entry, Inventory, Plan};
use super::{
    Backlog, Due, Error, Event, Filter, Record, Result, Review, ReviewAction, Role, Session, Store, Stored, User,
};
use crate::channel::clip::Clip;
use crate::channel::incident::Incident;
use crate::channel::ledger::{Kind, Span};

/// Applied in this order; a database says in `user_version` how many it has.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0002_clips.sql"),
    include_str!("../../migrations/0003_tokens.sql"),
];

/// File systems on which SQLite's locks do not hold, by their magic number.
const NETWORK_FILE_SYSTEMS: [(i64, &str); 5] =
    [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0xFE53_4D42, "SMB2"), (0x5346_414F, "AFS"), (0x0102_1997, "9P")];

pub struct Sqlite {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Sqlite {
    /// Opens the database, makes it if there is none, and brings it up to date.
    ///
    /// # Errors
    /// If it lies on a network file system, cannot be opened, or is of a newer version of the
    /// program.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::Other(format!("cannot make the folder {}: {error}", folder.display())))?;
        refuse_network_file_system(folder)?;
        let mut writer = connect(path)?;
        migrate(&mut writer)?;
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    fn read(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one transaction, which takes the write lock at once: one that asks for it
    /// later would fail without waiting if somebody else wrote in between.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)
        .map_err(|error| Error::Other(format!("cannot open the database {}: {error}", path.display())))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // What is committed stays after a power cut.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn refuse_network_file_system(folder: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return Ok(()) };
    // SAFETY: `path` ends in NUL and `found` is as large as statfs writes.
    let found = unsafe {
        let mut found = std::mem::zeroed::<libc::statfs>();
        (libc::statfs(path.as_ptr(), &raw mut found) == 0).then_some(found)
    };
    // The type of the number is not the same on every machine.
    #[allow(clippy::unnecessary_cast)]
    let network = found.and_then(|found| NETWORK_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == found.f_type as i64));
    match network {
        Some((_, name)) => Err(Error::Other(format!(
            "{} is on {name}, where SQLite's locks do not hold and databases break; set store.directory to a local disk",
            folder.display()
        ))),
        None => Ok(()),
    }
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? as usize;
    if version > MIGRATIONS.len() {
        return Err(Error::Other(format!(
            "the database is of a newer deepfake-monitor (version {version}, this one knows {})",
            MIGRATIONS.len()
        )));
    }
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}

/// RFC 3339 in UTC with milliseconds.
pub fn timestamp(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

fn unknown_word(column: usize, word: String) -> rusqlite::Error {
    let error = format!("unknown word {word}");
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

/// Writes an event and a row for each sink that is to get it.
fn add_event(transaction: &Transaction<'_>, kind: &str, incident: &Incident, at: i64, sinks: &[String]) -> Result<()> {
    let id = Uuid::now_v7().to_string();
    let event = Event { schema: 1, id: id.clone(), kind: kind.into(), time: timestamp(at), incident: incident.clone() };
    let body = serde_json::to_string(&event).expect("an event holds nothing that JSON cannot say");
    let incident = incident.id.to_string();
    transaction
        .prepare_cached("INSERT INTO event (id, incident, type, at, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![id, incident, kind, at, body])?;
    let number = transaction.last_insert_rowid();
    let mut insert =
        transaction.prepare_cached("INSERT INTO outbox (event, sink, incident, due) VALUES (?1, ?2, ?3, ?4)")?;
    for sink in sinks {
        insert.execute(params![number, sink, incident, at])?;
    }
    Ok(())
}

fn set_incident(transaction: &Transaction<'_>, incident: &Incident) -> Result<()> {
    let body = serde_json::to_string(incident).expect("an incident holds nothing that JSON cannot say");
    transaction
        .prepare_cached(
            "INSERT INTO incident (id, channel, kind, opened, closed, peak, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (id) DO UPDATE SET closed = excluded.closed, peak = excluded.peak, body = excluded.body",
        )?
        .execute(params![
            incident.id.to_string(),
            incident.channel,
            incident.kind.as_str(),
            incident.opened,
            incident.closed,
            incident.peak,
            body
        ])?;
    Ok(())
}

/// An incident that retention deleted meanwhile gets no clip any more.
fn set_clip(transaction: &Transaction<'_>, clip: &Clip) -> Result<()> {
    let body = serde_json::to_string(clip).expect("a clip holds nothing that JSON cannot say");
    let bytes = i64::try_from(clip.bytes()).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            "INSERT INTO clip (incident, part, state, bytes, body) SELECT id, ?2, ?3, ?4, ?5 FROM incident WHERE id = ?1
             ON CONFLICT (incident, part) DO UPDATE
             SET state = excluded.state, bytes = excluded.bytes, body = excluded.body",
        )?
        .execute(params![clip.incident.to_string(), clip.part, clip.state.as_str(), bytes, body])?;
    Ok(())
}

fn named_role(row: &Row<'_>) -> rusqlite::Result<(String, Role)> {
    let word: String = row.get(1)?;
    Ok((row.get(0)?, Role::from_word(&word).ok_or_else(|| unknown_word(1, word))?))
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored { number: row.get(0)?, id: row.get(1)?, kind: row.get(2)?, at: row.get(3)?, body: row.get(4)? })
}

impl Store for Sqlite {
    fn record(&self, records: &[Record]) -> Result<()> {
        self.write(|transaction| {
            for record in records {
                match record {
                    Record::Coverage { channel, span } => {
                        transaction
                            .prepare_cached(
                                "INSERT INTO coverage (channel, start, end, kind, reason) VALUES (?1, ?2, ?3, ?4, ?5)
                                 ON CONFLICT (channel, start) DO UPDATE SET end = max(end, excluded.end)",
                            )?
                            .execute(params![channel, span.start, span.end, span.kind.as_str(), span.reason])?;
                    }
                    Record::Score { channel, second, score } => {
                        transaction
                            .prepare_cached(
                                "INSERT INTO score (channel, second, score) VALUES (?1, ?2, ?3)
                                 ON CONFLICT (channel, second) DO UPDATE SET score = max(score, excluded.score)",
                            )?
                            .execute(params![channel, second, score])?;
                    }
                    Record::Incident { incident, change, at, sinks } => {
                        set_incident(transaction, incident)?;
                        add_event(transaction, change.event_type(), incident, *at, sinks)?;
                    }
                    Record::Thumbnail { incident, at, jpeg } => {
                        transaction
                            .prepare_cached(
                                "INSERT INTO thumbnail (incident, at, jpeg) SELECT id, ?2, ?3 FROM incident WHERE id = ?1
                                 ON CONFLICT (incident) DO UPDATE SET at = excluded.at, jpeg = excluded.jpeg",
                            )?
                            .execute(params![incident, at, jpeg])?;
                    }
                    Record::Clip(clip) => set_clip(transaction, clip)?,
                }
            }
            Ok(())
        })
    }

    fn coverage(&self, channel: &str, from: i64, to: i64) -> Result<Vec<Span>> {
        let reader = self.read();
        let mut query = reader.prepare_cached(
            "SELECT start, end, kind, reason FROM coverage WHERE channel = ?1 AND end > ?2 AND start < ?3 ORDER BY end",
        )?;
        let spans = query.query_map(params![channel, from, to], |row| {
            let word: String = row.get(2)?;
            let kind = Kind::from_word(&word).ok_or_else(|| unknown_word(2, word))?;
            Ok(Span { start: row.get(0)?, end: row.get(1)?, kind, reason: row.get(3)? })
        })?;
        Ok(spans.collect::<rusqlite::Result<_>>()?)
    }

    fn coverage_end(&self, channel: &str) -> Result<Option<i64>> {
        let query = "SELECT max(end) FROM coverage WHERE channel = ?1";
        Ok(self.read().query_row(query, [channel], |row| row.get(0))?)
    }

    fn scores(&self, channel: &str, from: i64, to: i64) -> Result<Vec<(i64, f64)>> {
        let reader = self.read();
        let mut query = reader.prepare_cached(
            "SELECT second, score FROM score WHERE channel = ?1 AND second >= ?2 AND second < ?3 ORDER BY second",
        )?;
        let bounds = params![channel, from.div_euclid(1000), to.div_euclid(1000)];
        let scores = query.query_map(bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(scores.collect::<rusqlite::Result<_>>()?)
    }

    fn incidents(&self, filter: &Filter) -> Result<Vec<Incident>> {
        let reader = self.read();
        let mut query = reader.prepare_cached(
            "SELECT body FROM incident
             WHERE (?1 IS NULL OR channel = ?1) AND (?2 IS NULL OR kind = ?2) AND (NOT ?3 OR closed IS NULL)
               AND (?4 IS NULL OR opened < ?4)
             ORDER BY opened DESC, id DESC LIMIT ?5",
        )?;
        let bounds = params![filter.channel, filter.kind, filter.open, filter.before, filter.limit];
        let incidents = query.query_map(bounds, |row| json(&row.get::<_, String>(0)?))?;
        Ok(incidents.collect::<rusqlite::Result<_>>()?)
    }

    fn incident(&self, id: &str) -> Result<Option<Incident>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT body FROM incident WHERE id = ?1")?;
        Ok(query.query_row([id], |row| json(&row.get::<_, String>(0)?)).optional()?)
    }

    fn thumbnail(&self, incident: &str) -> Result<Option<Vec<u8>>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT jpeg FROM thumbnail WHERE incident = ?1")?;
        Ok(query.query_row([incident], |row| row.get(0)).optional()?)
    }

    fn clips(&self, incident: &str) -> Result<Vec<Clip>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT body FROM clip WHERE incident = ?1 ORDER BY part")?;
        let clips = query.query_map([incident], |row| json(&row.get::<_, String>(0)?))?;
        Ok(clips.collect::<rusqlite::Result<_>>()?)
    }

    fn sealed_clips(&self) -> Result<Vec<Clip>> {
        let reader = self.read();
        let mut query =
            reader.prepare_cached("SELECT body FROM clip WHERE state <> 'recording' ORDER BY incident, part")?;
        let clips = query.query_map([], |row| json(&row.get::<_, String>(0)?))?;
        Ok(clips.collect::<rusqlite::Result<_>>()?)
    }

    fn unfinished_clips(&self) -> Result<Vec<Clip>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT body FROM clip WHERE state = 'recording'")?;
        let clips = query.query_map([], |row| json(&row.get::<_, String>(0)?))?;
        Ok(clips.collect::<rusqlite::Result<_>>()?)
    }

    fn reviews(&self, incident: &str) -> Result<Vec<Review>> {
        let reader = self.read();
        let mut query = reader
            .prepare_cached("SELECT at, user, action, value, note FROM review WHERE incident = ?1 ORDER BY number")?;
        let reviews = query.query_map([incident], |row| {
            let word: String = row.get(2)?;
            let action = ReviewAction::ALL.into_iter().find(|action| action.as_str() == word);
            Ok(Review {
                at: row.get(0)?,
                user: row.get(1)?,
                action: action.ok_or_else(|| unknown_word(2, word))?,
                value: row.get(3)?,
                note: row.get(4)?,
            })
        })?;
        Ok(reviews.collect::<rusqlite::Result<_>>()?)
    }

    fn review(&self, incident: &str, review: &Review, sinks: &[String]) -> Result<bool> {
        self.write(|transaction| {
            let body = transaction.query_row("SELECT body FROM incident WHERE id = ?1", [incident], |row| {
                json::<Incident>(&row.get::<_, String>(0)?)
            });
            let Some(found) = body.optional()? else { return Ok(false) };
            transaction.execute(
                "INSERT INTO review (incident, at, user, action, value, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![incident, review.at, review.user, review.action.as_str(), review.value, review.note],
            )?;
            add_event(transaction, "incident.reviewed", &found, review.at, sinks)?;
            Ok(true)
        })
    }

    fn events(&self, after: i64, limit: u32) -> Result<Vec<Stored>> {
        let reader = self.read();
        let mut query = reader.prepare_cached(
            "SELECT number, id, type, at, body FROM event WHERE number > ?1 ORDER BY number LIMIT ?2",
        )?;
        let events = query.query_map(params![after, limit], stored)?;
        Ok(events.collect::<rusqlite::Result<_>>()?)
    }

    fn last_event(&self) -> Result<i64> {
        Ok(self.read().query_row("SELECT coalesce(max(number), 0) FROM event", [], |row| row.get(0))?)
    }

    fn due(&self, sink: &str, now: i64, limit: u32) -> Result<Vec<Due>> {
        let reader = self.read();
        let mut query = reader.prepare_cached(
            "SELECT event.number, event.id, event.type, event.at, event.body, outbox.attempts
             FROM outbox JOIN event ON event.number = outbox.event
             WHERE outbox.sink = ?1 AND outbox.due <= ?2 AND NOT EXISTS (
                 SELECT 1 FROM outbox earlier
                 WHERE earlier.sink = outbox.sink AND earlier.incident = outbox.incident AND earlier.event < outbox.event)
             ORDER BY outbox.event LIMIT ?3",
        )?;
        let due =
            query.query_map(params![sink, now, limit], |row| Ok(Due { event: stored(row)?, attempts: row.get(5)? }))?;
        Ok(due.collect::<rusqlite::Result<_>>()?)
    }

    fn delivered(&self, sink: &str, event: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM outbox WHERE sink = ?1 AND event = ?2", params![sink, event])?;
            Ok(())
        })
    }

    fn postpone(&self, sink: &str, event: i64, due: i64, error: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE outbox SET due = ?3, attempts = attempts + 1, last_error = ?4 WHERE sink = ?1 AND event = ?2",
                params![sink, event, due, error],
            )?;
            Ok(())
        })
    }

    fn backlog(&self) -> Result<Vec<Backlog>> {
        let reader = self.read();
        let mut query = reader.prepare_cached(
            "SELECT sink, count(*), min(event.at), max(outbox.last_error)
             FROM outbox JOIN event ON event.number = outbox.event GROUP BY sink ORDER BY sink",
        )?;
        let backlog = query.query_map([], |row| {
            Ok(Backlog {
                sink: row.get(0)?,
                waiting: row.get::<_, i64>(1)? as u64,
                oldest: row.get(2)?,
                last_error: row.get(3)?,
            })
        })?;
        Ok(backlog.collect::<rusqlite::Result<_>>()?)
    }

    fn users(&self) -> Result<Vec<User>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT name, hash, role FROM user ORDER BY name")?;
        let users = query.query_map([], |row| {
            let word: String = row.get(2)?;
            let role = Role::from_word(&word).ok_or_else(|| unknown_word(2, word))?;
            Ok(User { name: row.get(0)?, hash: row.get(1)?, role })
        })?;
        Ok(users.collect::<rusqlite::Result<_>>()?)
    }

    fn set_user(&self, user: &User, now: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO user (name, hash, role, created) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, role = excluded.role",
                params![user.name, user.hash, user.role.as_str(), now],
            )?;
            // Whoever knew the old password is logged in no longer.
            transaction.execute("DELETE FROM session WHERE user = ?1", [&user.name])?;
            Ok(())
        })
    }

    fn remove_user(&self, name: &str) -> Result<bool> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM session WHERE user = ?1", [name])?;
            Ok(transaction.execute("DELETE FROM user WHERE name = ?1", [name])? > 0)
        })
    }

    fn add_session(&self, token: &[u8], session: &Session) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO session (token, user, role, csrf, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![token, session.user, session.role.as_str(), session.csrf, session.expires],
            )?;
            Ok(())
        })
    }

    fn session(&self, token: &[u8], now: i64) -> Result<Option<Session>> {
        let reader = self.read();
        let mut query =
            reader.prepare_cached("SELECT user, role, csrf, expires FROM session WHERE token = ?1 AND expires > ?2")?;
        let session = query.query_row(params![token, now], |row| {
            let word: String = row.get(1)?;
            let role = Role::from_word(&word).ok_or_else(|| unknown_word(1, word))?;
            Ok(Session { user: row.get(0)?, role, csrf: row.get(2)?, expires: row.get(3)?, by_token: false })
        });
        Ok(session.optional()?)
    }

    fn add_token(&self, name: &str, hash: &[u8], role: Role, now: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO token (name, hash, role, created) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, role = excluded.role",
                params![name, hash, role.as_str(), now],
            )?;
            Ok(())
        })
    }

    fn remove_token(&self, name: &str) -> Result<bool> {
        self.write(|transaction| Ok(transaction.execute("DELETE FROM token WHERE name = ?1", [name])? > 0))
    }

    fn tokens(&self) -> Result<Vec<(String, Role)>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT name, role FROM token ORDER BY name")?;
        let tokens = query.query_map([], named_role)?;
        Ok(tokens.collect::<rusqlite::Result<_>>()?)
    }

    fn token(&self, hash: &[u8]) -> Result<Option<(String, Role)>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT name, role FROM token WHERE hash = ?1")?;
        Ok(query.query_row([hash], named_role).optional()?)
    }

    fn end_session(&self, token: &[u8]) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM session WHERE token = ?1", [token])?;
            Ok(())
        })
    }

    fn add_login_link(&self, token: &[u8], expires: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("INSERT INTO login_link (token, expires) VALUES (?1, ?2)", params![token, expires])?;
            Ok(())
        })
    }

    fn take_login_link(&self, token: &[u8], now: i64) -> Result<bool> {
        self.write(|transaction| {
            let taken = "DELETE FROM login_link WHERE token = ?1 RETURNING expires";
            let expires: Option<i64> = transaction.query_row(taken, [token], |row| row.get(0)).optional()?;
            Ok(expires.is_some_and(|expires| expires > now))
        })
    }

    fn audit(&self, at: i64, who: &str, what: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("INSERT INTO audit (at, who, what) VALUES (?1, ?2, ?3)", params![at, who, what])?;
            Ok(())
        })
    }

    fn audit_log(&self, limit: u32) -> Result<Vec<(i64, String, String)>> {
        let reader = self.read();
        let mut query = reader.prepare_cached("SELECT at, who, what FROM audit ORDER BY number DESC LIMIT ?1")?;
        let log = query.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(log.collect::<rusqlite::Result<_>>()?)
    }

    fn inventory(&self) -> Result<Inventory> {
        let reader = self.read();
        let mut query = reader.prepare_cached(
            "SELECT incident.id, incident.closed, coalesce(length(thumbnail.jpeg), 0),
                 (SELECT coalesce(sum(bytes), 0) FROM clip WHERE clip.incident = incident.id),
                 (SELECT action FROM review WHERE review.incident = incident.id AND action IN ('hold', 'release')
                  ORDER BY number DESC LIMIT 1)
             FROM incident LEFT JOIN thumbnail ON thumbnail.incident = incident.id",
        )?;
        let entries = query.query_map([], |row| {
            let last: Option<String> = row.get(4)?;
            Ok(Entry {
                id: row.get(0)?,
                closed: row.get(1)?,
                thumbnail_bytes: row.get::<_, i64>(2)? as u64,
                clip_bytes: row.get::<_, i64>(3)? as u64,
                held: last.as_deref() == Some("hold"),
            })
        })?;
        Ok(Inventory { incidents: entries.collect::<rusqlite::Result<_>>()? })
    }

    fn delete(&self, plan: &Plan, now: i64) -> Result<Vec<String>> {
        self.write(|transaction| {
            let audit = |what: String| {
                let insert = "INSERT INTO audit (at, who, what) VALUES (?1, 'retention', ?2)";
                transaction.prepare_cached(insert)?.execute(params![now, what]).map(drop)
            };
            // Asked again here: somebody may have held it since the plan was made.
            let held = "SELECT action FROM review WHERE incident = ?1 AND action IN ('hold', 'release')
                        ORDER BY number DESC LIMIT 1";
            let is_held = |id: &str| -> rusqlite::Result<bool> {
                let last: Option<String> =
                    transaction.prepare_cached(held)?.query_row([id], |row| row.get(0)).optional()?;
                Ok(last.as_deref() == Some("hold"))
            };
            let mut files = Vec::new();
            for (id, reason) in &plan.incidents {
                if !is_held(id)? {
                    files.push(id.clone());
                    transaction.execute("DELETE FROM event WHERE incident = ?1", [id])?;
                    transaction.execute("DELETE FROM incident WHERE id = ?1", [id])?;
                    audit(format!("deleted incident {id}: {reason}"))?;
                }
            }
            for (id, reason) in &plan.thumbnails {
                if !is_held(id)? {
                    transaction.execute("DELETE FROM thumbnail WHERE incident = ?1", [id])?;
                    audit(format!("deleted the thumbnail of incident {id}: {reason}"))?;
                }
            }
            for (id, reason) in &plan.clips {
                if !is_held(id)? {
                    files.push(id.clone());
                    transaction.execute("DELETE FROM clip WHERE incident = ?1", [id])?;
                    audit(format!("deleted the clips of incident {id}: {reason}"))?;
                }
            }
            let scores =
                transaction.execute("DELETE FROM score WHERE second < ?1", [plan.scores_before.div_euclid(1000)])?;
            let spans = transaction.execute("DELETE FROM coverage WHERE end < ?1", [plan.coverage_before])?;
            transaction.execute("DELETE FROM session WHERE expires <= ?1", [now])?;
            transaction.execute("DELETE FROM login_link WHERE expires <= ?1", [now])?;
            if scores + spans > 0 {
                audit(format!(
                    "deleted {scores} seconds of scores and {spans} spans of coverage: older than retention says"
                ))?;
            }
            Ok(files)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::clip::ClipState;
    use crate::channel::incident::{Alert, Change, Incidents, Rules};
    use crate::config::Retention;

    fn store() -> (tempfile::TempDir, Sqlite) {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("data/monitor.db")).unwrap();
        (folder, store)
    }

    fn incident() -> Incident {
        let rules = Rules { keep_for: 1000, down_after: 1000 };
        let alert =
            Alert { action: "raised".into(), kind: "sustained".into(), track_id: 1, score: Some(0.9), model: None };
        Incidents::new("studio", rules, Vec::new()).alert(5000, 1, &alert).remove(0).0
    }

    fn record(incident: &Incident, change: Change, sinks: &[&str]) -> Record {
        let sinks = sinks.iter().map(ToString::to_string).collect();
        Record::Incident { incident: incident.clone(), change, at: incident.last_active, sinks }
    }

    fn closed(incident: &Incident) -> Incident {
        Incident { closed: Some(6000), seq: 2, ..incident.clone() }
    }

    fn clip(incident: &Incident) -> Clip {
        Clip {
            incident: incident.id,
            part: 1,
            channel: incident.channel.clone(),
            state: ClipState::Recording,
            began: 1000,
            ended: None,
            pre_roll_wanted: 0,
            pre_roll: 0,
            container: None,
            codec: None,
            missing: Vec::new(),
            files: Vec::new(),
        }
    }

    fn review(action: ReviewAction, at: i64) -> Review {
        Review { at, user: "anna".into(), action, value: None, note: None }
    }

    #[test]
    fn a_span_that_grows_is_one_row_and_a_window_finds_what_reaches_into_it() {
        let (_folder, store) = store();
        let span = |start, end, kind| Record::Coverage {
            channel: "studio".into(),
            span: Span { start, end, kind, reason: None },
        };
        store.record(&[span(0, 100, Kind::NoFace), span(0, 300, Kind::NoFace), span(300, 900, Kind::Offline)]).unwrap();
        let found = store.coverage("studio", 200, 400).unwrap();
        assert_eq!(found.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(), [(0, 300), (300, 900)]);
        assert_eq!(store.coverage("studio", 300, 400).unwrap().len(), 1);
        assert_eq!(store.coverage_end("studio").unwrap(), Some(900));
        assert_eq!(store.coverage_end("other").unwrap(), None);
    }

    #[test]
    fn events_go_to_each_sink_in_order_per_incident() {
        let (_folder, store) = store();
        let (one, other) = (incident(), incident());
        let sinks = ["desk", "night"];
        store.record(&[record(&one, Change::Opened, &sinks), record(&one, Change::Updated, &sinks)]).unwrap();
        store.record(&[record(&other, Change::Opened, &sinks)]).unwrap();
        let ids = |due: &[Due]| due.iter().map(|due| due.event.number).collect::<Vec<_>>();
        let due = store.due("desk", 10_000, 10).unwrap();
        assert_eq!(ids(&due), [1, 3], "the second event of an incident waits for its first");
        store.postpone("desk", 1, 20_000, "refused").unwrap();
        assert_eq!(ids(&store.due("desk", 10_000, 10).unwrap()), [3]);
        store.delivered("desk", 3).unwrap();
        store.delivered("desk", 1).unwrap();
        assert_eq!(ids(&store.due("desk", 10_000, 10).unwrap()), [2]);
        assert_eq!(ids(&store.due("night", 10_000, 10).unwrap()), [1, 3], "sinks do not wait for each other");
        let backlog = store.backlog().unwrap();
        assert_eq!(
            backlog.iter().map(|backlog| (backlog.sink.as_str(), backlog.waiting)).collect::<Vec<_>>(),
            [("desk", 1), ("night", 3)]
        );
    }

    #[test]
    fn what_fails_in_the_middle_leaves_nothing() {
        let (_folder, store) = store();
        let one = incident();
        let broken = store.write(|transaction| {
            set_incident(transaction, &one)?;
            add_event(transaction, "incident.opened", &one, 1, &["desk".into(), "desk".into()])
        });
        assert!(broken.is_err());
        assert!(store.incident(&one.id.to_string()).unwrap().is_none());
        assert_eq!(store.last_event().unwrap(), 0);
    }

    #[test]
    fn reviews_cannot_be_rewritten() {
        let (_folder, store) = store();
        let one = incident();
        store.record(&[record(&one, Change::Opened, &[])]).unwrap();
        let id = one.id.to_string();
        assert!(store.review(&id, &review(ReviewAction::Acknowledge, 7000), &["desk".into()]).unwrap());
        assert!(!store.review("nothing", &review(ReviewAction::Note, 7000), &[]).unwrap());
        let rewrite = store.write(|transaction| Ok(transaction.execute("UPDATE review SET user = 'eve'", [])?));
        assert!(rewrite.unwrap_err().to_string().contains("append-only"));
        assert_eq!(store.reviews(&id).unwrap(), [review(ReviewAction::Acknowledge, 7000)]);
        assert_eq!(store.due("desk", 10_000, 10).unwrap()[0].event.kind, "incident.reviewed");
    }

    #[test]
    fn retention_deletes_what_is_old_says_so_and_keeps_what_is_held() {
        let (_folder, store) = store();
        let (old, held) = (incident(), incident());
        for one in [&old, &held] {
            store
                .record(&[record(one, Change::Opened, &["desk"]), record(&closed(one), Change::Closed, &["desk"])])
                .unwrap();
            let thumbnail = Record::Thumbnail { incident: one.id.to_string(), at: 1, jpeg: vec![1] };
            store.record(&[thumbnail, Record::Clip(clip(one))]).unwrap();
        }
        assert_eq!(store.unfinished_clips().unwrap().len(), 2);
        store.record(&[Record::Clip(Clip { state: ClipState::Ready, ..clip(&old) })]).unwrap();
        assert_eq!(store.unfinished_clips().unwrap(), [clip(&held)]);
        let now = 1_000_000_000_000;
        let plan = super::super::retention::plan(&Retention::default(), &store.inventory().unwrap(), now, 0);
        assert_eq!(plan.incidents.len(), 2);
        // Held after the plan was made.
        store.review(&held.id.to_string(), &review(ReviewAction::Hold, 7000), &[]).unwrap();
        assert_eq!(store.delete(&plan, now).unwrap(), [old.id.to_string()], "whose files go");
        assert!(store.clips(&held.id.to_string()).unwrap().len() == 1);
        assert!(store.clips(&old.id.to_string()).unwrap().is_empty());
        assert!(store.incident(&old.id.to_string()).unwrap().is_none());
        assert!(store.thumbnail(&held.id.to_string()).unwrap().is_some());
        let log = store.audit_log(10).unwrap();
        assert!(log.iter().any(|(_, who, what)| who == "retention" && what.contains(&old.id.to_string())), "{log:?}");
        let plan = super::super::retention::plan(&Retention::default(), &store.inventory().unwrap(), now, 0);
        assert_eq!(plan.incidents, []);
    }

    #[test]
    fn a_login_link_works_once_and_not_for_ever() {
        let (_folder, store) = store();
        store.add_login_link(b"one", 1000).unwrap();
        store.add_login_link(b"late", 1000).unwrap();
        assert!(store.take_login_link(b"one", 500).unwrap());
        assert!(!store.take_login_link(b"one", 500).unwrap());
        assert!(!store.take_login_link(b"late", 1000).unwrap());
    }

    #[test]
    fn a_changed_password_ends_sessions() {
        let (_folder, store) = store();
        let user = User { name: "anna".into(), hash: "x".into(), role: Role::Viewer };
        store.set_user(&user, 0).unwrap();
        let session =
            Session { user: "anna".into(), role: Role::Viewer, csrf: "c".into(), expires: 1000, by_token: false };
        store.add_session(b"token", &session).unwrap();
        assert_eq!(store.session(b"token", 500).unwrap(), Some(session));
        assert_eq!(store.session(b"token", 1000).unwrap(), None);
        store.set_user(&user, 1).unwrap();
        assert_eq!(store.session(b"token", 500).unwrap(), None);
    }

    #[test]
    fn a_database_of_a_newer_program_is_left_alone() {
        let (folder, store) = store();
        store.writer.lock().unwrap().pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let error = Sqlite::open(&folder.path().join("data/monitor.db")).err().unwrap().to_string();
        assert!(error.contains("newer deepfake-monitor"), "{error}");
    }
}
