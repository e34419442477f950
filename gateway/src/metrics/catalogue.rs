//! The series of what the gateway knows of its backends' tools.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Catalogue {
    /// Age of a backend's catalogue in seconds, by `backend`; absent until the first.
    age: IntGaugeVec,
    /// Tools of a backend by `backend` and `state` (listed, quarantined, drifted).
    tools: IntGaugeVec,
    /// Catalogues that could not be read, by `backend`.
    failures: IntCounterVec,
}

/// What is known of one backend.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// How old its catalogue is.
    pub age: Option<Duration>,
    /// Tools that it lists.
    pub listed: usize,
    /// Tools that do not exist for callers until they are approved.
    pub quarantined: usize,
    /// Tools that differ from what was approved, the quarantined ones among them.
    pub drifted: usize,
    /// Fetches that have failed since the start.
    pub failures: u64,
}

impl Catalogue {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let failures = Opts::new("portcullis_catalogue_failures_total", "Catalogues that could not be read.");
        let failures = IntCounterVec::new(failures, &["backend"])?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self {
            age: gauge("portcullis_catalogue_age_seconds", "Age of a backend's catalogue.", &["backend"])?,
            tools: gauge("portcullis_catalogue_tools", "Tools of a backend.", &["backend", "state"])?,
            failures,
        })
    }

    /// Sets the series of a backend.
    pub fn observe(&self, backend: &str, figures: &Figures) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if let Some(age) = figures.age {
            self.age.with_label_values(&[backend]).set(whole(age.as_secs()));
        }
        let states = [("listed", figures.listed), ("quarantined", figures.quarantined), ("drifted", figures.drifted)];
        for (state, number) in states {
            self.tools.with_label_values(&[backend, state]).set(whole(number as u64));
        }
        let failures = self.failures.with_label_values(&[backend]);
        failures.inc_by(figures.failures.saturating_sub(failures.get()));
    }
}
