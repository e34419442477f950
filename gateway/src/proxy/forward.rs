//! The one way to a backend: one complete request, written at once, and its answer as it comes.
//!
//! INVARIANT: an [`UpstreamRequest`] is made from a [`Permitted`] act and from nothing else. The body is the message
//! as it was decided, its length is ours, and it is sent once: a request is written to a second connection only when
//! the first was found closed before a byte of an answer came and nothing could have been executed, which is never
//! assumed of a POST.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use portcullis_policy::Permitted;
use tokio::io::AsyncWriteExt;

use super::headers;
use crate::backend::{ConnectError, Upstream};
use crate::clock::Stopwatch;
use crate::mcp::{ClientMessage, EndSession, OpenStream};

/// What goes to a backend.
pub struct UpstreamRequest {
    bytes: BytesMut,
    body: Bytes,
    /// Whether sending it a second time could do something twice.
    once: bool,
}

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, or the answer is not HTTP.
    #[error("the backend's answer is broken: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("the backend took longer than `timeout`")]
    Timeout,
}

impl ForwardError {
    /// Its label in metrics and audit.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
        }
    }
}

impl UpstreamRequest {
    /// A message as it was decided.
    #[must_use]
    pub fn message(upstream: &Upstream, message: &Permitted<ClientMessage>, from: &HeaderMap, session: Option<&str>) -> Self {
        let body = message.act().encode();
        let mut bytes = Self::head(b"POST", upstream, from, session, None);
        if let (Some(method), crate::mcp::Era::Modern) = (message.act().method(), message.act().era()) {
            line(&mut bytes, b"mcp-method", method.as_str().as_bytes());
            if let Some(name) = message.act().mirrored_name() {
                line(&mut bytes, b"mcp-name", name.as_bytes());
            }
        }
        line(&mut bytes, b"content-type", b"application/json");
        line(&mut bytes, b"content-length", body.len().to_string().as_bytes());
        bytes.put_slice(b"\r\n");
        Self { bytes, body, once: true }
    }

    /// The stream of a session.
    #[must_use]
    pub fn stream(
        upstream: &Upstream,
        _act: &Permitted<OpenStream>,
        from: &HeaderMap,
        session: &str,
        last_event: Option<&str>,
    ) -> Self {
        let mut bytes = Self::head(b"GET", upstream, from, Some(session), last_event);
        bytes.put_slice(b"\r\n");
        Self { bytes, body: Bytes::new(), once: false }
    }

    /// The end of a session.
    #[must_use]
    pub fn end(upstream: &Upstream, _act: &Permitted<EndSession>, from: &HeaderMap, session: &str) -> Self {
        let mut bytes = Self::head(b"DELETE", upstream, from, Some(session), None);
        bytes.put_slice(b"\r\n");
        Self { bytes, body: Bytes::new(), once: true }
    }

    /// Request line and headers, without the last line break: allow-listed ones, and ours.
    fn head(method: &[u8], upstream: &Upstream, from: &HeaderMap, session: Option<&str>, last_event: Option<&str>) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(1024);
        bytes.put_slice(method);
        bytes.put_u8(b' ');
        bytes.put_slice(upstream.target().as_bytes());
        bytes.put_slice(b" HTTP/1.1\r\n");
        line(&mut bytes, b"host", upstream.host_header().as_bytes());
        line(&mut bytes, b"accept-encoding", b"identity");
        for (name, value) in headers::to_backend(from) {
            line(&mut bytes, name.as_str().as_bytes(), value);
        }
        if let Some(session) = session {
            line(&mut bytes, b"mcp-session-id", session.as_bytes());
        }
        if let Some(event) = last_event {
            line(&mut bytes, b"last-event-id", event.as_bytes());
        }
        bytes
    }
}

/// A header line; a value with a line break in it would be two, and is left out.
fn line(bytes: &mut BytesMut, name: &[u8], value: &[u8]) {
    if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return;
    }
    bytes.put_slice(name);
    bytes.put_slice(b": ");
    bytes.put_slice(value);
    bytes.put_slice(b"\r\n");
}

/// The answer of a backend; dropping it before its end closes the connection, which cancels the work.
pub struct BackendAnswer<'u> {
    session: HttpSession,
    upstream: &'u Upstream,
    status: StatusCode,
    started: Stopwatch,
}

/// Sends a request and waits for the head of its answer.
///
/// # Errors
///
/// Returns a [`ForwardError`] when there is none.
pub async fn forward(upstream: &Upstream, request: UpstreamRequest) -> Result<BackendAnswer<'_>, ForwardError> {
    let started = Stopwatch::start();
    let deadline = upstream.settings().timeout;
    let exchange = async {
        if let Some(stream) = upstream.pooled() {
            match send(stream, &request).await {
                Ok(session) => return Ok(session),
                Err(error) if request.once => return Err(error),
                Err(_) => {}
            }
        }
        send(upstream.connect().await?, &request).await
    };
    let session = tokio::time::timeout(deadline, exchange).await.map_err(|_elapsed| ForwardError::Timeout)??;
    let status = session.get_status().ok_or_else(|| ForwardError::Broken("it has no status".to_owned()))?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ForwardError::Broken("it switches protocols unasked".to_owned()));
    }
    Ok(BackendAnswer { session, upstream, status, started })
}

async fn send(mut stream: Stream, request: &UpstreamRequest) -> Result<HttpSession, ForwardError> {
    let broken = |error: std::io::Error| ForwardError::Broken(error.to_string());
    if request.body.len() <= 16 * 1024 {
        let mut whole = BytesMut::with_capacity(request.bytes.len() + request.body.len());
        whole.put_slice(&request.bytes);
        whole.put_slice(&request.body);
        stream.write_all(&whole).await.map_err(broken)?;
    } else {
        stream.write_all(&request.bytes).await.map_err(broken)?;
        stream.write_all(&request.body).await.map_err(broken)?;
    }
    stream.flush().await.map_err(broken)?;
    let mut session = HttpSession::new(stream);
    loop {
        session.read_response().await.map_err(|error| ForwardError::Broken(error.to_string()))?;
        // Interim answers are not passed on.
        match session.get_status() {
            Some(status) if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS => {}
            _ => break,
        }
    }
    session.respect_keepalive();
    Ok(session)
}

impl BackendAnswer<'_> {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The only value of one of its headers.
    #[must_use]
    pub fn header(&self, name: &header::HeaderName) -> Option<&str> {
        let mut values = self.headers()?.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.session.resp_header().map(|head| &head.headers)
    }

    /// The next piece of its body, within the idle deadline; `None` at its end.
    ///
    /// # Errors
    ///
    /// Returns a [`ForwardError`] when the body breaks off or stays silent.
    pub async fn next_piece(&mut self, idle: Duration) -> Result<Option<Bytes>, ForwardError> {
        let read = tokio::time::timeout(idle, self.session.read_body_bytes());
        let piece = read.await.map_err(|_elapsed| ForwardError::Timeout)?;
        piece.map_err(|error| ForwardError::Broken(error.to_string()))
    }

    /// The whole body, at most `limit` bytes of it, within the backend's `timeout`.
    ///
    /// # Errors
    ///
    /// Returns a [`ForwardError`] when it is larger, breaks off or takes too long.
    pub async fn whole(&mut self, limit: usize) -> Result<Bytes, ForwardError> {
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        let mut total = 0;
        loop {
            let left = self.upstream.settings().timeout.saturating_sub(self.started.elapsed());
            let Some(piece) = self.next_piece(left).await? else { break };
            total += piece.len();
            if total > limit {
                return Err(ForwardError::Broken("it is larger than `limits.answer_body`".to_owned()));
            }
            match &first {
                None => first = Some(piece),
                Some(start) => {
                    if rest.is_empty() {
                        rest.extend_from_slice(start);
                    }
                    rest.extend_from_slice(&piece);
                }
            }
        }
        Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
    }

    /// Keeps the connection when the answer was read to its end.
    pub async fn release(self) {
        if let Some(stream) = self.session.reuse().await {
            self.upstream.keep(stream);
        }
    }
}
