//! One request and its answer, over HTTP/1.1 or HTTP/2, on Pingora's server session.
//!
//! The head is held against [`super::head_gate`] before anything else sees it. A body is read whole or not at all; an
//! answer has a true length, or is a stream. Whatever is refused early is answered in a way that the client gets to
//! read, and the connection is then closed rather than left out of step.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use pingora_core::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;

/// A client that is slower than this with its body is not waited for.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// A client that does not read is not waited for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// An unread body up to here is read to keep the connection.
const SMALL_BODY: usize = 64 * 1024;
/// How much of an unread body is thrown away so that the client gets to read the answer.
const LINGER_BYTES: usize = 16 << 20;
const LINGER: Duration = Duration::from_millis(500);
const KEEPALIVE_SECONDS: u64 = 60;

/// The client is gone, or its connection is broken: there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// More bytes than the limit.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// It ended early, or its framing is broken.
    Broken,
}

/// One request and its answer.
pub struct Exchange {
    session: ServerSession,
    body_read: bool,
    close: bool,
    status: u16,
    sent: u64,
}

impl Exchange {
    pub(super) fn new(mut session: ServerSession, shutting_down: bool) -> Self {
        session.set_keepalive((!shutting_down).then_some(KEEPALIVE_SECONDS));
        session.set_write_timeout(Some(WRITE_TIMEOUT));
        let body_read = session.is_body_empty();
        Self { session, body_read, close: false, status: 0, sent: 0 }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.session.req_header().method
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.session.req_header().uri.path()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.session.req_header().headers
    }

    /// The only value of a header; `None` when it is absent, there twice, or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers().get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// Whether a header is there more than once, or not visible ASCII.
    #[must_use]
    pub fn is_ambiguous(&self, name: &HeaderName) -> bool {
        self.headers().contains_key(name) && self.header(name).is_none()
    }

    /// The host that was asked for: `:authority`, or `Host`.
    #[must_use]
    pub fn host(&self) -> &str {
        let head = self.session.req_header();
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        authority.or_else(|| self.header(&header::HOST)).unwrap_or("")
    }

    /// The request without its body, for the in-process router.
    #[must_use]
    pub fn parts(&self) -> http::request::Parts {
        self.session.req_header().as_owned_parts()
    }

    /// What was answered: status and bytes of the body.
    #[must_use]
    pub fn answered(&self) -> (u16, u64) {
        (self.status, self.sent)
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// Returns a [`BodyFault`]; the request must then be answered and forgotten.
    pub async fn read_body(&mut self, limit: usize) -> Result<Bytes, BodyFault> {
        let length = self.header(&header::CONTENT_LENGTH).and_then(|value| value.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(BodyFault::TooLarge);
        }
        self.send_continue().await?;
        let read = async {
            let mut first: Option<Bytes> = None;
            let mut rest = BytesMut::new();
            let mut total = 0;
            while let Some(chunk) = self.session.read_request_body().await.map_err(|_error| BodyFault::Broken)? {
                total += chunk.len();
                if total > limit {
                    return Err(BodyFault::TooLarge);
                }
                match &first {
                    None => first = Some(chunk),
                    Some(start) => {
                        if rest.is_empty() {
                            rest.extend_from_slice(start);
                        }
                        rest.extend_from_slice(&chunk);
                    }
                }
                if length.is_some_and(|length| total >= length) && self.session.is_body_done() {
                    break;
                }
            }
            if length.is_some_and(|length| length != total) {
                return Err(BodyFault::Broken);
            }
            Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
        };
        let body = tokio::time::timeout(BODY_DEADLINE, read).await.map_err(|_elapsed| BodyFault::TooSlow)??;
        self.body_read = true;
        Ok(body)
    }

    async fn send_continue(&mut self) -> Result<(), BodyFault> {
        if self.headers().contains_key(header::EXPECT) && !self.session.is_http2() {
            self.session.write_continue_response().await.map_err(|_error| BodyFault::Broken)?;
        }
        Ok(())
    }

    /// Answers at once.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it.
    pub async fn answer(&mut self, response: Response<Bytes>) -> Result<(), Gone> {
        self.settle().await;
        let (parts, body) = response.into_parts();
        let mut head = head(parts.status, &parts.headers)?;
        let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !bodiless {
            insert(&mut head, header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
        }
        let body = if bodiless || *self.method() == Method::HEAD { Bytes::new() } else { body };
        self.status = parts.status.as_u16();
        self.sent = body.len() as u64;
        self.session.write_response_header(Box::new(head)).await.map_err(|_error| Gone)?;
        self.session.write_response_body(body, true).await.map_err(|_error| Gone)?;
        if !self.body_read {
            self.linger().await;
        }
        Ok(())
    }

    /// Begins an answer whose length is not known.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it.
    pub async fn begin_stream(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<(), Gone> {
        let mut head = head(status, headers)?;
        if self.session.req_header().version == Version::HTTP_11 {
            insert(&mut head, header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
        } else if !self.session.is_http2() {
            self.close = true;
            self.session.set_keepalive(None);
        }
        self.status = status.as_u16();
        self.session.write_response_header(Box::new(head)).await.map_err(|_error| Gone)
    }

    /// Sends a piece of a stream; returns when the client has taken it.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), Gone> {
        self.sent += piece.len() as u64;
        self.session.write_response_body(piece, false).await.map_err(|_error| Gone)
    }

    /// Ends a stream.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it.
    pub async fn finish_stream(&mut self) -> Result<(), Gone> {
        self.session.write_response_body(Bytes::new(), true).await.map_err(|_error| Gone)
    }

    /// Cuts the connection: what was sent so far must not look complete.
    pub fn cut(&mut self) {
        self.close = true;
    }

    /// Waits until the client goes away; for use beside whatever the client is waiting for.
    pub async fn gone(&mut self) -> Gone {
        // A client that sends on before it has its answer is out of step: it is treated as gone.
        let _ = self.session.read_body_or_idle(true).await;
        self.close = true;
        Gone
    }

    /// Gives the connection back when it is in step, and closes it otherwise.
    pub(super) async fn end(mut self, outcome: Result<(), Gone>) -> Option<ReusedHttpStream> {
        if outcome.is_err() || self.close {
            self.session.shutdown().await;
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&self.session);
        let stream = self.session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    /// Before an answer: reads a small unread body, so that the connection stays usable.
    async fn settle(&mut self) {
        if self.body_read {
            return;
        }
        let length = self.header(&header::CONTENT_LENGTH).and_then(|value| value.parse::<usize>().ok());
        let waits = self.headers().contains_key(header::EXPECT);
        if length.is_some_and(|length| length <= SMALL_BODY) && !waits {
            let read = async { while let Ok(Some(_)) = self.session.read_request_body().await {} };
            self.body_read = tokio::time::timeout(Duration::from_secs(1), read).await.is_ok();
        }
        if !self.body_read {
            self.session.set_keepalive(None);
            self.close = true;
        }
    }

    /// After an answer to a request that is still being sent: without this the client gets a reset and loses it.
    async fn linger(&mut self) {
        let drain = async {
            let mut total = 0;
            while let Ok(Some(chunk)) = self.session.read_request_body().await {
                total += chunk.len();
                if total > LINGER_BYTES {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
}

fn head(status: StatusCode, headers: &HeaderMap) -> Result<ResponseHeader, Gone> {
    let mut head = ResponseHeader::build_no_case(status, Some(headers.len() + 2)).map_err(|_error| Gone)?;
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone()).map_err(|_error| Gone)?;
    }
    Ok(head)
}

fn insert(head: &mut ResponseHeader, name: HeaderName, value: HeaderValue) -> Result<(), Gone> {
    head.insert_header(name, value).map_err(|_error| Gone)
}
