//! What stands on a listening socket: HTTP/1.1 and HTTP/2 on one port, a deadline for every head, one [`Exchange`]
//! for each request, and the rules of keeping a connection.
//!
//! Hands every request whose head passed the gate to a [`Handler`], and answers the others itself. A connection or a
//! request that no budget is left for is told so. Which sockets, certificates and threads there are is the
//! composition root's affair.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use pingora_core::apps::{HttpPersistentSettings, ServerApp};
use pingora_core::protocols::http::{ReusableHttpStream, ServerSession};
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_core::{Error, ErrorType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::{Budgets, Spent};
use super::exchange::{Exchange, Gone};
use super::head_gate::{self, Fault};
use super::http2::Http2;
use super::{secure, written};
use crate::tls::Live;

/// The HTTP/2 preface (RFC 9113 section 3.4); no request that would be served is shorter.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for the first bytes of a request on a connection that is used again.
const FIRST_READ: usize = 4096;
/// How long a client that is turned away has for reading so.
const TURN_AWAY: Duration = Duration::from_millis(250);
/// How long an idle connection is listened to when the gateway stops; less than `drained` waits for a sign of life.
const LAST_REQUEST: Duration = Duration::from_millis(150);

/// Answers requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request; an exchange that is left unanswered or half answered is cut.
    async fn handle(&self, exchange: &mut Exchange) -> Result<(), Gone>;
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the accept of a connection, or the first byte of a later request on it, to the end of the head.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For each 64 KiB of an answer.
    pub write: Duration,
    /// Between two requests on a connection.
    pub keep_alive: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            keep_alive: Duration::from_mins(1),
        }
    }
}

/// The application of a Pingora listening service.
pub struct Listener<H>(Arc<Serving<H>>, Option<Arc<Live>>);

impl<H: Handler> Listener<H> {
    /// An application that hands requests to this handler.
    #[must_use]
    pub fn new(handler: H, deadlines: Deadlines, budgets: Arc<Budgets>) -> Self {
        Self(Arc::new(Serving { handler, deadlines, budgets }), None)
    }

    /// The same over TLS, where there is some.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<Live>>) -> Self {
        Self(self.0, tls)
    }
}

/// What every connection of a listener shares.
pub(super) struct Serving<H> {
    handler: H,
    pub(super) deadlines: Deadlines,
    budgets: Arc<Budgets>,
}

#[async_trait]
impl<H: Handler> ServerApp for Listener<H> {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let deadline = Instant::now() + self.0.deadlines.head;
        let peer = stream.get_socket_digest().and_then(|socket| Some(socket.peer_addr()?.as_inet()?.ip()));
        let _place = match self.0.budgets.connection(peer) {
            Ok(place) => place,
            Err(spent) => {
                let _elapsed = timeout(TURN_AWAY, turn_away(stream, spent)).await;
                return None;
            }
        };
        if let Some(tls) = &self.1 {
            stream = secure::handshake(tls, stream, deadline).await?;
        }
        if is_http2(&mut stream, deadline).await? {
            Http2::serve(&self.0, stream, shutdown).await;
        } else {
            self.0.http1(stream, deadline, shutdown).await;
        }
        None
    }
}

/// Whether a client speaks HTTP/2: by ALPN over TLS, by its preface otherwise. `None` when it does not say in time.
async fn is_http2(stream: &mut Stream, deadline: Instant) -> Option<bool> {
    if stream.get_ssl_digest().is_some() {
        return Some(matches!(stream.selected_alpn_proto(), Some(ALPN::H2)));
    }
    // What was peeked is there for whoever reads next.
    let mut preface = [0; PREFACE.len()];
    timeout_at(deadline, stream.try_peek(&mut preface)).await.ok()?.ok()?;
    Some(preface == *PREFACE)
}

impl<H: Handler> Serving<H> {
    /// The requests of a connection, one after another.
    async fn http1(&self, stream: Stream, mut deadline: Instant, shutdown: &ShutdownWatch) {
        let mut session = ServerSession::new_http1(stream);
        let mut stopping = shutdown.clone();
        while let (_, Some((reusable, settings))) = self.request(session, deadline, shutdown).await {
            let (mut stream, _) = reusable.into_parts();
            // The head's own deadline begins with its first byte, so that a connection may lie idle and no head may be
            // slow.
            let mut first = BytesMut::with_capacity(FIRST_READ);
            let read = tokio::select! {
                biased;
                read = timeout(self.deadlines.keep_alive, stream.read_buf(&mut first)) => read,
                () = left(&mut stopping) => return,
            };
            if !matches!(read, Ok(Ok(bytes)) if bytes > 0) {
                return;
            }
            deadline = Instant::now() + self.deadlines.head;
            session = ServerSession::new_http1(stream);
            settings.apply_to_session(&mut session);
            session.set_pipelined_prefix(first);
        }
    }

    /// One request: whether it was answered, and the connection when it can be used again.
    pub(super) async fn request(
        &self,
        mut session: ServerSession,
        deadline: Instant,
        shutdown: &ShutdownWatch,
    ) -> (Result<(), Gone>, Option<(ReusableHttpStream, HttpPersistentSettings)>) {
        match timeout_at(deadline, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return (Err(Gone), None),
            Ok(Err(error)) => {
                if let Some(fault) = unreadable(&error) {
                    written::answer_unread(&mut session, refusal(fault)).await;
                }
                return (Err(Gone), None);
            }
        }
        let fault = head_gate::check(&mut session).err();
        let mut exchange = Exchange::new(session, *shutdown.borrow(), self.deadlines, &self.budgets);
        let outcome = if let Some(fault) = fault {
            exchange.refuse(refusal(fault)).await
        } else {
            match self.budgets.request() {
                Err(spent) => exchange.refuse(put_off(spent)).await,
                Ok(place) => {
                    exchange.take_place(place);
                    self.handler.handle(&mut exchange).await
                }
            }
        };
        (outcome, exchange.end(outcome).await)
    }
}

/// Returns when the gateway is told to stop, and whoever did not know has had the time for one more request.
///
/// A client that was not told by `Connection: close` may be sending; cut at once, it would not know what became of that.
async fn left(stopping: &mut ShutdownWatch) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(LAST_REQUEST).await;
}

/// Tells a client of a connection that there is no place for.
async fn turn_away(mut stream: Stream, spent: Spent) {
    let status = match spent {
        Spent::Everybodys => "503 Service Unavailable",
        Spent::Their => "429 Too Many Requests",
    };
    let answer = format!("HTTP/1.1 {status}\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // A connection that is closed with something unread is reset, and the reset overtakes the answer.
    let mut unread = [0; 1024];
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        let _ = AsyncWriteExt::shutdown(&mut stream).await;
        while matches!(stream.read(&mut unread).await, Ok(bytes) if bytes > 0) {}
    }
}

/// Why Pingora could not read a head; `None` when there is nobody to tell.
fn unreadable(error: &Error) -> Option<Fault> {
    tracing::debug!(%error, "a request head cannot be read");
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::ReadTimedout => None,
        _ if head_gate::is_too_large(error) => Some(head_gate::TOO_LARGE),
        _ => Some(Fault(StatusCode::BAD_REQUEST, "The head of the request is malformed")),
    }
}

/// The answer to a request that there is no place for.
pub(super) fn put_off(spent: Spent) -> Response<Bytes> {
    let mut response = refusal(match spent {
        Spent::Everybodys => Fault(StatusCode::SERVICE_UNAVAILABLE, "Too much is going on; come back in a moment"),
        Spent::Their => Fault(StatusCode::TOO_MANY_REQUESTS, "Too many requests at once; come back in a moment"),
    });
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn refusal(Fault(status, text): Fault) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
