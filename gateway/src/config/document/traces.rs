//! Traces, as written.

use serde::Deserialize;

use super::{Otlp, Text};

/// Traces of requests.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// An OpenTelemetry collector; without one nothing is traced.
    pub otlp: Option<Otlp>,
    /// The share of requests that are traced, 0 to 1, of those that no caller has decided for.
    pub sample: Option<Text>,
    /// Whether a caller's own decision counts (the `sampled` flag of `traceparent`).
    pub follow_callers: Option<bool>,
}
