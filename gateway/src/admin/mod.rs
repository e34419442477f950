//! The operator's listener: `/livez`, `/readyz` and `/metrics`. Loopback unless configured otherwise; no session
//! data, no secrets, no names of callers.
//!
//! It stands on the same [`crate::proxy::listener`] as the clients' one, so that heads, deadlines and connections are
//! as strict here. Names of somebody else's, and pages of another origin, are refused before anything is looked at.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::metrics::Metrics;
use crate::proxy::exchange::{Exchange, Gone};
use crate::proxy::host::Hosts;
use crate::proxy::listener::Handler;

/// Whether the gateway can serve, and if not, why.
pub trait Readiness: Send + Sync {
    /// What is missing, in words for the operator; nothing when ready.
    fn missing(&self) -> Vec<String>;
    /// What is not as it should be without keeping the gateway from serving, in words for the operator.
    fn notes(&self) -> Vec<String>;
    /// Called before metrics are read, for gauges that are computed.
    fn observe(&self, metrics: &Metrics);
}

/// Answers probes and scrapes.
pub struct Admin {
    metrics: Arc<Metrics>,
    readiness: Arc<dyn Readiness>,
    hosts: Hosts,
}

impl Admin {
    /// An admin application over these metrics and this readiness, under these names.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, readiness: Arc<dyn Readiness>, hosts: Hosts) -> Self {
        Self { metrics, readiness, hosts }
    }

    fn ready(&self) -> Response<Bytes> {
        let missing = self.readiness.missing();
        if missing.is_empty() {
            let notes = self.readiness.notes().into_iter().map(|note| format!("{note}\n"));
            return text(StatusCode::OK, format!("ready\n{}", notes.collect::<String>()));
        }
        text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; ")))
    }

    fn scrape(&self) -> Response<Bytes> {
        self.readiness.observe(&self.metrics);
        self.metrics.observe_ready(self.readiness.missing().is_empty());
        match self.metrics.encode() {
            Ok(body) => typed(StatusCode::OK, body, "text/plain; version=0.0.4; charset=utf-8"),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n".to_owned())
            }
        }
    }
}

#[async_trait]
impl Handler for Admin {
    async fn handle(&self, exchange: &mut Exchange) -> Result<(), Gone> {
        let answer = self.answer(exchange);
        exchange.answer(answer).await
    }
}

impl Admin {
    fn answer(&self, exchange: &Exchange) -> Response<Bytes> {
        if !self.hosts.knows(exchange.host()) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "not a name of this listener; see `server.admin_hosts`\n".to_owned(),
            );
        }
        if !is_own_page(exchange) {
            return text(StatusCode::FORBIDDEN, "a page of another origin\n".to_owned());
        }
        if *exchange.method() != Method::GET && *exchange.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
        }
        match exchange.path() {
            "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
            "/readyz" => self.ready(),
            "/metrics" => self.scrape(),
            _ => text(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n".to_owned()),
        }
    }
}

/// No page at all, or one that came from this very listener; whose names it has is known by then.
fn is_own_page(exchange: &Exchange) -> bool {
    if !exchange.headers().contains_key(header::ORIGIN) {
        return true;
    }
    let origin = exchange.header(&header::ORIGIN).and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && host == exchange.host())
}

fn text(status: StatusCode, body: String) -> Response<Bytes> {
    typed(status, body.into_bytes(), "text/plain; charset=utf-8")
}

fn typed(status: StatusCode, body: Vec<u8>, content_type: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
