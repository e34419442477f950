//! Where the lines go. A sink takes a batch as a whole or not at all, and may be given the same lines again.
//!
//! Sinks are opened and used on the writer's thread only, so they may wait for their disk or server as they like.

mod file;
mod kept;
mod otlp;
mod paged;
mod postgres;
mod rows;
mod sqlite;
mod table;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use file::Rotation;
pub use kept::{Bounds, Kept};
pub use otlp::Collector;
pub use rows::Rows;

use super::chain::Line;
use super::encode::Format;
use crate::clock::Moment;
use crate::config::Secret;
use crate::trace::TraceId;

/// One line of the trail, and what a database keeps beside it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its number in the chain of this run.
    pub(super) number: u64,
    /// When it was.
    pub(super) time: Moment,
    /// The `type` of the event.
    pub(super) kind: &'static str,
    /// The request that it belongs to.
    pub(super) request_id: Option<String>,
    /// The trace of that request.
    pub(super) trace: Option<TraceId>,
    /// The line itself, linked, without a line break.
    pub(super) json: String,
}

/// A place for lines.
pub(super) trait Sink: Debug {
    /// The last native line that is there, of whichever run.
    fn last(&mut self) -> io::Result<Option<Line>>;

    /// Takes lines of the run `instance`: all of them, or none. With `durably` they are on the disk when it returns.
    /// After an error the same lines come again; a sink that had taken them after all does not take them twice. Where
    /// another line stands in the place of one of them, none counts as taken.
    fn write(&mut self, instance: &str, entries: &[Entry], durably: bool) -> io::Result<()>;
}

/// A sink that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Lines on standard output.
    Stdout(Format),
    /// Lines in a file.
    File {
        /// Its name.
        path: PathBuf,
        /// What a line looks like.
        format: Format,
        /// When it is set aside.
        rotation: Option<Rotation>,
    },
    /// Rows of a SQLite database.
    Sqlite {
        /// Its file.
        path: PathBuf,
        /// How long rows are kept; for ever when absent.
        retention: Option<Duration>,
    },
    /// Rows of a table in PostgreSQL.
    Postgres {
        /// The connection URL (`postgres://…`), password included.
        url: Secret,
    },
    /// Log records for an OpenTelemetry collector.
    Otlp(Collector),
}

impl Destination {
    /// Its label in metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Stdout(_) => "stdout",
            Self::File { .. } => "file",
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
            Self::Otlp(_) => "otlp",
        }
    }

    pub(super) fn open(&self) -> io::Result<Box<dyn Sink>> {
        Ok(match self {
            Self::Stdout(format) => Box::new(file::Stdout::new(*format)),
            Self::File { path, format, rotation } => Box::new(file::Trail::open(path, *format, *rotation)?),
            Self::Sqlite { path, retention } => Box::new(sqlite::Database::open(path, *retention)?),
            Self::Postgres { url } => Box::new(postgres::Database::open(url)?),
            Self::Otlp(collector) => Box::new(otlp::Exporter::open(collector)?),
        })
    }
}

/// The place of a line is taken by another one: it was not written, and will not be by trying again.
fn occupied(instance: &str, number: i64) -> io::Error {
    io::Error::other(format!(
        "another line stands as number {number} of the run {instance}: somebody else wrote it there; keep a copy of the \
         trail, see who can write to it, and restart the gateway, which begins a run of its own"
    ))
}

/// How long a server may take to take a batch.
const DEADLINE: Duration = Duration::from_secs(10);

/// A runtime for the one future at a time that a sink waits for.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Waits for a future on a sink's runtime, as long as [`DEADLINE`] at most.
fn wait<T>(runtime: &tokio::runtime::Runtime, future: impl Future<Output = Result<T, sqlx::Error>>) -> io::Result<T> {
    runtime.block_on(async {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer")),
        }
    })
}
