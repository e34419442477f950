//! The series of what is recorded: the audit trail and the traces.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge};

use super::register::{Registrar, whole};
use crate::audit::Waiting;

/// The audit trail's series, each beside its meaning.
#[derive(Debug)]
pub struct Trail {
    events: IntCounterVec,
    waiting: IntGauge,
    room: IntGauge,
    bytes: IntGauge,
    bytes_room: IntGauge,
}

impl Trail {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let series = Self {
            events: registrar.counters(
                "portcullis_audit_events_total",
                "Audit events given to a sink. `sink` is stdout, file, sqlite, postgres or otlp, or queue for what the \
                 full queue did not take; `outcome` is written, failed (tried in vain, and tried again) or lost.",
                &["sink", "outcome"],
            )?,
            waiting: registrar.gauge("portcullis_audit_queue", "Audit events that wait to be written.")?,
            room: registrar.gauge(
                "portcullis_audit_queue_limit",
                "How many may wait; beyond that requests are refused, or events lost, as `audit.on_failure` says.",
            )?,
            bytes: registrar.gauge(
                "portcullis_audit_queue_bytes",
                "Bytes that callers sent and that the waiting audit events hold: arguments, until their digest is made.",
            )?,
            bytes_room: registrar.gauge(
                "portcullis_audit_queue_bytes_limit",
                "How many they may hold; beyond that it is as when the queue is full.",
            )?,
        };
        series.given("queue", "lost", 0);
        Ok(series)
    }

    /// Events were given to a sink; both words are of closed sets.
    pub fn given(&self, sink: &'static str, outcome: &'static str, events: u64) {
        self.events.with_label_values(&[sink, outcome]).inc_by(events);
    }

    /// A sink is there: its series are, too.
    pub fn has(&self, sink: &'static str) {
        for outcome in ["written", "failed", "lost"] {
            self.given(sink, outcome, 0);
        }
    }

    /// So much waits, of so much that may.
    pub fn observe(&self, waiting: Waiting) {
        self.waiting.set(whole(waiting.events));
        self.room.set(whole(waiting.most_events));
        self.bytes.set(whole(waiting.bytes));
        self.bytes_room.set(whole(waiting.most_bytes));
    }
}

/// The traces' series.
#[derive(Clone, Debug)]
pub struct Spans {
    /// Spans that the collector has taken.
    pub exported: IntCounter,
    /// Spans that the collector did not take.
    pub failed: IntCounter,
    /// Spans that the full queue did not take.
    pub dropped: IntCounter,
}

impl Spans {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let spans = registrar.counters(
            "portcullis_trace_spans_total",
            "Spans of traces. `outcome` is exported, failed (the collector did not take them) or dropped (the queue was \
             full); those that are not exported are gone.",
            &["outcome"],
        )?;
        let of = |outcome: &str| spans.with_label_values(&[outcome]);
        Ok(Self { exported: of("exported"), failed: of("failed"), dropped: of("dropped") })
    }
}
