//! What strangers' servers say, fetched and kept (RFC 9111, within bounds of our own).
//!
//! One fetch at a time for each URL, shared by all who wait. A document is believed as long as its server says, between
//! half a minute and a day. What failed is not tried again for a few seconds; a document that was good goes on for its day
//! when its server is out (RFC 5861), and ends when its server says that it is gone, or another that is none. Which
//! failure it was, nobody outside learns.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use moka::sync::Cache;
use prometheus::IntCounterVec;
use tokio::sync::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::outbound::guarded::{Fetched, Guarded, GuardedError};

/// However short-lived a document says it is: a page that is loaded twice is no reason to ask twice.
const SHORTEST: Duration = Duration::from_secs(30);
/// However long-lived: what was withdrawn is gone after a day.
const LONGEST: Duration = Duration::from_hours(24);
/// Where its server says nothing.
const UNSAID: Duration = Duration::from_hours(1);
/// After a failure.
const BACK_OFF: Duration = Duration::from_secs(10);
/// URLs that are remembered, good and bad; beyond that the least used go.
const CAPACITY: u64 = 2000;

/// It cannot be had, for whatever reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAvailable;

/// Reads a document, or says what is wrong with it.
pub(super) type Read<T> = dyn Fn(&[u8]) -> Result<T, &'static str> + Send + Sync;

/// Documents of one kind, by URL.
pub(super) struct Remote<T> {
    guarded: Arc<Guarded>,
    clock: Arc<dyn Clock>,
    /// What the documents are, and where it is counted what came of asking for them.
    counted: Option<(&'static str, IntCounterVec)>,
    slots: Cache<String, Arc<Mutex<Option<Entry<T>>>>>,
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// What came of asking for one URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<T> {
    known: Option<Known<T>>,
    /// When its server was asked last.
    asked: Timestamp,
    /// Until when it is not asked again.
    until: Timestamp,
}

/// A good document.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known<T> {
    document: T,
    etag: Option<HeaderValue>,
    /// When its server last said that it is so.
    confirmed: Timestamp,
}

impl<T: Clone + Send + Sync + 'static> Remote<T> {
    pub(super) fn new(guarded: Arc<Guarded>, clock: Arc<dyn Clock>) -> Self {
        let slots = Cache::builder().max_capacity(CAPACITY).time_to_idle(LONGEST).build();
        Self { guarded, clock, counted: None, slots }
    }

    /// Counts what comes of asking, under this name for the kind of documents.
    pub(super) fn counting(&mut self, kind: &'static str, series: IntCounterVec) {
        self.counted = Some((kind, series));
    }

    /// `outcome` is of a closed set.
    fn count(&self, outcome: &'static str) {
        if let Some((kind, series)) = &self.counted {
            series.with_label_values(&[*kind, outcome]).inc();
        }
    }

    /// The document at this URL.
    pub(super) async fn get(&self, url: &str, read: &Read<T>) -> Result<T, NotAvailable> {
        self.get_since(url, LONGEST, read).await
    }

    /// The document at this URL, no older than `age` where its server can be asked again by now.
    pub(super) async fn get_since(&self, url: &str, age: Duration, read: &Read<T>) -> Result<T, NotAvailable> {
        let slot = self.slots.get_with_by_ref(url, Default::default);
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        if let Some(entry) = slot.as_ref().filter(|entry| now < entry.until && now.since(entry.asked) <= age) {
            let document = entry.document();
            self.count(if document.is_ok() { "cached" } else { "not_tried" });
            return document;
        }
        // What is there stays there while its server is asked: whoever asked may go away.
        let known = slot.as_ref().and_then(|entry| entry.known.clone());
        let etag = known.as_ref().and_then(|known| known.etag.clone());
        let fetched = self.guarded.fetch(url, etag.as_ref()).await;
        match &fetched {
            Err(error) => {
                self.count(error.as_str());
                tracing::warn!(url, %error, "a document of a client is not to be had");
            }
            Ok(Fetched::Unchanged { .. }) => self.count("unchanged"),
            // It is counted by whether it can be read.
            Ok(Fetched::Document { .. }) => {}
        }
        let read = |body: &[u8]| {
            let read = read(body);
            self.count(if read.is_ok() { "fetched" } else { "rejected" });
            read.inspect_err(|why| tracing::warn!(url, why, "a document of a client is not accepted")).ok()
        };
        match Entry::after(known, fetched, &read, self.clock.now()) {
            Ok(entry) => slot.insert(entry).document(),
            Err(unchanged) => unchanged.map(|known| known.document).ok_or(NotAvailable),
        }
    }
}

impl<T: Clone> Entry<T> {
    /// What is known after an answer; `Err` with what was known when nobody was asked, which is nothing to remember.
    fn after(
        known: Option<Known<T>>,
        fetched: Result<Fetched, GuardedError>,
        read: &dyn Fn(&[u8]) -> Option<T>,
        now: Timestamp,
    ) -> Result<Self, Option<Known<T>>> {
        let known = known.filter(|known| now.since(known.confirmed) <= LONGEST);
        let good = |document: T, etag, fresh_for: Option<Duration>| Self {
            known: Some(Known { document, etag, confirmed: now }),
            asked: now,
            until: now.plus(fresh_for.unwrap_or(UNSAID).clamp(SHORTEST, LONGEST)),
        };
        let failed = |known| Self { known, asked: now, until: now.plus(BACK_OFF) };
        Ok(match (fetched, known) {
            (Ok(Fetched::Document { body, etag, fresh_for }), _) => match read(&body) {
                Some(document) => good(document, etag, fresh_for),
                None => failed(None),
            },
            (Ok(Fetched::Unchanged { fresh_for }), Some(known)) => good(known.document, known.etag, fresh_for),
            (Err(GuardedError::Busy), known) => return Err(known),
            // Its server is out, or has too much to do.
            (
                Err(
                    GuardedError::Status(408 | 429 | 500..)
                    | GuardedError::Unreachable(_)
                    | GuardedError::Slow
                    | GuardedError::Body(_),
                ),
                known,
            ) => failed(known),
            // It works, and says something else now; or that nothing changed, where there was nothing.
            (Err(GuardedError::Status(_) | GuardedError::NotJson), _) | (Ok(Fetched::Unchanged { .. }), None) => {
                failed(None)
            }
        })
    }

    fn document(&self) -> Result<T, NotAvailable> {
        self.known.as_ref().map(|known| known.document.clone()).ok_or(NotAvailable)
    }
}

#[cfg(test)]
mod tests;
