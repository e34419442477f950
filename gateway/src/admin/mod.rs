//! The operator's listener: `/livez`, `/readyz` and `/metrics`. Loopback unless configured otherwise; no session
//! data, no secrets, no names of callers.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;

use crate::metrics::Metrics;

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
}

impl Admin {
    /// An admin application over these metrics and this readiness.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, readiness: Arc<dyn Readiness>) -> Self {
        Self { metrics, readiness }
    }

    fn ready(&self) -> Response<Vec<u8>> {
        let missing = self.readiness.missing();
        if missing.is_empty() {
            let notes = self.readiness.notes().into_iter().map(|note| format!("{note}\n"));
            return text(StatusCode::OK, format!("ready\n{}", notes.collect::<String>()));
        }
        text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; ")))
    }

    fn scrape(&self) -> Response<Vec<u8>> {
        self.readiness.observe(&self.metrics);
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
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        if head.method != Method::GET && head.method != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
        }
        match head.uri.path() {
            "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
            "/readyz" => self.ready(),
            "/metrics" => self.scrape(),
            _ => text(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Vec<u8>> {
    typed(status, body.into_bytes(), "text/plain; charset=utf-8")
}

fn typed(status: StatusCode, body: Vec<u8>, content_type: &'static str) -> Response<Vec<u8>> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}
