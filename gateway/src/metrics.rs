//! Every series the gateway exposes, and the closed sets of its labels.
//!
//! INVARIANT: no label holds what a caller chose: no subject, client, path or tool that nobody knows; see
//! [`operations`]. Names follow the Prometheus conventions: base units, `_total` for counters. What a request counts
//! is found once for its backend ([`Backend`]). `docs/metrics.md` lists them all, and a test holds it to this.

mod backend;
mod budgets;
mod catalogue;
mod configuration;
mod disks;
mod identity;
pub mod operations;
mod reason;
mod register;
mod servers;
mod store;
mod trail;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{Encoder, Histogram, IntCounterVec, IntGauge, Registry, TextEncoder};

pub use backend::Backend;
pub use budgets::Budgets;
pub use catalogue::{Catalogue, Figures};
pub use configuration::Configuration;
pub use disks::Disks;
pub use identity::{Identity, KeySetFigures};
pub use reason::Reason;
pub use register::Described;
pub use servers::Servers;
pub use store::Store;
pub use trail::{Spans, Trail};

use register::Registrar;

const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    requests: backend::Requests,
    backends: RwLock<HashMap<String, Arc<Backend>>>,
    turned_away: IntCounterVec,
    log_lost: IntCounterVec,
    /// What the gateway knows of the servers behind it.
    pub servers: Servers,
    /// Who is who.
    pub identity: Identity,
    /// The audit trail.
    pub trail: Trail,
    /// Traces.
    pub spans: Spans,
    /// The store.
    pub store: Store,
    /// What the gateway knows of its backends' tools.
    pub catalogue: Catalogue,
    /// What the gateway runs by.
    pub configuration: Configuration,
    /// Open event streams.
    pub streams: IntGauge,
    ready: IntGauge,
    /// What the process holds at once.
    pub budgets: Budgets,
    /// The disks that it writes to.
    pub disks: Disks,
    /// Seconds from a request's head to its answer's end.
    pub duration: Histogram,
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
        let mut registrar = Registrar::new(&registry);
        let requests = backend::Requests::register(&mut registrar)?;
        let duration = registrar.histogram(
            "portcullis_request_duration_seconds",
            "Requests to a backend's path, from the head to the end of the answer, streams included.",
            &BUCKETS,
        )?;
        let streams = registrar.gauge("portcullis_streams", "Open event streams.")?;
        let ready = registrar.gauge(
            "portcullis_ready",
            "Whether the gateway can serve (1), by what `/readyz` says at the moment of the scrape.",
        )?;
        let turned_away = registrar.counters(
            "portcullis_turned_away_total",
            "Requests that were refused before it was looked what they ask for. `reason` is plain_http (without TLS, over a \
             network, and not from a trusted proxy) or misdirected (to a host that is not the gateway's).",
            &["reason"],
        )?;
        for reason in ["plain_http", "misdirected"] {
            turned_away.with_label_values(&[reason]);
        }
        let log_lost = registrar.counters(
            "portcullis_log_lines_lost_total",
            "Lines of the log that are lost, for standard error is a pipe that is full and not read.",
            &[],
        )?;
        log_lost.with_label_values::<&str>(&[]);
        Ok(Self {
            requests,
            duration,
            log_lost,
            streams,
            ready,
            turned_away,
            servers: Servers::register(&mut registrar)?,
            identity: Identity::register(&mut registrar)?,
            trail: Trail::register(&mut registrar)?,
            spans: Spans::register(&mut registrar)?,
            store: Store::register(&mut registrar)?,
            catalogue: Catalogue::register(&mut registrar)?,
            configuration: Configuration::register(&mut registrar)?,
            budgets: Budgets::register(&mut registrar)?,
            disks: Disks::register(&mut registrar)?,
            backends: RwLock::default(),
            registry,
            described: registrar.described(),
        })
    }

    /// The series of a backend; the same ones each time.
    #[must_use]
    pub fn backend(&self, name: &str) -> Arc<Backend> {
        let known = self.backends.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.backends.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(self.requests.of(name))))
        })
    }

    /// A request was refused before anything else; `reason` is of a closed set.
    pub fn turned_away(&self, reason: &'static str) {
        self.turned_away.with_label_values(&[reason]).inc();
    }

    /// Whether the gateway can serve now.
    pub fn observe_ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// So many lines of the log are lost by now.
    pub fn observe_log(&self, lost: u64) {
        let counter = self.log_lost.with_label_values::<&str>(&[]);
        counter.inc_by(lost.saturating_sub(counter.get()));
    }

    /// An audit event of something that is no request to a backend was not taken.
    pub fn audit_refused(&self) {
        self.requests.audit_refused("");
    }

    /// What there is to say of every metric but those of the process itself.
    #[must_use]
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Every series in the Prometheus text format.
    ///
    /// # Errors
    ///
    /// Returns an error when a series cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
