//! Rows of a SQLite database: the trail of a gateway that was told nothing else.

use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection};
use tokio::runtime::Runtime;

use super::super::chain::{Head, Line};
use super::{Entry, Sink, runtime, wait};

/// Marks a file as a trail of ours ("PCAT").
const APPLICATION: i64 = 0x5043_4154;
/// Old rows are looked for when the trail is this much older than at the last look.
const SWEEP_EVERY: u64 = 3600;
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL,
    type TEXT NOT NULL, request_id TEXT, line TEXT NOT NULL, UNIQUE (instance, number));
    CREATE INDEX IF NOT EXISTS audit_time ON audit (time);
    CREATE INDEX IF NOT EXISTS audit_request ON audit (request_id)";
const INSERT: &str = "INSERT INTO audit (instance, number, time, type, request_id, line) VALUES (?, ?, ?, ?, ?, ?) \
    ON CONFLICT DO NOTHING";

/// The database of a trail.
#[derive(Debug)]
pub(super) struct Database {
    runtime: Runtime,
    connection: SqliteConnection,
    retention: Option<Duration>,
    swept: u64,
    durable: bool,
}

impl Database {
    /// Opens it; a new one is made where there is none.
    pub(super) fn open(path: &Path, retention: Option<Duration>) -> io::Result<Self> {
        let runtime = runtime()?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5));
        let mut connection = wait(&runtime, SqliteConnection::connect_with(&options))?;
        let found: i64 = wait(&runtime, sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut connection))?;
        let tables = "SELECT count(*) FROM sqlite_master";
        let tables: i64 = wait(&runtime, sqlx::query_scalar(tables).fetch_one(&mut connection))?;
        if found != APPLICATION && tables > 0 {
            let message = format!("`{}` is a database of something else; name another file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        wait(&runtime, sqlx::raw_sql("PRAGMA application_id = 1346584916").execute(&mut connection))?;
        wait(&runtime, sqlx::raw_sql(SCHEMA).execute(&mut connection))?;
        Ok(Self { runtime, connection, retention, swept: 0, durable: false })
    }

    /// Rows that are older than the retention go.
    fn sweep(&mut self, now: u64) -> io::Result<()> {
        let Some(retention) = self.retention.filter(|_| now >= self.swept + SWEEP_EVERY) else { return Ok(()) };
        self.swept = now;
        let before = i64::try_from(now.saturating_sub(retention.as_secs())).unwrap_or(0);
        let old = sqlx::query("DELETE FROM audit WHERE time < ?").bind(before);
        wait(&self.runtime, old.execute(&mut self.connection)).map(|_done| ())
    }
}

impl Sink for Database {
    fn last(&mut self) -> io::Result<Option<Head>> {
        let query = sqlx::query("SELECT line FROM audit ORDER BY id DESC LIMIT 1");
        let row = wait(&self.runtime, query.fetch_optional(&mut self.connection))?;
        Ok(row.and_then(|row| Line::parse(row.get::<&str, _>(0))).map(|line| line.head))
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
        wait(&self.runtime, async {
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
            let written = insert(connection, instance, entries).await;
            if written.is_err() {
                // There may be nothing left to roll back.
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            }
            written
        })?;
        entries.last().map_or(Ok(()), |last| self.sweep(last.time))
    }
}

async fn insert(connection: &mut SqliteConnection, instance: &str, entries: &[Entry]) -> Result<(), sqlx::Error> {
    for entry in entries {
        let row = sqlx::query(INSERT).bind(instance).bind(number(entry.number)).bind(number(entry.time));
        let row = row.bind(entry.kind).bind(entry.request_id.as_deref()).bind(&entry.json);
        row.execute(&mut *connection).await?;
    }
    sqlx::raw_sql("COMMIT").execute(connection).await.map(|_done| ())
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads the lines of a database, oldest first, without changing it.
///
/// # Errors
///
/// Returns an error when it is no trail, or cannot be read.
pub async fn lines(path: &Path) -> Result<Vec<String>, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query_scalar("SELECT line FROM audit ORDER BY id").fetch_all(&mut connection).await
}
