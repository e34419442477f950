//! The series of what the process holds at once.

use prometheus::{Error, IntCounterVec, IntGaugeVec};

use super::register::Registrar;

/// The series of `proxy::budget`, by `budget`.
#[derive(Debug)]
pub struct Budgets {
    /// What is taken: connections, requests, streams; bytes of `request_bytes` and `answer_bytes`; both of what is answered
    /// in process.
    pub used: IntGaugeVec,
    /// How much there is.
    pub limit: IntGaugeVec,
    /// What was refused because nothing was left; also of the shares of addresses, callers and backends.
    pub refused: IntCounterVec,
}

impl Budgets {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let labels = &["budget"];
        Ok(Self {
            used: registrar.gauges(
                "portcullis_budget_used",
                "What is taken of a budget of the process. `budget` is connections, requests, streams, request_bytes, \
                 answer_bytes, or of what is answered in process local_requests or local_bytes.",
                labels,
            )?,
            limit: registrar.gauges("portcullis_budget_limit", "How much there is of a budget.", labels)?,
            refused: registrar.counters(
                "portcullis_budget_refused_total",
                "What a spent budget was refused for; also connections_per_address, requests_per_address, \
                 requests_per_backend, requests_per_caller, request_bytes_per_caller, local_bytes_per_address and \
                 streams_per_caller.",
                labels,
            )?,
        })
    }
}
