//! Verified tokens by their SHA-256, for a minute at most and never past their end.
//!
//! The hash keeps bearers out of memory dumps. Age is read from our own clock beside the cache's, so that a token's
//! end and a minute's end are the same kind of fact.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::identity::Verified;
use crate::clock::Timestamp;

/// A withdrawn key works at most this long after a token of it was verified.
pub(super) const LONGEST: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Tokens {
    known: Cache<[u8; 32], Arc<Verified>>,
    keep: Duration,
}

pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Tokens {
    pub(super) fn new(capacity: u64, keep: Duration) -> Self {
        let keep = keep.min(LONGEST);
        Self { known: Cache::builder().max_capacity(capacity).time_to_live(keep).build(), keep }
    }

    pub(super) fn get(&self, hash: &[u8; 32], now: Timestamp) -> Option<Arc<Verified>> {
        self.known.get(hash).filter(|known| self.is_fresh(known, now))
    }

    /// A token within the tolerance after its end is not kept: the next request has it judged again.
    pub(super) fn insert(&self, hash: [u8; 32], verified: &Arc<Verified>) {
        if self.is_fresh(verified, verified.since) {
            self.known.insert(hash, Arc::clone(verified));
        }
    }

    pub(super) fn purge(&self) {
        self.known.invalidate_all();
    }

    fn is_fresh(&self, known: &Verified, now: Timestamp) -> bool {
        // A clock that was set back makes a token neither younger nor older: it is judged again.
        let kept = now >= known.since && now.since(known.since) < self.keep;
        kept && known.identity.expires_at() > now
    }
}
