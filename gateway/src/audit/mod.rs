//! The audit trail: who asked for what, what was decided and why, and what came of it.
//!
//! A request leaves two lines joined by its `request_id`: the decision, accepted by a bounded queue before a byte
//! goes to a backend, and the outcome. A full queue refuses the decision, and the request with it. The lines are
//! written by a thread of their own, so that the data path never waits for a disk. Values of arguments are never
//! recorded.

mod event;
mod sink;

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

pub use event::{Actor, Decision, Event, Kind, Outcome, Reason, RequestId, Target, Verdict};
pub use sink::Sink;

/// Lines that may wait for the disk; beyond that, requests are refused.
const QUEUE: usize = 16 * 1024;

/// Takes events and has them written.
#[derive(Debug)]
pub struct Auditor {
    queue: Option<SyncSender<Event>>,
    writer: Option<JoinHandle<()>>,
}

/// The queue is full or the writer is gone: the event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit queue is full; see whether the audit file's disk is full or slow")]
pub struct NotRecorded;

impl Auditor {
    /// Starts the writer.
    ///
    /// # Errors
    ///
    /// Returns an error when the thread cannot be started.
    pub fn start(sink: Sink) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || sink.write_all(&receiver))?;
        Ok(Self { queue: Some(sender), writer: Some(writer) })
    }

    /// Hands an event to the writer; never waits.
    ///
    /// # Errors
    ///
    /// Returns [`NotRecorded`] when the event could not be taken. A decision that is not recorded must not be
    /// acted upon.
    pub fn record(&self, event: Event) -> Result<(), NotRecorded> {
        let queue = self.queue.as_ref().ok_or(NotRecorded)?;
        queue.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => NotRecorded,
        })
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to flush.
            let _ = writer.join();
        }
    }
}
