//! What strangers' servers say, fetched and kept (RFC 9111, within bounds of our own).
//!
//! One fetch at a time for each URL, shared by all who wait. A document is believed as long as its server says, between
//! half a minute and a day; what failed is not tried again for a few seconds. Which failure it was, nobody outside learns.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use moka::sync::Cache;
use tokio::sync::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::outbound::guarded::{Fetched, Guarded};

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
    slots: Cache<String, Arc<Mutex<Option<Entry<T>>>>>,
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Entry<T> {
    outcome: Result<T, NotAvailable>,
    etag: Option<HeaderValue>,
    fetched: Timestamp,
    until: Timestamp,
}

impl<T: Clone + Send + Sync + 'static> Remote<T> {
    pub(super) fn new(guarded: Arc<Guarded>, clock: Arc<dyn Clock>) -> Self {
        let slots = Cache::builder().max_capacity(CAPACITY).time_to_idle(LONGEST).build();
        Self { guarded, clock, slots }
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
        if let Some(entry) = slot.as_ref().filter(|entry| now < entry.until && now.since(entry.fetched) <= age) {
            return entry.outcome.clone();
        }
        let entry = self.fetch(url, slot.take(), read).await;
        slot.insert(entry).outcome.clone()
    }

    async fn fetch(&self, url: &str, known: Option<Entry<T>>, read: &Read<T>) -> Entry<T> {
        let known = known.filter(|entry| entry.outcome.is_ok());
        let etag = known.as_ref().and_then(|entry| entry.etag.clone());
        let fetched = self.guarded.fetch(url, etag.as_ref()).await;
        let now = self.clock.now();
        let lives = |said: Option<Duration>| now.plus(said.unwrap_or(UNSAID).clamp(SHORTEST, LONGEST));
        let failed = || Entry { outcome: Err(NotAvailable), etag: None, fetched: now, until: now.plus(BACK_OFF) };
        match (fetched, known) {
            (Ok(Fetched::Document { body, etag, fresh_for }), _) => match self.read(url, &body, read) {
                Some(document) => Entry { outcome: Ok(document), etag, fetched: now, until: lives(fresh_for) },
                None => failed(),
            },
            (Ok(Fetched::Unchanged { fresh_for }), Some(known)) => {
                Entry { fetched: now, until: lives(fresh_for), ..known }
            }
            (Ok(Fetched::Unchanged { .. }), None) => failed(),
            (Err(error), _) => {
                tracing::warn!(url, %error, "a document of a client is not to be had");
                failed()
            }
        }
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn read(&self, url: &str, body: &Bytes, read: &Read<T>) -> Option<T> {
        read(body).inspect_err(|why| tracing::warn!(url, why, "a document of a client is not accepted")).ok()
    }
}
