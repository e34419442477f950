//! What survives a restart: registrations, logins under way, codes, grants, keys.
//!
//! The trait speaks of acts, not of rows, and each act is atomic: whatever two gateways or two racers do, a code is
//! redeemed once and a refresh token has one successor. Codes, refresh tokens and login ids are kept as SHA-256 only;
//! upstream tokens and signing keys are sealed. No request data ever decides here; it is compared with what was
//! stored.

mod embedded;
mod observed;
mod record;
mod redis;
mod revocation;
mod seal;

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

pub use embedded::SqliteStore;
pub use observed::Observed;
pub use record::{
    Client, ClientKeys, CodeRecord, Grant, Login, Presented, Refused, SpentCode, Successor, Waiting, Way,
};
pub use redis::{Kind as RedisKind, RedisStore, Settings as RedisSettings};
pub use revocation::{EVERYBODY, Revocation, Revocations, Whose};
pub use seal::{SealError, Sealer};

use crate::clock::Timestamp;

/// An answer that was lost on the way can be asked for again this long (OAuth 2.1 section 4.3.1); it is the same answer.
pub const GRACE: Duration = Duration::from_secs(10);
/// Logins under way; beyond that the oldest go, so that a flood cannot fill the store.
const MAX_LOGINS: i64 = 20_000;
/// Registrations that were never used; beyond that the oldest go. Used ones are not touched by a flood.
const MAX_UNUSED_CLIENTS: i64 = 10_000;
/// Registrations that were never used to sign in live this long.
const UNUSED_CLIENT: Duration = Duration::from_hours(24);
/// Registrations that nobody signed in through live this long after the last time.
const IDLE_CLIENT: Duration = Duration::from_hours(365 * 24);

/// The SHA-256 of a secret: what the store knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest256([u8; 32]);

impl Digest256 {
    /// The digest of a secret text.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// The digest of a text that no request can name: of what is of another kind than codes and tokens, or short enough to
    /// be guessed where it could be asked for.
    #[must_use]
    pub fn apart(kind: &str, text: &str) -> Self {
        // No parameter has this byte, for parameters are UTF-8.
        let digest = Sha256::new().chain_update([0xff]).chain_update(kind).chain_update([0xff]).chain_update(text);
        Self(digest.finalize().into())
    }

    /// The digest that was written down as base64url.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The store failed; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is not ours, damaged, of another version, or may lose what it is given.
    #[error("`{path}`: {what}")]
    Unusable {
        /// The file, or the servers.
        path: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// Another store is there now than the one that was opened: the gateway must not go on with it.
    #[error("`{path}`: {what}")]
    Replaced {
        /// The servers.
        path: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// The database did not do it.
    #[error("the store failed: {0}; see whether its disk is full")]
    Database(#[from] sqlx::Error),
    /// Redis did not do it.
    #[error("the store failed: {0}; see whether Redis is up, lets this user run scripts, and has room")]
    Redis(#[from] deadpool_redis::redis::RedisError),
    /// Nothing answered in time, or not enough did.
    #[error("the store failed: {0}; see whether it is up and can be reached")]
    Unreachable(String),
    /// A record cannot be read back.
    #[error("a stored record cannot be read: {0}")]
    Record(String),
    /// A sealed value cannot be opened, or a key file cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What became of presenting a code.
#[derive(Debug)]
pub enum Redemption {
    /// It was good, and is spent now.
    Spent(Box<SpentCode>),
    /// There is no such code, or its time is over.
    Unknown,
    /// It was spent before by the same client: the whole grant is revoked.
    Replayed,
    /// It is there, but not for what was presented; it stays.
    Refused(Refused),
}

/// What became of presenting a refresh token.
#[derive(Debug)]
pub enum Presentation {
    /// It is the current one of this grant.
    Current(Box<Grant>),
    /// It was used within [`GRACE`], and its successor was not used yet: the one asking may have lost the answer.
    Superseded {
        /// The grant as it is now.
        grant: Box<Grant>,
        /// The successor, sealed for the holder of the presented token.
        successor: String,
    },
    /// There is no such token, its time is over, or it is another client's.
    Unknown,
    /// It was used before: the whole grant is revoked.
    Reused,
}

/// What became of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The successor is the current token now.
    Done,
    /// Somebody else rotated first, or the grant is over: nothing was changed. Present the token again to learn which.
    Superseded,
}

/// What became of counting one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The store is one gateway's alone, which counts for itself (`limit`).
    Elsewhere,
    /// It may happen.
    Good,
    /// It is too often; so long until the next one is good. It was not counted.
    TooOften(Duration),
}

/// Keeps what survives a restart.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Keeps a registration.
    async fn register_client(&self, client: &Client) -> Result<(), StoreError>;
    /// Keeps what the metadata document of a client says now, in place of what it said before.
    async fn keep_client(&self, client: &Client) -> Result<(), StoreError>;
    /// A registration.
    async fn client(&self, id: &str) -> Result<Option<Client>, StoreError>;

    /// Keeps a login that waits for consent.
    async fn begin_login(&self, id: Digest256, login: &Login, expires: Timestamp) -> Result<(), StoreError>;
    /// A login that waits for consent, left as it is.
    async fn login(&self, id: Digest256, now: Timestamp) -> Result<Option<Login>, StoreError>;
    /// Ends a login and gives it out: once.
    async fn take_login(&self, id: Digest256, now: Timestamp) -> Result<Option<Login>, StoreError>;

    /// Keeps a grant and the one code for it.
    async fn issue_code(
        &self,
        code: Digest256,
        record: &CodeRecord,
        grant: &Grant,
        expires: Timestamp,
    ) -> Result<(), StoreError>;
    /// Spends a code, once, if what is presented with it is what it was issued for.
    async fn redeem_code(
        &self,
        code: Digest256,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Redemption, StoreError>;

    /// Gives a grant its first refresh token.
    async fn begin_refresh(&self, token: Digest256, grant_id: &str, expires: Timestamp) -> Result<(), StoreError>;
    /// Looks a refresh token up without spending it.
    async fn present_refresh_token(
        &self,
        token: Digest256,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Presentation, StoreError>;
    /// Replaces a refresh token by its successor, once, and the grant by what was learnt of it.
    async fn rotate_refresh_token(
        &self,
        token: Digest256,
        successor: &Successor,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Rotation, StoreError>;
    /// A grant as it is now; `None` when it is over.
    async fn grant(&self, grant_id: &str) -> Result<Option<Grant>, StoreError>;
    /// Ends the grants of whomever is named, with all their codes and refresh tokens, and has every node end their access
    /// tokens; gives the number of grants. Whoever signs in afterwards begins anew.
    async fn revoke(&self, whose: &Whose, now: Timestamp) -> Result<u64, StoreError>;
    /// Ends the grant of a refresh token, spent or not, if it is this client's; gives the grant.
    async fn revoke_refresh_token(
        &self,
        token: Digest256,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError>;
    /// Has every node end the access tokens of a grant that were issued before now; the grant goes on.
    async fn end_access_tokens(&self, grant_id: &str, now: Timestamp) -> Result<(), StoreError>;
    /// What was ended after the line of this number; 0 for all that is kept.
    async fn revocations(&self, after: u64) -> Result<Revocations, StoreError>;

    /// Spends the assertion of a client (RFC 7523 section 3, `jti`); false when it was spent before. It is remembered
    /// until it expires.
    async fn spend_assertion(&self, id: Digest256, expires: Timestamp) -> Result<bool, StoreError>;

    /// The sealed key of this name; `fresh` is kept and given back when there is none yet.
    async fn key(&self, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError>;
    /// A sealed key, if it is there; nothing is written.
    async fn known_key(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Puts a sealed key in place of the one that was seen; false when another is there by now.
    async fn replace_key(&self, name: &str, seen: &[u8], fresh: Vec<u8>) -> Result<bool, StoreError>;

    /// Takes something for a while that only one of a fleet does at a time; false while somebody else has it.
    async fn lease(&self, of: &str, holder: Digest256, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;
    /// Gives it back, if it is this holder's.
    async fn release(&self, of: &str, holder: Digest256) -> Result<(), StoreError>;
    /// Counts one of what may happen once in a period, and `burst` times at once, in all of a fleet (GCRA, ITU-T I.371). Like
    /// every count it may be lost.
    async fn count(&self, _of: Digest256, _period: Duration, _burst: u32) -> Result<Counted, StoreError> {
        Ok(Counted::Elsewhere)
    }

    /// Whether the store may be trusted still with what it is given: somebody may have set it otherwise since it was opened.
    async fn vouch(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Forgets what is over; gives the number of records.
    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError>;
}

#[cfg(test)]
pub(crate) use contract::{fresh_redis, key_file};

#[cfg(test)]
mod contract;
