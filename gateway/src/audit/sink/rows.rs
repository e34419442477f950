//! The rows of a trail in SQLite, read back a page at a time: a trail is larger than memory, and read beside a gateway.
//!
//! What is verified is the line of a row. The other columns are there to be searched and swept by, so that they are held
//! against it: a row whose time was set back would be deleted by the gateway itself.

use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Connection, Row, SqliteConnection};
use tokio::runtime::Runtime;

use super::super::chain::Line;
use super::{runtime, wait};

const PAGE: &str =
    "SELECT id, instance, number, time, type, request_id, line FROM audit WHERE id > ? ORDER BY id LIMIT 512";

/// The lines of a database, oldest first, each with a line break. It is not changed.
#[derive(Debug)]
pub struct Rows {
    runtime: Runtime,
    connection: SqliteConnection,
    /// The last row that was read.
    last: i64,
    page: Cursor<Vec<u8>>,
    is_ended: bool,
    differing: Arc<AtomicU64>,
}

impl Rows {
    /// Opens a database to be read.
    ///
    /// # Errors
    ///
    /// Returns an error when it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let runtime = runtime()?;
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let connection = wait(&runtime, SqliteConnection::connect_with(&options))?;
        let (page, differing) = (Cursor::new(Vec::new()), Arc::default());
        Ok(Self { runtime, connection, last: i64::MIN, page, is_ended: false, differing })
    }

    /// How many rows, of those read so far, have columns that say something else than their line.
    #[must_use]
    pub fn differing(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.differing)
    }

    fn turn(&mut self) -> io::Result<()> {
        let query = sqlx::query(PAGE).bind(self.last);
        let rows = wait(&self.runtime, query.fetch_all(&mut self.connection))?;
        let mut page = Vec::new();
        for row in &rows {
            self.last = row.try_get("id").map_err(io::Error::other)?;
            let line: &str = row.try_get("line").map_err(io::Error::other)?;
            page.extend_from_slice(line.as_bytes());
            page.push(b'\n');
            if !is_of(row, line).unwrap_or(false) {
                self.differing.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.is_ended = rows.is_empty();
        self.page = Cursor::new(page);
        Ok(())
    }
}

impl Read for Rows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.page.read(buffer)?;
            if count > 0 || self.is_ended || buffer.is_empty() {
                return Ok(count);
            }
            self.turn()?;
        }
    }
}

/// Whether the columns of a row are those that its line was written with; of what is no line nothing is said.
fn is_of(row: &SqliteRow, line: &str) -> Result<bool, sqlx::Error> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "type")]
        kind: String,
        request_id: Option<String>,
    }
    let Some(line) = Line::parse(line) else { return Ok(true) };
    let Ok(told) = serde_json::from_str::<Told>(&line.json) else { return Ok(true) };
    let time = line.time().and_then(|time| i64::try_from(time.as_secs()).ok());
    Ok(row.try_get::<&str, _>("instance")? == line.head.instance
        && u64::try_from(row.try_get::<i64, _>("number")?) == Ok(line.head.number)
        && Some(row.try_get::<i64, _>("time")?) == time
        && row.try_get::<&str, _>("type")? == told.kind
        && row.try_get::<Option<&str>, _>("request_id")? == told.request_id.as_deref())
}
