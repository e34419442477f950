//! The rows of a trail in PostgreSQL, read back a page at a time. A role that may SELECT is enough.

use std::io::{self, Read};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};
use tokio::runtime::Runtime;

use super::kept::Bounds;
use super::paged::{Page, Paged};
use super::{runtime, wait};
use crate::config::Secret;

const PAGE: &str = "SELECT id, line FROM portcullis_audit WHERE id > $1 AND ($2::text IS NULL OR request_id = $2) \
    AND time >= to_timestamp($3::double precision) AND time <= to_timestamp($4::double precision) ORDER BY id LIMIT 512";

/// The lines of a table, each with a line break, in the order in which they were written.
#[derive(Debug)]
pub(super) struct Table {
    runtime: Runtime,
    connection: PgConnection,
    bounds: Bounds,
    /// The last row that was read.
    last: i64,
    page: Page,
}

impl Table {
    pub(super) fn open(url: &Secret, bounds: Bounds) -> io::Result<Self> {
        let unusable =
            |_error| io::Error::new(io::ErrorKind::InvalidInput, "`audit.postgres` is not a postgres:// URL");
        let options = PgConnectOptions::from_str(url.expose()).map_err(unusable)?.application_name("portcullis");
        let runtime = runtime()?;
        let connection = wait(&runtime, PgConnection::connect_with(&options))?;
        Ok(Self { runtime, connection, bounds, last: i64::MIN, page: Page::default() })
    }
}

impl Paged for Table {
    fn page(&mut self) -> &mut Page {
        &mut self.page
    }

    fn turn(&mut self) -> io::Result<()> {
        let Bounds { request_id, from, to } = &self.bounds;
        let query = sqlx::query(PAGE).bind(self.last).bind(request_id.as_deref()).bind(whole(*from)).bind(whole(*to));
        // However long it takes: what is looked for may be rare, and the table large.
        let rows = self.runtime.block_on(query.fetch_all(&mut self.connection)).map_err(io::Error::other)?;
        let mut page = Vec::new();
        for row in &rows {
            self.last = row.try_get("id").map_err(io::Error::other)?;
            page.extend_from_slice(row.try_get::<&str, _>("line").map_err(io::Error::other)?.as_bytes());
            page.push(b'\n');
        }
        self.page = Page::new(page, rows.is_empty());
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 are far below 2^53, and the ends of time are bounds"
)]
fn whole(seconds: i64) -> f64 {
    // What PostgreSQL takes for a time ends before what an integer can say.
    seconds.clamp(0, 1 << 36) as f64
}

impl Read for Table {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_on(buffer)
    }
}
