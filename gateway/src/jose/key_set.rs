//! The key set of one issuer (RFC 7517), fetched and kept.
//!
//! A known key is looked up without waiting. An unknown one causes at most one fetch, shared by all who wait, and then
//! none for a while, however many unknown names arrive. A failed fetch keeps the last good set for a day; a
//! successful one ends the keys that are gone. Without a set nothing verifies.

mod fetch;
mod parse;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use jsonwebtoken::DecodingKey;

pub use fetch::{EntraKeys, FetchError};
pub use parse::{KeySetError, parse};

use crate::clock::{Clock, Timestamp};

/// Between two fetches for unknown names.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// How long the last good set is used while fetches fail.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// Between two fetches in the background.
const REFRESH: Duration = Duration::from_secs(3600);
/// After a failed one.
const RETRY: Duration = Duration::from_secs(15);

/// Keys by name.
pub type Keys = HashMap<String, DecodingKey>;

/// Where a key set comes from.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// Fetches the whole set.
    async fn fetch(&self) -> Result<Keys, FetchError>;
}

/// What became of a look-up.
#[derive(Clone)]
pub enum Lookup {
    /// The key.
    Found(DecodingKey),
    /// The issuer has no such key.
    Unknown,
    /// There is no usable set.
    Unavailable,
}

/// The key set of one issuer.
#[derive(Debug)]
pub struct KeySet {
    source: Box<dyn KeySource>,
    clock: Arc<dyn Clock>,
    current: ArcSwapOption<Fetched>,
    last_attempt: AtomicU64,
    fetching: tokio::sync::Mutex<()>,
}

struct Fetched {
    keys: Keys,
    at: Timestamp,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys of {}", self.keys.len(), self.at)
    }
}

impl KeySet {
    /// An empty set over a source; nothing verifies before the first fetch.
    #[must_use]
    pub fn new(source: Box<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            current: ArcSwapOption::empty(),
            last_attempt: AtomicU64::new(0),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The key of this name; an unknown one may wait for one fetch.
    pub async fn find(&self, kid: &str) -> Lookup {
        if let Lookup::Found(key) = self.known(kid) {
            return Lookup::Found(key);
        }
        if self.may_fetch() {
            let _turn = self.fetching.lock().await;
            // Whoever waited finds the attempt already made.
            if self.may_fetch() {
                self.refresh().await;
            }
        }
        self.known(kid)
    }

    /// How old the set is; `None` without one.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.current.load().as_ref().map(|fetched| self.clock.now().since(fetched.at))
    }

    /// Whether there is a set that may be used.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.age().is_some_and(|age| age <= MAX_STALE)
    }

    /// Fetches now.
    pub async fn refresh(&self) -> bool {
        let fetched = self.source.fetch().await;
        // Noted at the end, so that whoever comes during a fetch waits for it.
        self.last_attempt.store(self.clock.now().as_secs(), Ordering::Relaxed);
        match fetched {
            Ok(keys) => {
                self.current.store(Some(Arc::new(Fetched { keys, at: self.clock.now() })));
                true
            }
            Err(error) => {
                let kept = if self.is_ready() { "the last good keys stay in use" } else { "no token can be verified" };
                tracing::error!(%error, "the identity provider's keys cannot be fetched; {kept}");
                false
            }
        }
    }

    /// Keeps the set fresh until the task is dropped.
    pub async fn refresh_forever(&self) {
        loop {
            let fetched = {
                let _turn = self.fetching.lock().await;
                self.refresh().await
            };
            tokio::time::sleep(if fetched { REFRESH } else { RETRY }).await;
        }
    }

    fn known(&self, kid: &str) -> Lookup {
        let current = self.current.load();
        let Some(fetched) = current.as_ref() else { return Lookup::Unavailable };
        if self.clock.now().since(fetched.at) > MAX_STALE {
            return Lookup::Unavailable;
        }
        fetched.keys.get(kid).map_or(Lookup::Unknown, |key| Lookup::Found(key.clone()))
    }

    fn may_fetch(&self) -> bool {
        let last = Timestamp::from_secs(self.last_attempt.load(Ordering::Relaxed));
        last.as_secs() == 0 || self.clock.now().since(last) >= COOL_DOWN
    }
}

#[cfg(test)]
mod tests;
