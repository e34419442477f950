//! What stands on a listening socket: HTTP/1.1 and HTTP/2 on one port, a deadline for every head, one [`Exchange`]
//! for each request, and the rules of keeping a connection.
//!
//! Hands every request whose head passed the gate to a [`Handler`], and answers the others itself. Which of its
//! sockets, certificates and threads there are is the composition root's affair.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_core::{Error, ErrorType};

use super::exchange::{Exchange, Gone, KEEP_ALIVE, answer_unread};
use super::head_gate::{self, Fault};

/// The first head of a connection is whole within this time of its accept, or the connection is closed.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const H2_IDLE: Duration = Duration::from_mins(5);
const H2_HEADER_LIST: u32 = 16 * 1024;
const H2_STREAMS: u32 = 100;
/// What a client may send unasked: a whole small body on a stream, and this much on a connection.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The length of the HTTP/2 preface (RFC 9113 section 3.4); no request that would be served is shorter.
const PREFACE: usize = 24;

/// Answers requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request; an exchange that is left unanswered or half answered is cut.
    async fn handle(&self, exchange: &mut Exchange) -> Result<(), Gone>;
}

/// The application of a Pingora listening service.
pub struct Listener<H> {
    requests: Arc<Requests<H>>,
    head_deadline: Duration,
}

impl<H: Handler> Listener<H> {
    /// An application that hands requests to this handler.
    #[must_use]
    pub fn new(handler: H) -> Self {
        Self::with_head_deadline(handler, HEAD_DEADLINE)
    }

    /// The same, with another deadline for a connection's first head; later ones have the keep-alive time besides.
    #[must_use]
    pub fn with_head_deadline(handler: H, head_deadline: Duration) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(H2_IDLE);
        Self { requests: Arc::new(Requests { handler, options, head_deadline }), head_deadline }
    }
}

#[async_trait]
impl<H: Handler> ServerApp for Listener<H> {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        // Pingora peeks for the HTTP/2 preface of a plain connection without a deadline. What was peeked here is
        // there for it at once.
        if stream.get_ssl_digest().is_none() {
            let mut preface = [0; PREFACE];
            tokio::time::timeout(self.head_deadline, stream.try_peek(&mut preface)).await.ok()?.ok()?;
        }
        self.requests.process_new(stream, shutdown).await
    }
}

/// Marks a connection that has carried a request before.
struct Reused;

struct Requests<H> {
    handler: H,
    options: HttpServerOptions,
    head_deadline: Duration,
}

#[async_trait]
impl<H: Handler> HttpServerApp for Requests<H> {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let reused = session.take_connection_user_context().is_some();
        let deadline = if reused { KEEP_ALIVE + self.head_deadline } else { self.head_deadline };
        match tokio::time::timeout(deadline, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return None,
            Ok(Err(error)) => {
                answer_unread(&mut session, refusal(unreadable(&error)?)).await;
                return None;
            }
        }
        let fault = head_gate::check(&mut session).err();
        let mut exchange = Exchange::new(session, *shutdown.borrow());
        let outcome = match fault {
            Some(fault) => exchange.refuse(refusal(fault)).await,
            None => self.handler.handle(&mut exchange).await,
        };
        let (stream, mut settings) = exchange.end(outcome).await?;
        settings.set_user_context(Box::new(Reused));
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = H2Options::default();
        options.max_header_list_size(H2_HEADER_LIST).max_concurrent_streams(H2_STREAMS);
        options.initial_window_size(H2_STREAM_WINDOW).initial_connection_window_size(H2_CONNECTION_WINDOW);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Why Pingora could not read a head; `None` when there is nobody to tell.
fn unreadable(error: &Error) -> Option<Fault> {
    tracing::debug!(%error, "a request head cannot be read");
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::ReadTimedout => None,
        _ if head_gate::is_too_large(error) => Some(head_gate::TOO_LARGE),
        _ => Some(Fault(http::StatusCode::BAD_REQUEST, "The head of the request is malformed")),
    }
}

fn refusal(Fault(status, text): Fault) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
