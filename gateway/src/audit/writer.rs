//! The writer's thread: takes events off the queue, links them into the chain, signs now and then, and answers those
//! who wait until their line is on the disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::chain::{CHECKPOINT, Chain, Signed};
use super::event::{Checkpoint, Started};
use super::{Event, Kind, Sink};
use crate::clock::{Clock, Stopwatch};
use crate::jose::signing_key::SigningKey;

/// How long the first line of a batch waits for others.
const BATCH: Duration = Duration::from_millis(2);
/// A checkpoint comes after so many lines, or so much time, whichever is first.
const CHECKPOINT_LINES: u64 = 10_000;
const CHECKPOINT_TIME: Duration = Duration::from_secs(60);

/// An event, and who waits for it to be durable.
pub(super) struct Item {
    pub(super) event: Event,
    pub(super) written: Option<oneshot::Sender<()>>,
}

/// Signs checkpoints.
pub struct Signer {
    /// The gateway's signing key.
    pub key: SigningKey,
    /// Its issuer.
    pub issuer: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Writes a trail.
pub(super) struct Writer {
    sink: Sink,
    chain: Chain,
    signer: Signer,
    durable: bool,
    unsigned: u64,
    signed_at: Stopwatch,
}

impl Writer {
    /// A writer whose first line is written.
    pub(super) fn start(mut sink: Sink, signer: Signer, durable: bool) -> io::Result<Self> {
        let after = sink.last()?;
        let chain = Chain::new(format!("{:016x}", rand::random::<u64>()));
        let mut writer = Self { sink, chain, signer, durable, unsigned: 0, signed_at: Stopwatch::start() };
        let started = Started { version: env!("CARGO_PKG_VERSION"), after };
        writer.own_line(Kind::Started(started))?;
        writer.sink.flush(durable)?;
        Ok(writer)
    }

    /// Writes until every sender is gone. A burst is written in one go and flushed when nothing more waits.
    pub(super) fn run(mut self, items: &Receiver<Item>) {
        loop {
            let result = match items.recv_timeout(CHECKPOINT_TIME) {
                Ok(first) => self.batch(first, items),
                Err(RecvTimeoutError::Timeout) => self.sign_if_due(),
                Err(RecvTimeoutError::Disconnected) => {
                    let end = self.sign().and_then(|()| self.sink.flush(true));
                    if let Err(error) = end {
                        tracing::error!(%error, "the end of the audit trail cannot be written");
                    }
                    return;
                }
            };
            if let Err(error) = result {
                // INVARIANT: a trail with a hole ends: the receiver goes, and every further request is refused.
                tracing::error!(%error, "the audit trail cannot be written; free its disk and restart the gateway");
                return;
            }
        }
    }

    fn batch(&mut self, first: Item, items: &Receiver<Item>) -> io::Result<()> {
        let mut waiting = Vec::new();
        self.item(first, &mut waiting)?;
        if !self.durable {
            // Waking and flushing for every line would cost a call more than deciding it. Where the disk is waited
            // for, the wait itself makes the batch.
            std::thread::sleep(BATCH);
        }
        while let Ok(item) = items.try_recv() {
            self.item(item, &mut waiting)?;
        }
        self.sign_if_due()?;
        self.sink.flush(self.durable)?;
        for written in waiting {
            // Who went away does not wait any more.
            let _ = written.send(());
        }
        Ok(())
    }

    fn item(&mut self, item: Item, waiting: &mut Vec<oneshot::Sender<()>>) -> io::Result<()> {
        waiting.extend(item.written);
        self.line(&item.event)
    }

    fn line(&mut self, event: &Event) -> io::Result<()> {
        let mut json = serde_json::to_vec(event)?;
        self.chain.link(&mut json);
        self.unsigned += 1;
        self.sink.line(&json)
    }

    fn own_line(&mut self, kind: Kind) -> io::Result<()> {
        self.line(&Event { time: self.signer.clock.now(), request_id: None, kind })
    }

    fn sign_if_due(&mut self) -> io::Result<()> {
        let due = self.unsigned >= CHECKPOINT_LINES || self.signed_at.elapsed() >= CHECKPOINT_TIME;
        if due { self.sign() } else { Ok(()) }
    }

    fn sign(&mut self) -> io::Result<()> {
        self.signed_at = Stopwatch::start();
        if self.unsigned == 0 {
            return Ok(());
        }
        let iat = self.signer.clock.now().as_secs();
        let signed = Signed { iss: self.signer.issuer.clone(), iat, head: self.chain.head() };
        let signature = self.signer.key.sign(CHECKPOINT, &signed).map_err(io::Error::other)?;
        self.own_line(Kind::Checkpoint(Checkpoint { signature }))?;
        self.unsigned = 0;
        Ok(())
    }
}
