//! How a stream ends before its time: in order, so that the client sees an end and no fault, and told what to do.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Door;
use super::lifecycle::Stage;
use super::mount::Mount;
use super::reader::Reader;
use crate::authn::{Standing, VerifiedIdentity};
use crate::mcp::{Method, RequestId, error_body, sse};

/// Outside the ranges that JSON-RPC and MCP keep for themselves (MCP 2026-07-28, basic/index section Error Codes).
const TOKEN_EXPIRED: i64 = -31401;
const TOKEN_REVOKED: i64 = -31402;
const FORBIDDEN: i64 = -31403;
const UNAVAILABLE: i64 = -31503;

/// What ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The caller's token has expired.
    Token,
    /// The caller's token was revoked, or the person lost roles that it carries.
    Revoked,
    /// For longer than the bound nobody could know what was revoked.
    Unknown,
    /// The gateway goes, or serves the backend by other rules from now on.
    News,
    /// The gateway goes, and an answer is still waited for.
    Unanswered,
    /// What was asked for is not open to the caller any more.
    Closed,
}

impl End {
    /// What has ended the caller's rights by now: their token was good when the request began, which may be a while ago.
    pub(super) fn of_rights(door: &Door, identity: &VerifiedIdentity) -> Option<Self> {
        if door.authenticator.has_expired(identity) {
            return Some(Self::Token);
        }
        match door.authenticator.standing(identity) {
            Standing::Good => None,
            Standing::Ended => Some(Self::Revoked),
            Standing::Unknown => Some(Self::Unknown),
        }
    }

    /// What forbids to pass on an answer that is there at last: the token was revoked meanwhile. One that has expired
    /// since was good for the call, and so were the rules that it was decided by.
    pub(super) fn of_answer(door: &Door, identity: &VerifiedIdentity) -> Option<Self> {
        match door.authenticator.standing(identity) {
            Standing::Good => None,
            Standing::Ended => Some(Self::Revoked),
            Standing::Unknown => Some(Self::Unknown),
        }
    }

    /// When the caller's token expires; whoever brought none has none that does.
    pub(super) fn expiry(door: &Door, identity: &VerifiedIdentity) -> Option<Instant> {
        let good_for = identity.expires_at().since(door.clock.now());
        Instant::now().checked_add(good_for.max(Duration::from_secs(1)))
    }

    /// Waits for whatever ends this stream first; an answer to a call is waited for as long as there is time.
    pub(super) async fn of(door: &Door, mount: &Mount, reader: &Reader<'_>, expires: Option<Instant>) -> Self {
        let news = reader.id.is_none() || reader.method == Some(Method::SubscriptionsListen);
        tokio::select! {
            () = at(expires) => Self::Token,
            standing = door.authenticator.until_over(reader.identity) => match standing {
                Standing::Unknown => Self::Unknown,
                Standing::Ended | Standing::Good => Self::Revoked,
            },
            () = door.news_is_over(&mount.name), if news => Self::News,
            () = door.lifecycle.reached(Stage::LastCall) => Self::Unanswered,
        }
    }

    /// As that, and what a reload closes ends too: a stream may be open for longer than anybody meant its answer to be.
    pub(super) async fn of_stream(door: &Door, mount: &Mount, reader: &Reader<'_>, expires: Option<Instant>) -> Self {
        tokio::select! {
            biased;
            end = Self::of(door, mount, reader, expires) => end,
            () = reader.closed() => Self::Closed,
        }
    }

    /// Whether nothing more may pass, be it half of an event: the caller has no right to it any more.
    pub(super) fn is_of_rights(self) -> bool {
        match self {
            Self::Token | Self::Revoked | Self::Unknown | Self::Closed => true,
            Self::News | Self::Unanswered => false,
        }
    }

    /// Its label in the audit trail.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Token => "token_expired",
            Self::Revoked => "token_revoked",
            Self::Unknown => "revocations_unknown",
            Self::News | Self::Unanswered => "closing",
            Self::Closed => "closed",
        }
    }

    /// The answer to a request that it put an end to, as JSON-RPC.
    pub(super) fn error(self, id: Option<&RequestId>) -> Bytes {
        let (code, text) = match self {
            Self::Token => (TOKEN_EXPIRED, "The access token has expired; refresh it and ask again"),
            Self::Revoked => (TOKEN_REVOKED, "The access token was revoked; refresh it, or authorize again"),
            Self::Unknown => (UNAVAILABLE, "It is not known at the moment which tokens were revoked; ask again later"),
            Self::News => (UNAVAILABLE, "The gateway is restarting, or its rules have changed; ask again"),
            Self::Unanswered => {
                (UNAVAILABLE, "The gateway is restarting; it is not known whether the request was carried out")
            }
            Self::Closed => (FORBIDDEN, "What was asked for is not open to this account any more"),
        };
        error_body(id, code, text, None)
    }

    /// What the client is told last: whoever waits for an answer gets one; a stream of news says when to come again
    /// (Server-Sent Events, the `retry` field).
    pub(super) fn last_event(self, reader: &Reader<'_>) -> Option<Bytes> {
        match (&reader.id, self) {
            (Some(id), _) => Some(sse::message(&self.error(Some(id)))),
            (None, Self::Token | Self::Revoked | Self::Unknown | Self::Closed) => None,
            (None, _) => {
                let retry = RETRY.as_millis();
                Some(format!(": the stream has ended; connect again\nretry: {retry}\n\n").into())
            }
        }
    }
}

/// Waits until then, or for ever.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// When a client is to connect again: at once, as far as everybody's doing so at once allows.
const RETRY: Duration = Duration::from_secs(1);
