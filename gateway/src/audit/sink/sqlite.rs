//! Rows of a SQLite database: the trail of a gateway that was told nothing else.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection};
use tokio::runtime::Runtime;

use super::super::chain::Line;
use super::{Entry, Sink, occupied, runtime, wait};
use crate::clock::Stopwatch;

/// Marks a file as a trail of ours ("PCAT").
const APPLICATION: i64 = 0x5043_4154;
const EMPTY: &str = "is empty; restore it from a backup, or remove it to begin anew";
const DAMAGED: &str = "cannot be read; restore it from a backup, or move it away to begin anew";
/// Old rows are looked for when the trail is this much older than at the last look.
const SWEEP_EVERY: u64 = 3600;
/// A clock that is ahead of the time that went by for more than this was set, and is not believed about what is old.
const LEAP: u64 = 24 * 3600;
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL,
    type TEXT NOT NULL, request_id TEXT, line TEXT NOT NULL, UNIQUE (instance, number));
    CREATE INDEX IF NOT EXISTS audit_time ON audit (time);
    CREATE INDEX IF NOT EXISTS audit_request ON audit (request_id)";
const INSERT: &str = "INSERT INTO audit (instance, number, time, type, request_id, line) VALUES (?, ?, ?, ?, ?, ?) \
    ON CONFLICT DO NOTHING";
const THERE: &str = "SELECT line FROM audit WHERE instance = ? AND number = ?";

/// The database of a trail.
#[derive(Debug)]
pub(super) struct Database {
    runtime: Runtime,
    connection: SqliteConnection,
    retention: Option<Duration>,
    swept: u64,
    /// What the clock said at the first line, and how long ago that is.
    began: Option<(u64, Stopwatch)>,
    leapt: bool,
    durable: bool,
}

impl Database {
    /// Opens it; a new one is made where there is none.
    pub(super) fn open(path: &Path, retention: Option<Duration>) -> io::Result<Self> {
        let runtime = runtime()?;
        let unusable = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{}` {what}", path.display()));
        match std::fs::metadata(path) {
            // SQLite writes to an empty file as soon as it is told to keep a log.
            Ok(found) if found.len() == 0 => return Err(unusable(EMPTY)),
            Ok(_) => {}
            // SQLite's own way would be to let everybody read it.
            Err(_) => drop(OpenOptions::new().create_new(true).write(true).mode(0o640).open(path)?),
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5));
        let damaged = |error: io::Error| unusable(&format!("{DAMAGED} ({error})"));
        let mut connection = wait(&runtime, SqliteConnection::connect_with(&options)).map_err(damaged)?;
        let tables = sqlx::query_scalar("SELECT count(*) FROM sqlite_master").fetch_one(&mut connection);
        let tables: i64 = wait(&runtime, tables).map_err(damaged)?;
        let found = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut connection);
        let found: i64 = wait(&runtime, found).map_err(damaged)?;
        if found != APPLICATION && tables > 0 {
            return Err(unusable("is a database of something else; name another file"));
        }
        wait(&runtime, sqlx::raw_sql("PRAGMA application_id = 1346584916").execute(&mut connection))?;
        wait(&runtime, sqlx::raw_sql(SCHEMA).execute(&mut connection))?;
        Ok(Self { runtime, connection, retention, swept: 0, began: None, leapt: false, durable: false })
    }

    /// Rows that are older than the retention go.
    fn sweep(&mut self, now: u64) -> io::Result<()> {
        let Some(retention) = self.retention.filter(|_| now >= self.swept + SWEEP_EVERY) else { return Ok(()) };
        let (first, since) = *self.began.get_or_insert_with(|| (now, Stopwatch::start()));
        if now.saturating_sub(first) > since.elapsed().as_secs() + LEAP {
            if !std::mem::replace(&mut self.leapt, true) {
                tracing::error!(
                    "the clock was set forward by more than a day: until it is right again no line counts as old"
                );
            }
            return Ok(());
        }
        (self.swept, self.leapt) = (now, false);
        let before = i64::try_from(now.saturating_sub(retention.as_secs())).unwrap_or(0);
        let old = sqlx::query("DELETE FROM audit WHERE time < ?").bind(before);
        wait(&self.runtime, old.execute(&mut self.connection)).map(|_done| ())
    }
}

impl Sink for Database {
    fn last(&mut self) -> io::Result<Option<Line>> {
        let query = sqlx::query("SELECT line FROM audit ORDER BY id DESC LIMIT 1");
        let row = wait(&self.runtime, query.fetch_optional(&mut self.connection))?;
        Ok(row.and_then(|row| Line::parse(row.get::<&str, _>(0))))
    }

    fn write(&mut self, instance: &str, entries: &[Entry], durably: bool) -> io::Result<()> {
        if durably != self.durable {
            let pragma = if durably { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            wait(&self.runtime, sqlx::raw_sql(pragma).execute(&mut self.connection))?;
            self.durable = durably;
        }
        let connection = &mut self.connection;
        // Not by sqlx's transactions: after a COMMIT that found the disk full, which SQLite rolls back by itself, sqlx
        // goes on with savepoints inside of a transaction that never ends, and calls them committed.
        let taken = wait(&self.runtime, async {
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
            let written = insert(connection, instance, entries).await;
            if !matches!(written, Ok(None)) {
                // There may be nothing left to roll back.
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            }
            written
        })?;
        if let Some(number) = taken {
            return Err(occupied(instance, number));
        }
        entries.last().map_or(Ok(()), |last| self.sweep(last.time.as_secs()))
    }
}

/// Writes lines; the number of the first in whose place another one stands, if one does.
async fn insert(
    connection: &mut SqliteConnection,
    instance: &str,
    entries: &[Entry],
) -> Result<Option<i64>, sqlx::Error> {
    for entry in entries {
        let row = sqlx::query(INSERT).bind(instance).bind(number(entry.number)).bind(number(entry.time.as_secs()));
        let row = row.bind(entry.kind).bind(entry.request_id.as_deref()).bind(&entry.json);
        if row.execute(&mut *connection).await?.rows_affected() == 0 {
            let there = sqlx::query_scalar::<_, String>(THERE).bind(instance).bind(number(entry.number));
            if there.fetch_optional(&mut *connection).await?.as_ref() != Some(&entry.json) {
                return Ok(Some(number(entry.number)));
            }
        }
    }
    sqlx::raw_sql("COMMIT").execute(connection).await.map(|_done| None)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
