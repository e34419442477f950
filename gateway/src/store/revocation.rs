//! What ends before its time: whose tokens, and how the nodes of a fleet learn of it.
//!
//! Every end is a line of a log that only grows, numbered in the order in which it became visible. A line is kept for as
//! long as what it ends could live: a token, or a consent that a browser remembers.

use std::time::Duration;

use super::Grant;
use crate::clock::Timestamp;
use crate::subject;

/// No access token lives longer (`jose::access_token::MAX_LIFETIME`), give or take two clocks that differ.
const KEPT: Duration = Duration::from_mins(65);

/// What an operator ends is not agreed to either any more; no consent is remembered for longer (`oauth.remember_consent`).
const KEPT_FOR_CONSENTS: Duration = Duration::from_hours(90 * 24 + 1);

/// The name of everybody in the log.
pub const EVERYBODY: &str = "everybody:*";

/// Whose tokens end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of one grant.
    Grant(String),
    /// Those of one person.
    User {
        /// The directory.
        tid: String,
        /// The object in it.
        oid: String,
    },
    /// Those that one client holds.
    Client(String),
    /// Those of everybody of one directory.
    Tenant(String),
    /// All.
    Everybody,
}

impl Whose {
    /// Its name in the log: what a token is compared with.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Grant(id) => format!("grant:{id}"),
            Self::User { tid, oid } => format!("user:{}", subject::name(tid, oid)),
            Self::Client(id) => format!("client:{id}"),
            Self::Tenant(tid) => format!("tenant:{tid}"),
            Self::Everybody => EVERYBODY.to_owned(),
        }
    }

    /// Whether a grant is among them.
    #[must_use]
    pub fn covers(&self, grant: &Grant) -> bool {
        match self {
            Self::Grant(id) => *id == grant.id,
            Self::User { tid, oid } => *tid == grant.tid && *oid == grant.oid,
            Self::Client(id) => *id == grant.client_id,
            Self::Tenant(tid) => *tid == grant.tid,
            Self::Everybody => true,
        }
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its number; later ones are greater.
    pub sequence: u64,
    /// [`Whose::key`].
    pub key: String,
    /// Tokens issued before this second are over.
    pub issued_before: Timestamp,
    /// When the line can be forgotten, because everything that it ends has ended.
    pub kept_until: Timestamp,
}

/// What there is to learn from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// The greatest number that was ever given. Smaller than one that was seen: the store is another, or older.
    pub newest: u64,
    /// The lines that were asked for, in order.
    pub lines: Vec<Revocation>,
}

/// When a line of now can be forgotten.
pub(super) fn kept_until(whose: &Whose, now: Timestamp) -> Timestamp {
    match whose {
        Whose::Grant(_) => now.plus(KEPT),
        Whose::User { .. } | Whose::Client(_) | Whose::Tenant(_) | Whose::Everybody => now.plus(KEPT_FOR_CONSENTS),
    }
}

/// What `now` ends for others than a single grant: everything issued until now, this second included.
pub(super) fn issued_before(whose: &Whose, now: Timestamp) -> Timestamp {
    match whose {
        // A grant that is over never comes back.
        Whose::Grant(_) => kept_until(whose, now),
        Whose::User { .. } | Whose::Client(_) | Whose::Tenant(_) | Whose::Everybody => now.plus(Duration::from_secs(1)),
    }
}
