//! The listener's application: reads heads, gates them, hands each request to the handler, keeps connections in step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use pingora_core::ErrorType;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;

use super::exchange::{Exchange, Gone};
use super::head_gate;

/// A whole head within this time, keep-alive included: a client that drips bytes is not waited for.
const HEAD_DEADLINE: Duration = Duration::from_secs(65);
const H2_IDLE: Duration = Duration::from_secs(300);
const H2_HEADER_LIST: u32 = 16 * 1024;
const H2_STREAMS: u32 = 100;
const H2_RESETS: usize = 50;

/// Answers one request.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers the request of this exchange.
    async fn handle(&self, exchange: &mut Exchange) -> Result<(), Gone>;
}

/// An application over a handler, for a Pingora listening service.
pub struct Listener<H> {
    handler: H,
    options: HttpServerOptions,
}

impl<H: Handler> Listener<H> {
    /// An application over this handler; HTTP/1.1 and HTTP/2, the latter without TLS too.
    #[must_use]
    pub fn new(handler: H) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(H2_IDLE);
        Self { handler, options }
    }
}

#[async_trait]
impl<H: Handler> HttpServerApp for Listener<H> {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match tokio::time::timeout(HEAD_DEADLINE, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return None,
            Ok(Err(error)) => {
                let answerable = !matches!(
                    error.etype(),
                    ErrorType::ConnectionClosed | ErrorType::ReadTimedout | ErrorType::ReadError
                );
                tracing::debug!(%error, "a request could not be read");
                if answerable {
                    let _ = session.respond_error(400).await;
                }
                return None;
            }
        }
        let refused = head_gate::check(&session).err();
        let mut exchange = Exchange::new(session, *shutdown.borrow());
        if let Some((status, text)) = refused {
            let mut response = Response::new(Bytes::from_static(text.as_bytes()));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            exchange.cut();
            let outcome = exchange.answer(response).await;
            return exchange.end(outcome).await;
        }
        let outcome = self.handler.handle(&mut exchange).await;
        exchange.end(outcome).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_header_list_size(H2_HEADER_LIST);
        options.max_concurrent_streams(H2_STREAMS);
        options.max_concurrent_reset_streams(H2_RESETS);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
