//! The rows of a trail in SQLite, read back a page at a time: a trail is larger than memory, and read beside a gateway.
//!
//! What is verified is the line of a row. The other columns are there to be searched and swept by, so that they are held
//! against it: a row whose time was set back would be deleted by the gateway itself.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection};
use tokio::runtime::Runtime;

use super::super::chain::Line;
use super::kept::Bounds;
use super::paged::{Page, Paged};
use super::{runtime, wait};
use crate::sqlite::{Reading, log_of};

/// Whatever the columns say: every row is read.
const PAGE: &str =
    "SELECT id, instance, number, time, type, request_id, line FROM audit WHERE id > ? ORDER BY id LIMIT 512";
const PAGE_WITHIN: &str = "SELECT id, instance, number, time, type, request_id, line FROM audit \
    WHERE id > ? AND time >= ? AND time <= ? ORDER BY id LIMIT 512";
/// By the index of the column, for whoever looks for a request is in a hurry.
const PAGE_OF_REQUEST: &str = "SELECT id, instance, number, time, type, request_id, line FROM audit \
    WHERE id > ? AND time >= ? AND time <= ? AND request_id = ? ORDER BY id LIMIT 512";

/// The lines of a database, oldest first, each with a line break. It is not changed.
#[derive(Debug)]
pub struct Rows {
    runtime: Runtime,
    connection: SqliteConnection,
    reading: Reading,
    bounds: Option<Bounds>,
    /// The last row that was read.
    last: i64,
    page: Page,
    differing: Arc<AtomicU64>,
}

impl Rows {
    /// Opens a database to be read.
    ///
    /// # Errors
    ///
    /// Returns an error when it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(path, None)
    }

    /// As [`Rows::open`], of what is within these bounds by the columns.
    pub(super) fn open_within(path: &Path, bounds: Bounds) -> io::Result<Self> {
        Self::new(path, Some(bounds))
    }

    fn new(path: &Path, bounds: Option<Bounds>) -> io::Result<Self> {
        let runtime = runtime()?;
        let reading = Reading::of(path)?;
        let connection = wait(&runtime, SqliteConnection::connect_with(&reading.options))?;
        let (page, differing) = (Page::default(), Arc::default());
        Ok(Self { runtime, connection, reading, bounds, last: i64::MIN, page, differing })
    }

    /// A word for the operator where it lies there without its log: nobody has it open, or it is a copy that lacks the
    /// newest lines.
    #[must_use]
    pub fn note(&self, path: &Path) -> Option<String> {
        self.reading.is_without_log().then(|| {
            format!(
                "{} has no {} beside it: if it is a copy of a running gateway's, the newest lines are missing (copy by \
                 `portcullis backup`)",
                path.display(),
                log_of(path).display()
            )
        })
    }

    /// How many rows, of those read so far, have columns that say something else than their line.
    #[must_use]
    pub fn differing(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.differing)
    }
}

impl Paged for Rows {
    fn page(&mut self) -> &mut Page {
        &mut self.page
    }

    fn turn(&mut self) -> io::Result<()> {
        let query = match &self.bounds {
            None => sqlx::query(PAGE).bind(self.last),
            Some(Bounds { request_id: None, from, to }) => sqlx::query(PAGE_WITHIN).bind(self.last).bind(from).bind(to),
            Some(Bounds { request_id: Some(id), from, to }) => {
                sqlx::query(PAGE_OF_REQUEST).bind(self.last).bind(from).bind(to).bind(id)
            }
        };
        // However long it takes: what is looked for may be rare, and the trail long.
        let rows = self.runtime.block_on(query.fetch_all(&mut self.connection)).map_err(readable)?;
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
        if rows.is_empty() {
            self.reading.check()?;
        }
        self.page = Page::new(page, rows.is_empty());
        Ok(())
    }
}

impl Read for Rows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_on(buffer)
    }
}

/// What a copy without its log says is that there is no table.
fn readable(error: sqlx::Error) -> io::Error {
    if error.to_string().contains("no such table") {
        return io::Error::other(
            "there is no trail in it; a copy by `cp` while a gateway runs lacks what is in its `-wal`, which may be all: copy by \
             `portcullis backup`",
        );
    }
    io::Error::other(error)
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
