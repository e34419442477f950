//! What a backend answers: its head, and its body piece by piece or whole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName};
use http::{StatusCode, header};
use pingora_core::protocols::http::v1::client::HttpSession;
use tokio::time::Instant;

use super::super::budget::Held;
use super::super::headers;
use super::ForwardError;
use crate::backend::{Passage, Slot, Upstream};

/// How long the end of a stream may take after its last event: it commonly comes in the same breath.
const CONCLUSION: Duration = Duration::from_millis(20);

/// The answer of a backend. Its connection is kept when its body was read to the end, and closed otherwise, which
/// tells the backend that nobody waits any more.
pub struct BackendAnswer<'u> {
    upstream: &'u Upstream,
    status: StatusCode,
    headers: HeaderMap,
    /// Until the end of the body.
    session: Option<HttpSession>,
    deadline: Instant,
    held: Hold<'u>,
}

/// What a request holds until its answer has ended: a place among those that wait, and the word on how it went.
#[derive(Debug, Default)]
pub struct Hold<'u> {
    /// The place; given back as soon as the server has said everything, however slowly the client reads it.
    pub slot: Option<Slot>,
    /// Told once: well at the end of the answer or the first piece of a stream, badly when it breaks off or is a 5xx.
    pub passage: Option<Passage<'u>>,
}

impl<'u> BackendAnswer<'u> {
    pub(super) async fn new(
        upstream: &'u Upstream,
        session: HttpSession,
        deadline: Instant,
    ) -> Result<BackendAnswer<'u>, ForwardError> {
        let head = session.resp_header().ok_or_else(|| ForwardError::broken("it has no head"))?;
        let (status, headers) = (head.status, head.headers.clone());
        let mut answer = Self { upstream, status, headers, session: Some(session), deadline, held: Hold::default() };
        answer.keep_if_done().await;
        Ok(answer)
    }

    /// Holds these until its end.
    #[must_use]
    pub fn holding(mut self, held: Hold<'u>) -> Self {
        self.held = held;
        if self.status.is_server_error() {
            self.went_badly();
        } else if self.session.is_none() {
            self.went_well();
        }
        if self.session.is_none() {
            self.held.slot = None;
        }
        self
    }

    fn went_well(&mut self) {
        if let Some(passage) = self.held.passage.take() {
            passage.succeeded();
        }
    }

    fn went_badly(&mut self) {
        if let Some(passage) = self.held.passage.take() {
            passage.failed();
        }
    }

    /// Whether its body is of this media type, whatever its parameters.
    #[must_use]
    pub fn is(&self, media: &str) -> bool {
        let said = self.header(&header::CONTENT_TYPE).unwrap_or_default();
        said.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media)
    }

    /// Whose answer it is.
    #[must_use]
    pub fn upstream(&self) -> &'u Upstream {
        self.upstream
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its header fields as sent.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The header fields that a client gets to see.
    #[must_use]
    pub fn fields_for_client(&self) -> HeaderMap {
        headers::to_client(&self.headers)
    }

    /// The only value of a field; `None` when it is absent, there twice, or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// The next piece of the body, which has to come within `idle`; `None` at its end.
    ///
    /// # Errors
    ///
    /// Returns a [`ForwardError`] when the body breaks off, is malformed or stays silent; it is then not complete.
    pub async fn next_piece(&mut self, idle: Duration) -> Result<Option<Bytes>, ForwardError> {
        self.next_piece_until(Instant::now() + idle).await
    }

    /// The whole body, at most `limit` bytes of it, within the backend's `timeout`; `room` is taken as it comes.
    ///
    /// # Errors
    ///
    /// Returns a [`ForwardError`] when it is larger, breaks off, is malformed, takes too long or finds no room.
    pub async fn whole(&mut self, limit: usize, room: &mut Held) -> Result<Bytes, ForwardError> {
        let expected = self.header(&header::CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or(0);
        let (mut only, mut all) = (None::<Bytes>, BytesMut::new());
        let mut total = 0;
        while let Some(piece) = self.next_piece_until(self.deadline).await? {
            total += piece.len();
            if total > limit || expected > limit {
                self.session = None;
                return Err(ForwardError::broken("it is larger than `limits.answer_body`"));
            }
            if room.resize(total).is_err() {
                self.session = None;
                return Err(ForwardError::NoRoom);
            }
            // One piece, which is what most answers are, is not copied.
            match (only.take(), all.is_empty()) {
                (None, true) => only = Some(piece),
                (first, _) => {
                    all.reserve(expected.saturating_sub(all.len()));
                    all.extend_from_slice(&first.unwrap_or_default());
                    all.extend_from_slice(&piece);
                }
            }
        }
        Ok(only.unwrap_or_else(|| all.freeze()))
    }

    /// Waits a moment for the end of a body of which nothing more is wanted, so that the connection can be kept.
    pub async fn conclude(mut self) {
        self.went_well();
        let deadline = Instant::now() + CONCLUSION;
        // Another piece means that the backend goes on; dropping the answer tells it to stop.
        let _ = self.next_piece_until(deadline).await;
    }

    async fn next_piece_until(&mut self, deadline: Instant) -> Result<Option<Bytes>, ForwardError> {
        let Some(session) = &mut self.session else { return Ok(None) };
        match tokio::time::timeout_at(deadline, session.read_body_bytes()).await {
            Ok(Ok(Some(piece))) => {
                self.keep_if_done().await;
                if self.held.passage.is_some() && (self.session.is_none() || self.is("text/event-stream")) {
                    self.went_well();
                }
                Ok(Some(piece))
            }
            Ok(Ok(None)) => {
                self.keep_if_done().await;
                (self.session, self.held.slot) = (None, None);
                self.went_well();
                Ok(None)
            }
            failed => {
                self.session = None;
                self.went_badly();
                match failed {
                    Ok(Err(error)) => Err(ForwardError::broken(&error)),
                    _ => Err(ForwardError::Timeout),
                }
            }
        }
    }

    /// Takes the connection back as soon as nothing more of the body can come.
    async fn keep_if_done(&mut self) {
        let Some(mut session) = self.session.take_if(HttpSession::is_body_done) else { return };
        // Also what decides whether the backend said something beyond its answer.
        self.held.slot = None;
        session.respect_keepalive();
        if let Some(stream) = session.reuse().await {
            self.upstream.keep(stream);
        }
    }
}
