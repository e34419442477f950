//! The one way to a backend: one complete request, written once, and its answer as it comes (ADR 0002).
//!
//! INVARIANT: an [`UpstreamRequest`] is made from a [`portcullis_policy::Permitted`] act and from nothing else.
//! INVARIANT: a POST is never sent twice. A second connection is tried only while the first took not one byte of it.
//! What an answer means, how large it may be and what a client gets to see of it is decided elsewhere; here it only
//! has to be one HTTP/1.1 answer, framed in one way, of which an end that is missing is never taken for an end.

mod answer;
mod request;

use bytes::Buf;
use http::{StatusCode, Version, header};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use tokio::io::AsyncWriteExt;

pub use answer::{BackendAnswer, Hold};
pub use request::{Sent, UpstreamRequest};

use super::raw_head;
use crate::backend::{ConnectError, Upstream};

/// More than any honest server says before it answers.
const MAX_INTERIM: usize = 8;
const MAX_HEAD: usize = 64 * 1024;
/// What Pingora's stream holds back until it is flushed.
const WRITE_BUFFER: usize = 1460;

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, or what came is not one answer in HTTP/1.1.
    #[error("the backend's answer is broken: {0}")]
    Broken(String),
    /// No answer, or no more of it, in time.
    #[error("the backend took longer than its `timeout`")]
    Timeout,
    /// It is too much for what the process may hold at the moment.
    #[error("the answers that are being read have taken all the room; see `limits.answer_bytes`")]
    NoRoom,
    /// The permit is for another backend; a bug.
    #[error("the request was permitted for another backend")]
    WrongBackend,
    /// Once there was a connection, it was not to go any more; nothing of it was written.
    #[error("what permitted the request is over")]
    Overtaken,
}

impl ForwardError {
    /// Its label in metrics and audit.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::NoRoom => "no_room",
            Self::WrongBackend => "wrong_backend",
            Self::Overtaken => "overtaken",
        }
    }

    pub(super) fn broken<E: ToString + ?Sized>(why: &E) -> Self {
        Self::Broken(why.to_string())
    }
}

/// Sends a request and waits for the head of its answer. Dropping the future, or the answer before its end, closes
/// the connection, which is how a backend learns that nobody waits any more.
///
/// `still` is asked last of all, with a connection at hand, for that may have taken a while: whether it may go yet.
///
/// # Errors
///
/// Returns a [`ForwardError`] when there is no answer that can be used.
pub async fn forward<'u>(
    upstream: &'u Upstream,
    request: UpstreamRequest,
    still: &(dyn Fn() -> bool + Sync),
) -> Result<BackendAnswer<'u>, ForwardError> {
    if request.backend() != upstream.name() {
        return Err(ForwardError::WrongBackend);
    }
    let deadline = tokio::time::Instant::now() + upstream.settings().timeout;
    let session = tokio::time::timeout_at(deadline, exchange(upstream, &request, still)).await;
    BackendAnswer::new(upstream, session.map_err(|_elapsed| ForwardError::Timeout)??, deadline).await
}

async fn exchange(
    upstream: &Upstream,
    request: &UpstreamRequest,
    still: &(dyn Fn() -> bool + Sync),
) -> Result<HttpSession, ForwardError> {
    if let Some(idle) = upstream.pooled() {
        match attempt(idle, request, still).await {
            Ok(session) => return Ok(session),
            // Over TLS, bytes that were taken may be a whole record or none; that is not looked into.
            Err(Failure { untaken: true, .. }) if !upstream.is_tls() => {}
            Err(Failure { silent: true, .. }) if request.is_repeatable() => {}
            Err(failure) => return Err(failure.error),
        }
    }
    attempt(upstream.connect().await?, request, still).await.map_err(|failure| failure.error)
}

/// A try on one connection that failed.
struct Failure {
    error: ForwardError,
    /// Whether not one byte of the request was taken.
    untaken: bool,
    /// Whether not one byte of an answer came.
    silent: bool,
}

async fn attempt(
    mut stream: Stream,
    request: &UpstreamRequest,
    still: &(dyn Fn() -> bool + Sync),
) -> Result<HttpSession, Failure> {
    if !still() {
        return Err(Failure { error: ForwardError::Overtaken, untaken: false, silent: false });
    }
    write(&mut stream, request).await?;
    let mut session = HttpSession::new(stream);
    read_head(&mut session).await.map(|()| session)
}

async fn write(stream: &mut Stream, request: &UpstreamRequest) -> Result<(), Failure> {
    let mut bytes = request.bytes();
    let whole = bytes.remaining();
    let failure =
        |error: std::io::Error, untaken| Failure { error: ForwardError::broken(&error), untaken, silent: true };
    while bytes.has_remaining() {
        let taken = stream.write_buf(&mut bytes).await.map_err(|error| failure(error, bytes.remaining() == whole))?;
        if taken == 0 {
            return Err(failure(std::io::ErrorKind::WriteZero.into(), false));
        }
    }
    // What fits Pingora's buffer leaves in one piece, and only now.
    stream.flush().await.map_err(|error| failure(error, whole < WRITE_BUFFER))
}

/// Reads up to the head of the final answer.
async fn read_head(session: &mut HttpSession) -> Result<(), Failure> {
    let mut silent = true;
    let failure = |error: ForwardError, silent| Failure { error, untaken: false, silent };
    for _ in 0..=MAX_INTERIM {
        if let Err(error) = session.read_response().await {
            let silent = silent && *error.etype() == pingora_core::ErrorType::ConnectionClosed;
            return Err(failure(ForwardError::broken(&error), silent));
        }
        silent = false;
        match session.get_status() {
            Some(StatusCode::SWITCHING_PROTOCOLS) => {
                return Err(failure(ForwardError::broken("it switches protocols unasked"), false));
            }
            Some(status) if status.is_informational() => {}
            _ => return check_head(session).map_err(|error| failure(error, false)),
        }
    }
    Err(failure(ForwardError::broken("it has too many interim answers"), false))
}

/// What Pingora's client is lenient about.
fn check_head(session: &HttpSession) -> Result<(), ForwardError> {
    let raw = session.get_headers_raw_bytes();
    let head = session.resp_header().ok_or_else(|| ForwardError::broken("it has no head"))?;
    if raw.len() > MAX_HEAD {
        return Err(ForwardError::broken("its head is too large"));
    }
    raw_head::check(&raw, head.version != Version::HTTP_11).map_err(|unsound| ForwardError::broken(&unsound))?;
    match head.headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => Err(ForwardError::broken("it is encoded, which was not asked for")),
        _ => Ok(()),
    }
}
