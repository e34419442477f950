//! The audit trail, as written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Text;

/// The audit trail: every place that is named gets all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// A file for lines; `-` for standard output.
    pub path: Option<Text>,
    /// What lines in the file and at the collector look like: `native`, `ocsf` or `ecs`.
    pub format: Option<Text>,
    /// A SQLite database; `audit.db` in the state directory where no other place keeps native lines.
    pub sqlite: Option<Text>,
    /// How long rows of the SQLite database are kept.
    pub retention: Option<Text>,
    /// A PostgreSQL database.
    pub postgres: Option<Postgres>,
    /// An OpenTelemetry collector.
    pub otlp: Option<Otlp>,
    /// `queue`: a decision is acted upon once it is queued; `fsync`: once it is on the disk.
    pub durability: Option<Text>,
    /// `deny`: requests are refused while the trail cannot be written; `continue`: they go on, and events are lost.
    pub on_failure: Option<Text>,
    /// What is recorded of arguments.
    #[serde(default)]
    pub arguments: Arguments,
    /// Bytes that the file may reach before it is set aside.
    pub rotate: Option<Spanned<usize>>,
    /// Files that are kept beside it.
    pub keep: Option<Spanned<usize>>,
}

/// A PostgreSQL database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://user:password@host/database`.
    pub url: Option<Text>,
    /// A file that holds it.
    pub url_file: Option<Text>,
}

/// An OpenTelemetry collector.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Where it takes OTLP over HTTP, without the path of a signal: `http://127.0.0.1:4318`.
    pub endpoint: Text,
    /// Fields that it wants, such as a key.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
}

/// What is recorded of arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// Whether a keyed digest of them is.
    pub digest: Option<bool>,
    /// Tags: the values themselves are recorded for tools that carry no others.
    #[serde(default)]
    pub values_of: Vec<Text>,
    /// JSON Pointers to values that are blacked out.
    #[serde(default)]
    pub redact: Vec<Text>,
}
