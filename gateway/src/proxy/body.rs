//! The body of a request: read whole within a limit and a deadline, or thrown away within bounds.
//!
//! Throwing away serves the answer: a connection that is closed while its client still sends is reset, and the reset
//! overtakes the answer (RFC 9112 section 9.6). Decoding is Pingora's; what a body says is nobody's affair here.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Version, header};
use pingora_core::protocols::http::ServerSession;

use super::budget::{Room, SMALL_BODY, Spent};

/// What is thrown away after an answer, at most.
const LINGER_BYTES: usize = 16 << 20;
const LINGER: Duration = Duration::from_millis(500);
/// What is thrown away byte by byte, when the framing is broken and Pingora reads no further.
const LINGER_BROKEN: usize = 256 << 10;
/// More than this is not set aside before it has arrived.
const FIRST_ALLOCATION: usize = 64 << 10;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than the limit.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// It did not come in time.
    #[error("the body did not come in time")]
    TooSlow,
    /// The process has no room for it at the moment.
    #[error("the bodies that are being read have taken all the room; see `limits.request_bytes`")]
    NoRoom,
    /// Its sender has taken as much of the room as one may.
    #[error(
        "the bodies of one caller or address have taken its share of the room; see `limits.request_bytes_per_caller`"
    )]
    OverShare,
    /// Its framing is broken, or its length is another than was declared.
    #[error("the body is malformed")]
    Broken,
    /// The client went away in the middle of it.
    #[error("the body is broken off")]
    Ended,
}

impl From<Spent> for BodyFault {
    fn from(spent: Spent) -> Self {
        match spent {
            Spent::Everybodys => Self::NoRoom,
            Spent::Their => Self::OverShare,
        }
    }
}

/// Reads the whole body within `deadline`. Room is taken as it comes, since who only declares a body sends nothing; for
/// all of a declared length once more has come than a small body has, so that who is let in can finish.
pub(super) async fn read(
    session: &mut ServerSession,
    limit: usize,
    deadline: Duration,
    room: &mut Room,
) -> Result<Bytes, BodyFault> {
    if session.is_body_empty() {
        return Ok(Bytes::new());
    }
    let length = length(session);
    if length.is_some_and(|length| length > limit) {
        return Err(BodyFault::TooLarge);
    }
    let whole = async {
        if awaits_continue(session) && !session.is_http2() {
            session.write_continue_response().await.map_err(|_gone| BodyFault::Ended)?;
        }
        collect(session, length, limit, room).await
    };
    tokio::time::timeout(deadline, whole).await.unwrap_or(Err(BodyFault::TooSlow))
}

async fn collect(
    session: &mut ServerSession,
    length: Option<usize>,
    limit: usize,
    room: &mut Room,
) -> Result<Bytes, BodyFault> {
    // One piece, which is what most bodies are, is not copied.
    let (mut only, mut all) = (None::<Bytes>, BytesMut::new());
    let mut total = 0;
    while let Some(piece) = session.read_request_body().await.map_err(|error| broken(&error))? {
        total += piece.len();
        if total > limit {
            return Err(BodyFault::TooLarge);
        }
        let wanted = if total > SMALL_BODY { total.max(length.unwrap_or_default()) } else { total };
        room.resize(wanted)?;
        match (only.take(), all.is_empty()) {
            (None, true) => only = Some(piece),
            (first, _) => {
                all.reserve(length.unwrap_or_default().min(FIRST_ALLOCATION).saturating_sub(all.len()));
                all.extend_from_slice(&first.unwrap_or_default());
                all.extend_from_slice(&piece);
            }
        }
        if length.is_some_and(|length| total >= length) && session.is_body_done() {
            break;
        }
    }
    if length.is_some_and(|length| length != total) {
        return Err(BodyFault::Broken);
    }
    Ok(only.unwrap_or_else(|| all.freeze()))
}

fn broken(error: &pingora_core::Error) -> BodyFault {
    tracing::debug!(%error, "a request body cannot be read");
    match error.etype() {
        pingora_core::ErrorType::ReadTimedout => BodyFault::TooSlow,
        pingora_core::ErrorType::ConnectionClosed | pingora_core::ErrorType::ReadError => BodyFault::Ended,
        _ => BodyFault::Broken,
    }
}

/// Reads on to the end of a small body, so that the connection can be kept; whether it was reached.
pub(super) async fn finish_small(session: &mut ServerSession, limit: usize, deadline: Duration) -> bool {
    if session.is_body_empty() {
        return true;
    }
    let small = length(session).is_some_and(|length| length <= limit);
    // A client that waits for `100 Continue` takes the answer for a no.
    if !small || awaits_continue(session) {
        return false;
    }
    tokio::time::timeout(deadline, discard(session, limit)).await.unwrap_or(false)
}

/// Throws away what the client still sends, within bounds, so that it gets to read the answer.
pub(super) async fn linger(session: &mut ServerSession, has_head: bool) {
    let _elapsed = tokio::time::timeout(LINGER, async {
        if has_head && discard(session, LINGER_BYTES).await && session.is_http2() {
            return;
        }
        if !session.is_http2() {
            discard_raw(session).await;
        }
    })
    .await;
}

/// Whether the end of the body came within `limit` bytes.
async fn discard(session: &mut ServerSession, limit: usize) -> bool {
    let mut total = 0;
    while total <= limit {
        match session.read_request_body().await {
            Ok(Some(piece)) => total += piece.len(),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
    false
}

/// Reads whatever comes until the client closes; Pingora hands out a byte at a time here.
async fn discard_raw(session: &mut ServerSession) {
    for _ in 0..LINGER_BROKEN {
        match session.read_body_or_idle(true).await {
            Err(error) if is_ahead(&error) => {}
            _ => return,
        }
    }
}

/// Whether a client sent something after the end of its request.
pub(super) fn is_ahead(error: &pingora_core::Error) -> bool {
    *error.etype() == pingora_core::ErrorType::ConnectError
}

fn length(session: &ServerSession) -> Option<usize> {
    let value = session.get_header(header::CONTENT_LENGTH)?;
    Some(value.to_str().ok().and_then(|digits| digits.parse().ok()).unwrap_or(usize::MAX))
}

/// What an HTTP/1.0 client expects is not looked at (RFC 9110 section 10.1.1).
fn awaits_continue(session: &ServerSession) -> bool {
    session.req_header().version > Version::HTTP_10 && session.get_header(header::EXPECT).is_some()
}
