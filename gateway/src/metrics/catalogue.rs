//! The series of what the gateway knows of its backends' tools.

use std::time::Duration;

use prometheus::{Error, IntCounterVec, IntGaugeVec};

use super::register::{Registrar, whole};

/// There from the start, so that the first change can be seen to be one.
const CHANGES: [&str; 4] = ["new", "changed", "gone", "settled"];

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Catalogue {
    age: IntGaugeVec,
    refresh: IntGaugeVec,
    tools: IntGaugeVec,
    failures: IntCounterVec,
    lock_refused: IntGaugeVec,
    drift: IntCounterVec,
}

/// What is known of one backend.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// How old its catalogue is.
    pub age: Option<Duration>,
    /// How often it is read at least.
    pub refresh: Duration,
    /// Tools that it lists.
    pub listed: usize,
    /// Tools that do not exist for callers until they are approved.
    pub quarantined: usize,
    /// Tools that differ from what was approved, the quarantined ones among them.
    pub drifted: usize,
    /// Fetches that have failed since the start.
    pub failures: u64,
    /// Whether the lock file on the disk cannot be used.
    pub lock_refused: bool,
}

impl Catalogue {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        Ok(Self {
            age: registrar.gauges(
                "portcullis_catalogue_age_seconds",
                "Age of a backend's catalogue; absent until the first, and for backends that need none.",
                &["backend"],
            )?,
            refresh: registrar.gauges(
                "portcullis_catalogue_refresh_seconds",
                "How often it is read at least (`catalogue_refresh`).",
                &["backend"],
            )?,
            tools: registrar.gauges(
                "portcullis_catalogue_tools",
                "Tools of a backend. `state` is listed, drifted (not as approved) or quarantined (drifted, and withheld).",
                &["backend", "state"],
            )?,
            failures: registrar.counters(
                "portcullis_catalogue_failures_total",
                "Catalogues that could not be read.",
                &["backend"],
            )?,
            lock_refused: registrar.gauges(
                "portcullis_lock_refused",
                "Whether a backend's lock file cannot be used (1): the last good one counts, and a restart would not start.",
                &["backend"],
            )?,
            drift: registrar.counters(
                "portcullis_tool_drift_total",
                "Tools that were found to be others than before. `change` is new, changed, gone or settled.",
                &["backend", "change"],
            )?,
        })
    }

    /// Takes what is known away: backends that are gone, or keep no catalogue any more, have no series.
    pub fn forget(&self) {
        self.age.reset();
        self.refresh.reset();
        self.tools.reset();
        self.lock_refused.reset();
    }

    /// Sets the series of a backend.
    pub fn observe(&self, backend: &str, figures: &Figures) {
        if let Some(age) = figures.age {
            self.age.with_label_values(&[backend]).set(whole(age.as_secs()));
        }
        self.refresh.with_label_values(&[backend]).set(whole(figures.refresh.as_secs()));
        let states = [("listed", figures.listed), ("quarantined", figures.quarantined), ("drifted", figures.drifted)];
        for (state, number) in states {
            self.tools.with_label_values(&[backend, state]).set(whole(number));
        }
        self.lock_refused.with_label_values(&[backend]).set(i64::from(figures.lock_refused));
        for change in CHANGES {
            self.drift.with_label_values(&[backend, change]);
        }
        let failures = self.failures.with_label_values(&[backend]);
        failures.inc_by(figures.failures.saturating_sub(failures.get()));
    }

    /// A tool of a backend is another; `change` is of a closed set.
    pub fn drifted(&self, backend: &str, change: &'static str) {
        self.drift.with_label_values(&[backend, change]).inc();
    }
}
