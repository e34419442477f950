//! The audit trail: who asked for what, what was decided and why, and what came of it.
//!
//! A request leaves two lines joined by its `request_id`: the decision, accepted by a bounded queue before a byte
//! goes to a backend, and the outcome. A full queue refuses the decision, and the request with it. The lines are
//! written by a thread of their own, so that the data path never waits for a disk. Of arguments a keyed digest is
//! recorded, and values only where the operator says so. Refusals of people whom nobody knows are lines up to a number, and
//! counts beyond it ([`Auditor::refused`]).

mod chain;
mod digest;
mod encode;
mod event;
mod place;
mod sink;
mod tally;
pub mod verify;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use chain::{Head, NotAHead};
pub use digest::{Digester, digest_of};
pub use encode::Format;
pub use event::{
    Actor, Arguments, Authorization, CertificateReload, Checkpoint, Decision, Event, Gap, Kind, Outcome, Reason,
    Refusals, Reload, RequestId, Started, Step, Target, ToolDrift, Verdict,
};
pub use sink::{Bounds, Collector, Destination, Kept, Rotation, Rows};
pub use tally::Admitted;
use tally::Tally;
pub use writer::Signer;
use writer::{Item, Writer};

use crate::clock::{Moment, Stopwatch, Timestamp};
use crate::metrics::Metrics;

/// Events that may wait for the disk; beyond that, requests are refused.
const QUEUE: usize = 16 * 1024;
/// What callers sent and waits in them, in bytes: what a call was asked with is as large as its caller made it, and must
/// not be what the process dies of while a disk is slow. As many as sixteen of the largest bodies that are taken by default.
const QUEUE_BYTES: usize = 64 << 20;
/// Room beyond that for what became of requests that were let through: as many as may be under way, and more.
const OUTCOMES: usize = 16 * 1024;
/// A decision that is not on the disk after so long is refused.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);

/// The end waits for the sinks so long in all, which is longer than the writer tries them.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Takes events and has them written.
#[derive(Debug)]
pub struct Auditor {
    queue: Option<SyncSender<Item>>,
    writer: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    durable: bool,
    on_failure: OnFailure,
    has_digests: bool,
    before: Option<Timestamp>,
    metrics: Option<Arc<Metrics>>,
}

/// What waits to be written, and how much of it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Events.
    pub events: usize,
    /// How many may wait.
    pub most_events: usize,
    /// Bytes that callers sent and that they hold.
    pub bytes: usize,
    /// How many may.
    pub most_bytes: usize,
}

/// What the writer hears of beside the queue.
#[derive(Debug, Default)]
struct Shared {
    /// The process ends.
    stopping: AtomicBool,
    /// It does not wait for the writer, which may hang in a place that takes nothing and gives no error.
    given_up: AtomicBool,
    /// Events that the full queue did not take, and that are lost.
    overflowed: AtomicU64,
    /// Whether it has refused some since the writer last gave lines to the places.
    refused: AtomicBool,
    /// Events in the queue.
    queued: AtomicUsize,
    /// What they hold of callers, in bytes.
    held: AtomicUsize,
    /// Which places cannot be written now, and why.
    faults: Mutex<BTreeMap<&'static str, String>>,
    /// Since when the lines wait that the writer has in hand; nothing while it has none.
    in_hand: Mutex<Option<Stopwatch>>,
    /// Refusals that are counted, and that the writer makes lines of.
    tally: Tally,
}

/// When an event counts as recorded, and what becomes of requests when it cannot be.
#[derive(Debug)]
pub struct Options {
    /// Whether [`Auditor::record_first`] waits until every sink has the event for good.
    pub durable: bool,
    /// What a sink that fails means for requests.
    pub on_failure: OnFailure,
    /// What is recorded of arguments.
    pub digester: Digester,
    /// Where events are counted.
    pub metrics: Option<Arc<Metrics>>,
}

/// What a sink that fails means for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused as soon as the queue is full, until the sink works again; no event is lost.
    Deny,
    /// They go on; events are lost, and counted.
    Continue,
}

/// The queue is full or the writer is gone: the event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit event cannot be recorded; see whether the disk or the server of the audit trail is full or slow")]
pub struct NotRecorded;

/// The end of the trail is not written: there is no last signature, and lines may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the end of the audit trail cannot be written; at least {lost} event(s) that were accepted are lost")]
pub struct NotClosed {
    /// Events that still waited in the queue.
    pub lost: usize,
}

impl Auditor {
    /// Starts the writer and waits until every destination has its first line.
    ///
    /// # Errors
    ///
    /// Returns an error when a destination cannot be written, or the thread cannot be started.
    pub fn start(destinations: Vec<Destination>, signer: Signer, options: Options) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE + OUTCOMES);
        let (started, start) = channel();
        let shared = Arc::new(Shared::default());
        let (durable, on_failure, writers) = (options.durable, options.on_failure, Arc::clone(&shared));
        let (metrics, has_digests) = (options.metrics.clone(), options.digester.has_key());
        let run = move || match Writer::start(&destinations, signer, options, writers) {
            Ok(writer) => {
                if started.send(Ok(writer.before())).is_ok() {
                    writer.run(&receiver);
                }
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(run)?;
        let before = start.recv().map_err(io::Error::other)??;
        Ok(Self {
            queue: Some(sender),
            writer: Some(thread),
            shared,
            durable,
            on_failure,
            has_digests,
            before,
            metrics,
        })
    }

    /// When the run before wrote its last line; unknown when there was none, or it is nowhere to be read.
    #[must_use]
    pub fn before(&self) -> Option<Timestamp> {
        self.before
    }

    /// Whether anything is recorded of arguments; where nothing is, they need not be handed over.
    #[must_use]
    pub fn has_digests(&self) -> bool {
        self.has_digests
    }

    /// Hands an event to the writer; never waits.
    ///
    /// # Errors
    ///
    /// Returns [`NotRecorded`] when the event could not be taken.
    pub fn record(&self, event: Event) -> Result<(), NotRecorded> {
        self.send(Item { event: Some(event), written: None })
    }

    /// As [`Auditor::record`], for a refusal whose caller nobody knows: a line, or one of a count where there were too many
    /// of them lately. Of what is counted nothing else is to be recorded.
    ///
    /// # Errors
    ///
    /// Returns [`NotRecorded`] when it should be a line, and could not be taken.
    pub fn refused(&self, event: Event) -> Result<Admitted, NotRecorded> {
        match self.shared.tally.admit(&event) {
            Admitted::Line => self.record(event).map(|()| Admitted::Line),
            Admitted::Counted => Ok(Admitted::Counted),
        }
    }

    /// As [`Auditor::record`], for what happens now and is no part of a request; whether it was taken, and if not, the log
    /// says so.
    pub fn note(&self, time: Moment, kind: Kind) -> bool {
        let taken = self.record(Event { time, request_id: None, trace_id: None, kind });
        if let Err(error) = &taken {
            tracing::error!(%error, "an audit event was not taken");
        }
        taken.is_ok()
    }

    /// Hands over an event that must be there before it is acted upon: taken by the queue, and, where the trail is
    /// durable, on the disk.
    ///
    /// # Errors
    ///
    /// Returns [`NotRecorded`] when it could not be taken or written. A decision that is not recorded must not be
    /// acted upon.
    pub async fn record_first(&self, event: Event) -> Result<(), NotRecorded> {
        if !self.durable {
            return self.record(event);
        }
        let (written, done) = oneshot::channel();
        self.send(Item { event: Some(event), written: Some(written) })?;
        match tokio::time::timeout(DURABLE_WITHIN, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotRecorded),
        }
    }

    /// Has everything written that was taken so far, signs it, and takes nothing more. Sinks that fail are tried for a
    /// few seconds, ten at most in all; what is not written by then is lost, and counted as such.
    ///
    /// # Errors
    ///
    /// Returns [`NotClosed`] when not everything is known to be written.
    pub async fn close(&self) -> Result<(), NotClosed> {
        self.shared.stopping.store(true, Ordering::Release);
        if let Ok(true) = tokio::time::timeout(CLOSE_WITHIN, self.ended()).await {
            return Ok(());
        }
        self.shared.given_up.store(true, Ordering::Release);
        let lost = self.shared.queued.load(Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.trail.given("queue", "lost", u64::try_from(lost).unwrap_or(u64::MAX));
        }
        Err(NotClosed { lost })
    }

    /// Asks the writer for the end, and waits for it; whether everything is written.
    async fn ended(&self) -> bool {
        loop {
            let (written, done) = oneshot::channel();
            let Some(queue) = &self.queue else { return false };
            match queue.try_send(Item { event: None, written: Some(written) }) {
                Ok(()) => return done.await.is_ok(),
                // It is emptied, or given up, by the writer.
                Err(TrySendError::Full(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
    }

    /// What waits to be written.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let of = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        let (events, bytes) = (of(&self.shared.queued), of(&self.shared.held));
        Waiting { events, most_events: QUEUE, bytes, most_bytes: QUEUE_BYTES }
    }

    /// How long the lines that are being written wait for it, whatever it is that holds them up.
    fn held_up(&self) -> Duration {
        let since = *self.shared.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What cannot be written now, in words for the operator, and whether requests are refused for it.
    #[must_use]
    pub fn fault(&self) -> Option<(String, bool)> {
        let waiting = self.waiting();
        // Full of bytes it is before the last of them: as soon as there is no room for one that came.
        let is_refusing = self.shared.refused.load(Ordering::Relaxed) && waiting.events > 0;
        let is_full = waiting.events >= waiting.most_events || is_refusing;
        let held_up = self.held_up();
        let is_late = held_up >= DURABLE_WITHIN;
        let faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = match faults.iter().next() {
            Some((sink, why)) => format!("the audit trail cannot be written to `{sink}`: {why}"),
            // A pipe that nobody reads says nothing, and neither does a disk that hangs.
            None if is_full => "more waits for the audit trail than may; see whether its places take it".to_owned(),
            None if is_late => {
                format!("the audit trail is not written since {} s; see whether its places take it", held_up.as_secs())
            }
            None => return None,
        };
        let is_denied = self.on_failure == OnFailure::Deny && (self.durable || is_full);
        Some((fault, is_denied || self.durable && is_late))
    }

    fn send(&self, item: Item) -> Result<(), NotRecorded> {
        let queue = self.queue.as_ref().ok_or(NotRecorded)?;
        let is_outcome = matches!(&item.event, Some(Event { kind: Kind::Outcome(_), .. }));
        let bytes = item.event.as_ref().map_or(0, Event::held);
        // Before it is there, for the writer may be quicker than the count.
        let waiting = self.shared.queued.fetch_add(1, Ordering::Relaxed);
        let held = self.shared.held.fetch_add(bytes, Ordering::Relaxed);
        // One that is larger than all the room is taken by an empty queue: who allows such bodies has them recorded.
        let has_room = waiting < QUEUE && (held == 0 || held.saturating_add(bytes) <= QUEUE_BYTES);
        let sent = if has_room || is_outcome { queue.try_send(item) } else { Err(TrySendError::Full(item)) };
        if sent.is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            self.shared.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        match (sent, self.on_failure) {
            (Ok(()), _) => Ok(()),
            (Err(TrySendError::Full(_)), OnFailure::Continue) => {
                self.shared.overflowed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            (Err(TrySendError::Full(_) | TrySendError::Disconnected(_)), _) => {
                self.shared.refused.store(true, Ordering::Relaxed);
                Err(NotRecorded)
            }
        }
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            && !self.shared.given_up.load(Ordering::Acquire)
        {
            // A writer that panicked has nothing left to flush.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod forged;
#[cfg(test)]
mod heavy;
#[cfg(test)]
mod places;
#[cfg(test)]
mod tests;
