//! The series of the store.

use std::time::Duration;

use prometheus::{Error, HistogramVec, IntCounterVec};

use super::register::Registrar;

/// A store answers within a millisecond or two, or is slow.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The series, each beside its meaning.
#[derive(Clone, Debug)]
pub struct Store {
    durations: HistogramVec,
    errors: IntCounterVec,
}

impl Store {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        Ok(Self {
            durations: registrar.histograms(
                "portcullis_store_operation_duration_seconds",
                "Acts of the store. `operation` is its name, as redeem_code or rotate_refresh_token.",
                &["operation"],
                &BUCKETS,
            )?,
            errors: registrar.counters(
                "portcullis_store_errors_total",
                "Acts of the store that failed; nothing was changed by them.",
                &["operation"],
            )?,
        })
    }

    /// An act has taken so long; `operation` is of a closed set.
    pub fn done(&self, operation: &'static str, took: Duration, failed: bool) {
        self.durations.with_label_values(&[operation]).observe(took.as_secs_f64());
        self.errors.with_label_values(&[operation]).inc_by(u64::from(failed));
    }

    /// There is such an act: its failures are counted from 0.
    pub fn has(&self, operation: &'static str) {
        self.errors.with_label_values(&[operation]);
    }
}
