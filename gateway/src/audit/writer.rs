//! The writer's thread: takes events off the queue, links them into the chain, signs now and then, gives the lines to
//! every sink, and answers those who wait until their line is there.
//!
//! A sink that fails gets the same lines again until it takes them, and meanwhile nothing else is taken off the
//! queue: it fills, and requests are refused. Nothing is lost by that. Where the operator would rather go on without
//! a trail ([`OnFailure::Continue`]), lines that a sink did not take are dropped and counted, and the first line that it
//! takes again says how many, so that every place tells of its own holes.
//!
//! The first line of a run is signed at once, so that a run without a signature is nobody's. What was signed is in the
//! log, too: that a trail was cut off behind a signature shows only where somebody has noted a later one elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::chain::{CHECKPOINT, Chain, Head, Signed};
use super::digest::Digester;
use super::event::{Checkpoint, Gap, Started};
use super::place::{Missed, Place, RETRY};
use super::sink::{Destination, Entry};
use super::{Event, Kind, OnFailure, Options, Shared};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::jose::signing_key::SigningKey;
use crate::metrics::Metrics;

/// How long the first line of a batch waits for others.
const BATCH: Duration = Duration::from_millis(2);
/// Lines that are given to the sinks at once, and about how many bytes of them: they are in memory until each sink has
/// taken them.
const BATCH_LINES: usize = 4096;
const BATCH_BYTES: usize = 8 << 20;
/// At the end of the process, sinks that fail are tried again for so long.
const LAST_TRIES: Duration = Duration::from_secs(5);
/// A checkpoint comes after so many lines, or so much time, whichever is first.
const CHECKPOINT_LINES: u64 = 10_000;
const CHECKPOINT_TIME: Duration = Duration::from_secs(60);

/// An event, and who waits for it to be durable.
pub(super) struct Item {
    /// Nothing: the trail ends here.
    pub(super) event: Option<Event>,
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
    sinks: Vec<Place>,
    instance: String,
    chain: Chain,
    signer: Signer,
    digester: Digester,
    durable: bool,
    on_failure: OnFailure,
    metrics: Option<Arc<Metrics>>,
    shared: Arc<Shared>,
    unsigned: u64,
    signed_at: Stopwatch,
    /// What was signed and is not in every place yet.
    signed: Option<Head>,
    /// When the last line of the run before was written.
    before: Option<Timestamp>,
}

impl Writer {
    /// Opens every sink and writes the first line to each.
    pub(super) fn start(
        destinations: &[Destination],
        signer: Signer,
        options: Options,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let named =
            |label: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{label}: {error}"));
        let mut sinks = Vec::new();
        let (mut after, mut before) = (BTreeMap::new(), None);
        for destination in destinations {
            let label = destination.label();
            let mut sink = destination.open().map_err(named(label))?;
            if let Some(last) = sink.last().map_err(named(label))? {
                before = before.max(last.time());
                after.insert(label, last.head);
            }
            if let Some(metrics) = &options.metrics {
                metrics.trail.has(label);
            }
            sinks.push(Place::new(label, sink));
        }
        let instance = format!("{:016x}", rand::random::<u64>());
        let mut writer = Self {
            sinks,
            chain: Chain::new(instance.clone()),
            instance,
            signer,
            digester: options.digester,
            durable: options.durable,
            on_failure: options.on_failure,
            metrics: options.metrics,
            shared,
            unsigned: 0,
            signed_at: Stopwatch::start(),
            signed: None,
            before,
        };
        let mut entries = vec![writer.own_entry(Kind::Started(Started { version: env!("CARGO_PKG_VERSION"), after }))?];
        writer.sign(&mut entries);
        for open in &mut writer.sinks {
            open.sink.write(&writer.instance, &entries, writer.durable).map_err(named(open.label))?;
        }
        writer.tell_signed();
        Ok(writer)
    }

    /// When the last line of the run before was written, where there is one.
    pub(super) fn before(&self) -> Option<Timestamp> {
        self.before
    }

    /// Writes until every sender is gone, or the end is asked for. A burst is written in one go.
    pub(super) fn run(mut self, items: &Receiver<Item>) {
        loop {
            match items.recv_timeout(CHECKPOINT_TIME) {
                Ok(first) => {
                    if self.batch(first, items) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let mut entries = Vec::new();
                    let told = self.note_gaps(&mut entries);
                    self.note_refusals(&mut entries, false);
                    self.sign_if_due(&mut entries);
                    self.deliver(&entries, told);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let mut entries = Vec::new();
                    let told = self.note_gaps(&mut entries);
                    self.note_refusals(&mut entries, true);
                    self.sign(&mut entries);
                    self.durable = true;
                    self.deliver(&entries, told);
                    return;
                }
            }
        }
    }

    /// Writes what there is; whether the end was asked for.
    fn batch(&mut self, first: Item, items: &Receiver<Item>) -> bool {
        let (mut entries, mut waiting) = (Vec::new(), Vec::new());
        let told = self.note_gaps(&mut entries);
        self.note_refusals(&mut entries, false);
        let mut ended = self.item(first, &mut entries, &mut waiting);
        if !self.durable && !ended {
            // Waking and flushing for every line would cost a call more than deciding it. Where the disk is waited
            // for, the wait itself makes the batch.
            std::thread::sleep(BATCH);
        }
        let mut bytes = 0;
        while !ended
            && entries.len() < BATCH_LINES
            && bytes < BATCH_BYTES
            && let Ok(item) = items.try_recv()
        {
            ended = self.item(item, &mut entries, &mut waiting);
            bytes += entries.last().map_or(0, |entry| entry.json.len());
        }
        if ended {
            self.note_refusals(&mut entries, true);
            entries.extend(self.own_entry(Kind::Stopped).ok());
            self.sign(&mut entries);
            self.durable = true;
        } else {
            self.sign_if_due(&mut entries);
        }
        if self.deliver(&entries, told) {
            for written in waiting {
                // Who went away does not wait any more.
                let _ = written.send(());
            }
        }
        ended
    }

    /// Makes a line of an event; whether it is none, but the end.
    fn item(&mut self, item: Item, entries: &mut Vec<Entry>, waiting: &mut Vec<oneshot::Sender<()>>) -> bool {
        waiting.extend(item.written);
        let Some(event) = item.event else { return true };
        let held = event.held();
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        match self.entry(event) {
            Ok(entry) => entries.push(entry),
            // INVARIANT: what cannot be written is not confirmed: whoever waits for it is refused.
            Err(error) => tracing::error!(%error, "an audit event cannot be written as JSON; report this"),
        }
        // What the caller sent is gone by now.
        self.shared.held.fetch_sub(held, Ordering::Relaxed);
        false
    }

    fn entry(&mut self, mut event: Event) -> io::Result<Entry> {
        self.digester.apply(&mut event);
        let mut json = serde_json::to_vec(&event)?;
        self.chain.link(&mut json);
        self.unsigned += 1;
        Ok(Entry {
            number: self.chain.number(),
            time: event.time,
            kind: event.kind.name(),
            request_id: event.request_id.map(|id| id.to_string()),
            trace: event.trace_id,
            json: String::from_utf8(json).map_err(io::Error::other)?,
        })
    }

    fn own_entry(&mut self, kind: Kind) -> io::Result<Entry> {
        self.entry(Event { time: self.signer.clock.moment(), request_id: None, trace_id: None, kind })
    }

    /// Gives lines to every sink; whether all have taken them. `told` events are said there to be lost by the queue.
    fn deliver(&mut self, entries: &[Entry], told: u64) -> bool {
        if entries.is_empty() {
            return true;
        }
        self.in_hand(Some(Stopwatch::start()));
        let taken = self.try_all(entries, told);
        self.in_hand(None);
        self.shared.refused.store(false, Ordering::Relaxed);
        taken
    }

    fn in_hand(&self, since: Option<Stopwatch>) {
        *self.shared.in_hand.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Gives lines to every sink until all have taken them, or it is over.
    fn try_all(&mut self, entries: &[Entry], told: u64) -> bool {
        let mut open: Vec<usize> = (0..self.sinks.len()).collect();
        let mut ending: Option<Stopwatch> = None;
        loop {
            open.retain(|at| !self.give(*at, entries));
            if open.is_empty() {
                self.tell_signed();
                return true;
            }
            let ended = ending.is_some_and(|since| since.elapsed() >= LAST_TRIES);
            if ended || self.on_failure == OnFailure::Continue {
                self.signed = None;
                for at in open {
                    self.lose(at, entries.len() as u64, told);
                }
                return self.on_failure == OnFailure::Continue;
            }
            if self.shared.stopping.load(Ordering::Acquire) {
                ending.get_or_insert_with(Stopwatch::start);
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Gives lines to one sink; whether it has taken them.
    fn give(&mut self, at: usize, entries: &[Entry]) -> bool {
        let Some(open) = self.sinks.get_mut(at) else { return true };
        if !open.is_tried {
            return false;
        }
        let result = open.sink.write(&self.instance, entries, self.durable);
        let outcome = if result.is_ok() { "written" } else { "failed" };
        if let Some(metrics) = &self.metrics {
            metrics.trail.given(open.label, outcome, entries.len() as u64);
        }
        let mut faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(()) => faults.remove(open.label),
            Err(error) => faults.insert(open.label, error.to_string()),
        };
        drop(faults);
        match result {
            Ok(()) if open.failing => tracing::info!(sink = open.label, "the audit trail is written again"),
            Err(error) if !open.failing => {
                let what = match self.on_failure {
                    OnFailure::Deny => "requests are refused when the queue is full",
                    OnFailure::Continue => "events are lost, and requests go on, as `audit.on_failure` says",
                };
                tracing::error!(sink = open.label, %error, "the audit trail cannot be written; {what}");
            }
            _ => {}
        }
        open.tried(outcome == "written", self.on_failure);
        outcome == "written"
    }

    fn lose(&mut self, at: usize, lines: u64, told: u64) {
        let Some(open) = self.sinks.get_mut(at) else { return };
        open.missed(lines, told);
        let label = open.label;
        self.count(label, "lost", lines);
        tracing::error!(sink = label, lines, "audit lines are lost");
    }

    fn count(&self, sink: &'static str, outcome: &'static str, lines: u64) {
        if let Some(metrics) = &self.metrics {
            metrics.trail.given(sink, outcome, lines);
        }
    }

    /// Lines about what was lost: by each sink that is tried again, so that they are the first behind its hole, and by
    /// the queue, which is returned. A sink that does not take them misses them, too, and is told of all of it next time.
    fn note_gaps(&mut self, entries: &mut Vec<Entry>) -> u64 {
        let is_ending = self.shared.stopping.load(Ordering::Acquire);
        let mut missed = Vec::new();
        for open in &mut self.sinks {
            missed.extend(open.is_next(is_ending));
        }
        let overflowed = self.shared.overflowed.swap(0, Ordering::Relaxed);
        if overflowed > 0 {
            self.count("queue", "lost", overflowed);
            missed.push(Missed { label: "queue", lost: overflowed, unheard: 0 });
        }
        for Missed { label, lost, unheard } in missed {
            let gap = Gap { sink: label, lost, queue: unheard, behind: self.chain.head().hash };
            entries.extend(self.own_entry(Kind::Gap(gap)).ok());
        }
        overflowed
    }

    /// Lines about refusals that were counted, of a minute that is over or of all where the trail ends.
    fn note_refusals(&mut self, entries: &mut Vec<Entry>, ends: bool) {
        for refusals in self.shared.tally.take(self.signer.clock.moment(), ends) {
            entries.extend(self.own_entry(Kind::Refusals(Box::new(refusals))).ok());
        }
    }

    fn sign_if_due(&mut self, entries: &mut Vec<Entry>) {
        if self.unsigned >= CHECKPOINT_LINES || self.signed_at.elapsed() >= CHECKPOINT_TIME {
            self.sign(entries);
        }
    }

    fn sign(&mut self, entries: &mut Vec<Entry>) {
        self.signed_at = Stopwatch::start();
        if self.unsigned == 0 {
            return;
        }
        let iat = self.signer.clock.now().as_secs();
        let signed = Signed { iss: self.signer.issuer.clone(), iat, head: self.chain.head() };
        match self.signer.key.sign(CHECKPOINT, &signed) {
            Ok(signature) => {
                entries.extend(self.own_entry(Kind::Checkpoint(Checkpoint { signature })).ok());
                self.unsigned = 0;
                self.signed = Some(signed.head);
            }
            Err(error) => tracing::error!(%error, "the audit trail cannot be signed"),
        }
    }

    /// Notes in the log what was signed, once it is written: `audit verify --head` holds a trail against it.
    fn tell_signed(&mut self) {
        if let Some(head) = self.signed.take() {
            tracing::info!(%head, "the audit trail is signed");
        }
    }
}
