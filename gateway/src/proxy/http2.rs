//! One HTTP/2 connection: its settings, and what it may cost (RFC 9113 section 10.5).
//!
//! Frames are the h2 crate's affair: it bounds CONTINUATION, decoded headers, pending resets and resets that a client
//! provokes. What it cannot see is that a client gives up stream after stream just after the handler took it up (rapid
//! reset); such a connection is ended here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::listener::{Handler, Serving};

const HEADER_LIST: u32 = 16 * 1024;
const STREAMS: u32 = 100;
/// What a client may send unasked: a whole small body on a stream, and this much on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may wait to be sent on a stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Resets that protocol errors of a client may provoke (`MadeYouReset`, CVE-2025-8671).
const PROVOKED_RESETS: usize = 64;
/// Requests that a client may give up on a connection, while they are more than those it waited for.
const GIVEN_UP: usize = 100;

pub(super) struct Http2<H> {
    serving: Arc<Serving<H>>,
    options: HttpServerOptions,
    given_up: AtomicUsize,
    answered: AtomicUsize,
    abused: Notify,
}

impl<H: Handler> Http2<H> {
    /// Serves a connection to its end.
    pub(super) async fn serve(serving: &Arc<Serving<H>>, stream: Stream, shutdown: &ShutdownWatch) {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(serving.deadlines.keep_alive);
        let connection = Arc::new(Self {
            serving: Arc::clone(serving),
            options,
            given_up: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            abused: Notify::new(),
        });
        tokio::select! {
            _ = connection.process_new(stream, shutdown) => {}
            () = connection.abused.notified() => tracing::warn!("a client resets stream after stream; its connection is closed"),
        }
    }
}

#[async_trait]
impl<H: Handler> HttpServerApp for Http2<H> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // The head is here already.
        let deadline = Instant::now() + self.serving.deadlines.head;
        let (outcome, _) = self.serving.request(session, deadline, shutdown).await;
        if outcome.is_ok() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            let given_up = self.given_up.fetch_add(1, Ordering::Relaxed) + 1;
            if given_up > GIVEN_UP && given_up > self.answered.load(Ordering::Relaxed) {
                self.abused.notify_one();
            }
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = H2Options::default();
        options.max_header_list_size(HEADER_LIST).max_concurrent_streams(STREAMS);
        options.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        options.max_local_error_reset_streams(Some(PROVOKED_RESETS)).max_send_buffer_size(SEND_BUFFER);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
