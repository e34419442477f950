//! Every series the gateway exposes, and the closed sets of its labels.
//!
//! No label holds what a caller chose: no tool, subject, client or path. Names follow the Prometheus conventions:
//! base units, `_total` for counters.

mod catalogue;
mod configuration;
mod servers;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use catalogue::{Catalogue, Figures};
pub use configuration::Configuration;
pub use servers::Servers;

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests to a backend's path by `backend` and `status` (class of the answer's HTTP status).
    pub requests: IntCounterVec,
    /// Decisions by `backend`, `decision` (allow, deny, challenge) and `reason` (see [`Reason`]).
    pub decisions: IntCounterVec,
    /// Acts that were permitted and would have been refused, if rules in shadow did more than record, by `backend`.
    pub shadow: IntCounterVec,
    /// Items of lists by `backend` and `outcome` (shown, hidden).
    pub list_items: IntCounterVec,
    /// Failed exchanges with a backend by `backend` and `error`.
    pub backend_errors: IntCounterVec,
    /// What the gateway knows of the servers behind it.
    pub servers: Servers,
    /// Requests to the authorization server that were refused for coming too often, by `endpoint`.
    pub limited: IntCounterVec,
    /// Audit events that the queue could not take.
    pub audit_refused: IntCounterVec,
    /// Audit events by `sink` and `outcome` (written, failed: tried in vain and tried again, lost).
    pub audit_events: IntCounterVec,
    /// Age of a key set in seconds by `issuer`.
    pub jwks_age: IntGaugeVec,
    /// Seconds since the log of revocations was last read.
    pub revocations_age: IntGauge,
    /// What the gateway knows of its backends' tools.
    pub catalogue: Catalogue,
    /// What the gateway runs by.
    pub configuration: Configuration,
    /// Open event streams.
    pub streams: IntGauge,
    /// What the process holds at once.
    pub budgets: BudgetSeries,
    /// Seconds from a request's head to its answer's end, streams left out.
    pub duration: Histogram,
}

/// The series of `proxy::budget`, by `budget`.
#[derive(Debug)]
pub struct BudgetSeries {
    /// What is taken: connections, requests, streams; bytes of `request_bytes` and `answer_bytes`.
    pub used: IntGaugeVec,
    /// How much there is.
    pub limit: IntGaugeVec,
    /// What was refused because nothing was left; also of `connections_per_address` and `streams_per_caller`.
    pub refused: IntCounterVec,
}

impl BudgetSeries {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = &["budget"];
        let used = Opts::new("portcullis_budget_used", "What is taken of a budget of the process.");
        let limit = Opts::new("portcullis_budget_limit", "How much there is of a budget.");
        let refused = Opts::new("portcullis_budget_refused_total", "What a spent budget was refused for.");
        let series = Self {
            used: IntGaugeVec::new(used, labels)?,
            limit: IntGaugeVec::new(limit, labels)?,
            refused: IntCounterVec::new(refused, labels)?,
        };
        registry.register(Box::new(series.used.clone()))?;
        registry.register(Box::new(series.limit.clone()))?;
        registry.register(Box::new(series.refused.clone()))?;
        Ok(series)
    }
}

/// Why a request was refused, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was not.
    None,
    /// No token, or one that does not verify.
    Token,
    /// HTTP that is not acceptable here: method, media type, host, origin, size.
    Http,
    /// Not a JSON-RPC message that can be decided.
    Message,
    /// The policy does not open it.
    Policy,
    /// The tool is quarantined.
    Drift,
    /// The token's scopes do not cover it.
    Scope,
    /// The caller asks too often.
    Rate,
    /// The session is another caller's, or none.
    Session,
    /// The gateway cannot decide at the moment.
    Unavailable,
}

impl Reason {
    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Http => "http",
            Self::Message => "message",
            Self::Policy => "policy",
            Self::Drift => "drift",
            Self::Scope => "scope",
            Self::Rate => "rate",
            Self::Session => "session",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Metrics {
    /// Registers every series.
    ///
    /// # Errors
    ///
    /// Returns an error when two series have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let requests = counter("portcullis_requests_total", "Requests to a backend's path.", &["backend", "status"])?;
        let decisions =
            counter("portcullis_decisions_total", "Decisions of the one door.", &["backend", "decision", "reason"])?;
        let shadow = counter("portcullis_shadow_total", "Acts that rules in shadow would have refused.", &["backend"])?;
        let list_items = counter("portcullis_list_items_total", "Items of lists.", &["backend", "outcome"])?;
        let backend_errors =
            counter("portcullis_backend_errors_total", "Failed exchanges with a backend.", &["backend", "error"])?;
        let servers = Servers::register(&registry)?;
        let limited = counter("portcullis_limited_total", "Requests refused for coming too often.", &["endpoint"])?;
        let audit_refused = counter("portcullis_audit_refused_total", "Audit events not taken.", &["backend"])?;
        let audit_events =
            counter("portcullis_audit_events_total", "Audit events given to a sink.", &["sink", "outcome"])?;
        let jwks_age = IntGaugeVec::new(Opts::new("portcullis_jwks_age_seconds", "Age of a key set."), &["issuer"])?;
        registry.register(Box::new(jwks_age.clone()))?;
        let help = "Seconds since the log of revocations was last read.";
        let revocations_age = IntGauge::new("portcullis_revocations_age_seconds", help)?;
        registry.register(Box::new(revocations_age.clone()))?;
        let catalogue = Catalogue::new(&registry)?;
        let configuration = Configuration::new(&registry)?;
        let streams = IntGauge::new("portcullis_streams", "Open event streams.")?;
        registry.register(Box::new(streams.clone()))?;
        let budgets = BudgetSeries::register(&registry)?;
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
        let options = HistogramOpts::new("portcullis_request_duration_seconds", "Head to end of answer.");
        let duration = Histogram::with_opts(options.buckets(buckets))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self {
            registry,
            requests,
            decisions,
            shadow,
            list_items,
            backend_errors,
            servers,
            limited,
            audit_refused,
            audit_events,
            jwks_age,
            revocations_age,
            catalogue,
            configuration,
            streams,
            budgets,
            duration,
        })
    }

    /// Every series in the Prometheus text format.
    ///
    /// # Errors
    ///
    /// Returns an error when a series cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::with_capacity(8 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_exposed() {
        let metrics = Metrics::new().unwrap();
        metrics.decisions.with_label_values(&["weather", "deny", Reason::Policy.as_str()]).inc();
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(text.contains(r#"portcullis_decisions_total{backend="weather",decision="deny",reason="policy"} 1"#));
        assert!(text.contains("portcullis_streams 0"));
    }
}
