//! The audit trail: who asked for what, what was decided and why, and what came of it.
//!
//! A request leaves two lines joined by its `request_id`: the decision, accepted by a bounded queue before a byte
//! goes to a backend, and the outcome. A full queue refuses the decision, and the request with it. The lines are
//! written by a thread of their own, so that the data path never waits for a disk. Values of arguments are never
//! recorded.

mod chain;
mod event;
mod sink;
pub mod verify;
mod writer;

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use chain::Head;
pub use event::{
    Actor, Authorization, Checkpoint, Decision, Event, Kind, Outcome, Reason, RequestId, Started, Step, Target, Verdict,
};
pub use sink::{Rotation, Sink};
pub use writer::Signer;
use writer::{Item, Writer};

/// Lines that may wait for the disk; beyond that, requests are refused.
const QUEUE: usize = 16 * 1024;

/// Takes events and has them written.
#[derive(Debug)]
pub struct Auditor {
    queue: Option<SyncSender<Item>>,
    writer: Option<JoinHandle<()>>,
    durable: bool,
}

/// The queue is full or the writer is gone: the event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit queue is full; see whether the audit file's disk is full or slow")]
pub struct NotRecorded;

impl Auditor {
    /// Starts the writer; `durable` makes [`Auditor::record_first`] wait for the disk.
    ///
    /// # Errors
    ///
    /// Returns an error when the trail cannot be written, or the thread cannot be started.
    pub fn start(sink: Sink, signer: Signer, durable: bool) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let writer = Writer::start(sink, signer, durable)?;
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self { queue: Some(sender), writer: Some(thread), durable })
    }

    /// Hands an event to the writer; never waits.
    ///
    /// # Errors
    ///
    /// Returns [`NotRecorded`] when the event could not be taken.
    pub fn record(&self, event: Event) -> Result<(), NotRecorded> {
        self.send(Item { event, written: None })
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
        self.send(Item { event, written: Some(written) })?;
        done.await.map_err(|_writer_gone| NotRecorded)
    }

    fn send(&self, item: Item) -> Result<(), NotRecorded> {
        let queue = self.queue.as_ref().ok_or(NotRecorded)?;
        queue.try_send(item).map_err(|error| match error {
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

#[cfg(test)]
mod tests;
