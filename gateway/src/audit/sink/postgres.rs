//! Rows of the table `portcullis_audit` in PostgreSQL: the trails of several gateways in one place.
//!
//! The table is made where the role may make it; otherwise somebody else makes it, and the role needs no more than
//! INSERT and SELECT, so that it cannot change what it has written.

use std::io;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};
use tokio::runtime::Runtime;

use super::super::chain::Line;
use super::{Entry, Sink, occupied, runtime, wait};
use crate::config::Secret;

const EXISTS: &str = "SELECT to_regclass('portcullis_audit') IS NOT NULL";
/// As in `docs/operations.md`.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS portcullis_audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node TEXT NOT NULL, instance TEXT NOT NULL,
    number BIGINT NOT NULL, time TIMESTAMPTZ NOT NULL, type TEXT NOT NULL, request_id TEXT, line TEXT NOT NULL,
    UNIQUE (instance, number));
    CREATE INDEX IF NOT EXISTS portcullis_audit_time ON portcullis_audit (time);
    CREATE INDEX IF NOT EXISTS portcullis_audit_request ON portcullis_audit (request_id)";
const INSERT: &str = "INSERT INTO portcullis_audit (node, instance, number, time, type, request_id, line) \
    SELECT $1, $2, number, to_timestamp(time / 1000.0), type, request_id, line \
    FROM UNNEST($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[]) \
    AS batch (number, time, type, request_id, line) ON CONFLICT DO NOTHING";
/// The first line of a batch that does not stand there as it is.
const LACKING: &str = "SELECT min(batch.number) FROM UNNEST($2::bigint[], $3::text[]) AS batch (number, line) \
    LEFT JOIN portcullis_audit AS there ON there.instance = $1 AND there.number = batch.number \
    AND there.line = batch.line WHERE there.line IS NULL";
/// Whosever: a gateway that begins vouches for the last line that it found there, so that not all of a run can be taken
/// out behind which another began.
const LAST: &str = "SELECT line FROM portcullis_audit ORDER BY id DESC LIMIT 1";

/// A connection that is made anew when it broke.
#[derive(Debug)]
pub(super) struct Database {
    runtime: Runtime,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// The machine, for whoever reads the table.
    node: String,
}

impl Database {
    pub(super) fn open(url: &Secret) -> io::Result<Self> {
        let unusable =
            |_error| io::Error::new(io::ErrorKind::InvalidInput, "`audit.postgres` is not a postgres:// URL");
        let options = PgConnectOptions::from_str(url.expose()).map_err(unusable)?.application_name("portcullis");
        let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let mut database = Self { runtime: runtime()?, options, connection: None, node };
        database.connected()?;
        Ok(database)
    }

    fn connected(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            let options = &self.options;
            self.connection = Some(wait(&self.runtime, async {
                let mut connection = PgConnection::connect_with(options).await?;
                if !sqlx::query_scalar::<_, bool>(EXISTS).fetch_one(&mut connection).await? {
                    sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
                }
                Ok(connection)
            })?);
        }
        Ok(())
    }

    /// Does something on a connection; one on which it failed is not used again.
    fn with<T>(&mut self, act: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>) -> io::Result<T> {
        self.connected()?;
        let Some(mut connection) = self.connection.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        let done = wait(&self.runtime, act(&mut connection));
        if done.is_ok() {
            self.connection = Some(connection);
        }
        done
    }
}

impl Sink for Database {
    fn last(&mut self) -> io::Result<Option<Line>> {
        let row = self.with(async |connection| sqlx::query(LAST).fetch_optional(connection).await)?;
        Ok(row.and_then(|row| Line::parse(row.get::<&str, _>(0))))
    }

    fn write(&mut self, instance: &str, entries: &[Entry], _durably: bool) -> io::Result<()> {
        let numbers = |of: fn(&Entry) -> u64| -> Vec<i64> {
            entries.iter().map(|entry| i64::try_from(of(entry)).unwrap_or(i64::MAX)).collect()
        };
        let query = sqlx::query(INSERT)
            .bind(self.node.clone())
            .bind(instance.to_owned())
            .bind(numbers(|entry| entry.number))
            .bind(numbers(|entry| entry.time.as_millis()))
            .bind(entries.iter().map(|entry| entry.kind.to_owned()).collect::<Vec<String>>())
            .bind(entries.iter().map(|entry| entry.request_id.clone()).collect::<Vec<Option<String>>>())
            .bind(entries.iter().map(|entry| entry.json.clone()).collect::<Vec<String>>());
        let written = self.with(async |connection| query.execute(connection).await)?.rows_affected();
        if written == entries.len() as u64 {
            return Ok(());
        }
        // They came before and the answer was lost, or somebody was here first.
        let query = sqlx::query_scalar::<_, Option<i64>>(LACKING)
            .bind(instance.to_owned())
            .bind(numbers(|entry| entry.number))
            .bind(entries.iter().map(|entry| entry.json.clone()).collect::<Vec<String>>());
        match self.with(async |connection| query.fetch_one(connection).await)? {
            Some(number) => Err(occupied(instance, number)),
            None => Ok(()),
        }
    }
}
