//! How often an address may ask the endpoints that cost something: `/authorize`, `/register`, `/token`, and the plain
//! ones that do the same work.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use prometheus::IntCounterVec;
use serde_json::json;

use super::page;
use crate::limit::{ClientAddress, Endpoint, Rates, TooOften};

/// The limits of the endpoints.
#[derive(Debug, Default)]
pub struct Limits {
    authorize: Endpoint,
    register: Endpoint,
    token: Endpoint,
    device: Endpoint,
    refused: Option<IntCounterVec>,
}

impl Limits {
    /// Limits of these rates; what they refuse is counted.
    #[must_use]
    pub fn new(rates: &Rates, refused: IntCounterVec) -> Self {
        Self {
            authorize: Endpoint::new(rates.authorize),
            register: Endpoint::new(rates.register),
            token: Endpoint::new(rates.token),
            device: Endpoint::new(rates.device),
            refused: Some(refused),
        }
    }

    fn of(&self, path: &str) -> Option<(&'static str, &Endpoint)> {
        match path {
            "/authorize" | "/auth/authorize" | "/auth/login" => Some(("authorize", &self.authorize)),
            "/register" => Some(("register", &self.register)),
            "/token" | "/auth/exchange" | "/auth/refresh" | "/auth/logout" => Some(("token", &self.token)),
            "/device_authorization" => Some(("device", &self.device)),
            "/device" => Some((DEVICE_PAGE, &self.device)),
            _ => None,
        }
    }
}

/// Where codes are entered, which are short: what is counted there are tries.
const DEVICE_PAGE: &str = "device_page";

/// Lets a request through when its address may ask now.
pub(super) async fn check(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let Some((name, endpoint)) = limits.of(request.uri().path()) else { return next.run(request).await };
    let address = request.extensions().get().copied().unwrap_or_else(ClientAddress::unknown);
    match endpoint.check(address) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            if let Some(refused) = &limits.refused {
                refused.with_label_values(&[name]).inc();
            }
            tracing::info!(endpoint = name, "an address asks too often");
            too_often(name, wait)
        }
    }
}

/// A page for who sees one, and RFC 6749's shape for the others.
fn too_often(endpoint: &str, wait: TooOften) -> Response {
    const TEXT: &str = "Too many requests. Please try again in a moment.";
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = if matches!(endpoint, "authorize" | DEVICE_PAGE) {
        page::error(status, "Please wait", TEXT)
    } else {
        (status, Json(json!({ "error": "temporarily_unavailable", "error_description": TEXT }))).into_response()
    };
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.seconds()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
