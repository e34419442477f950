//! Traces: one span for each MCP request as its client sees it, one for each exchange with a backend, sent to an
//! OpenTelemetry collector over OTLP/HTTP.
//!
//! Off unless configured. A request costs nothing unless it is sampled, and never waits: spans go to a bounded queue,
//! and what finds it full is dropped and counted. The spans are made of the protocol's own types and not by the SDK,
//! whose processor does not tell how many it dropped.
//!
//! INVARIANT: no token, argument, result, claim or URI gets into a span: attributes are set in `proxy` alone, from
//! closed sets, from names that the policy opens, and from the request's ids.

pub mod context;
mod export;
mod span;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use context::{Context, TraceId};
use export::Item;
pub use export::{Collector, Exporter};
pub use span::{Kind, Span, Value};

use crate::metrics::Spans;

/// Spans that may wait for the collector; some 2 MiB.
const QUEUE: usize = 4096;
/// The end waits for the collector so long.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of those that nobody has decided for: 0 to 1.
    pub ratio: f64,
    /// Whether a verified caller's own decision counts (the `sampled` flag of `traceparent`).
    pub follow_callers: bool,
}

/// Begins spans and takes them when they have ended.
#[derive(Debug)]
pub struct Tracer {
    queue: mpsc::Sender<Item>,
    sampling: Sampling,
    series: Spans,
}

impl Tracer {
    /// A tracer, and what has to run for it.
    #[must_use]
    pub fn new(collector: Collector, sampling: Sampling, series: Spans) -> (Arc<Self>, Exporter) {
        let (queue, items) = mpsc::channel(QUEUE);
        let exporter = Exporter::new(collector, items, series.clone());
        (Arc::new(Self { queue, sampling, series }), exporter)
    }

    /// The span of a request, if it is sampled; `parent` is the context that a verified caller sent with it.
    #[must_use]
    pub fn begin(&self, parent: Option<&Context>) -> Option<Span> {
        let followed = parent.filter(|_| self.sampling.follow_callers);
        let trace = parent.map_or_else(TraceId::random, |parent| parent.trace_id);
        let sampled = followed.map_or_else(|| trace.is_within(self.sampling.ratio), |parent| parent.sampled);
        sampled.then(|| Span::new(trace, parent.map(|parent| parent.span_id), Kind::Server))
    }

    /// Takes a span that has ended; never waits.
    pub fn take(&self, span: Span) {
        if self.queue.try_send(Item::Span(Box::new(span.ended()))).is_err() {
            self.series.dropped.inc();
        }
    }

    /// Has everything sent that was taken so far, as far as the collector takes it in time.
    pub async fn close(&self) {
        let (done, wait) = oneshot::channel();
        let sent = tokio::time::timeout(CLOSE_WITHIN, self.queue.send(Item::Flush(done))).await;
        if matches!(sent, Ok(Ok(()))) {
            // What is not taken by then is gone, and a trace is no audit trail.
            let _ = tokio::time::timeout(CLOSE_WITHIN, wait).await;
        }
    }
}

#[cfg(test)]
mod tests;
