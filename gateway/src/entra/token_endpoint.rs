//! Entra's token endpoint (RFC 6749 section 3.2): one form out, one JSON object back, bounded in size, time and number.
//!
//! What comes back is taken apart here and judged elsewhere. No `resource` and no `Origin` are ever sent: Entra refuses
//! both.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::cloud::Authority;
use super::credential::Credential;
use super::errors;
use super::failure::EntraError;
use crate::clock::{Clock, Stopwatch};
use crate::json;
use crate::metrics::Metrics;

/// Tokens of Entra are long, but not this long.
const MAX_ANSWER: usize = 256 * 1024;
/// More than this many do not wait for Entra at once: the next one is told to come back.
const MAX_WAITING: usize = 256;

/// The endpoint, asked as one app registration.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    authority: Authority,
    client_id: String,
    credential: Credential,
    http: reqwest::Client,
    waiting: Semaphore,
    clock: Arc<dyn Clock>,
    metrics: Option<Arc<Metrics>>,
}

/// What it gave. Does not print.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) id_token: Option<String>,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    #[serde(default)]
    pub(super) expires_in: u64,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
    claims: Option<serde_json::Value>,
}

impl TokenEndpoint {
    /// The endpoint of this authority, asked with this credential; `http` has the deadlines.
    pub(super) fn new(
        authority: Authority,
        client_id: String,
        credential: Credential,
        http: reqwest::Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { authority, client_id, credential, http, waiting: Semaphore::new(MAX_WAITING), clock, metrics: None }
    }

    /// Counts what it answers here, from now on.
    pub(super) fn observe(&mut self, metrics: Arc<Metrics>) {
        self.metrics = Some(metrics);
    }

    /// Asks the endpoint of this directory, or the one of several directories.
    pub(super) async fn ask(&self, tenant: Option<&str>, fields: &[(&str, &str)]) -> Result<Tokens, EntraError> {
        let started = Stopwatch::start();
        let result = self.exchange(tenant, fields).await;
        if let Some(metrics) = &self.metrics {
            let outcome = result.as_ref().err().map_or("ok", EntraError::label);
            metrics.identity.asked_entra(grant(fields), outcome, started.elapsed());
            if let Some(code) = result.as_ref().err().and_then(EntraError::code) {
                metrics.identity.entra_refused(errors::has_advice(code).then_some(code));
            }
        }
        result
    }

    async fn exchange(&self, tenant: Option<&str>, fields: &[(&str, &str)]) -> Result<Tokens, EntraError> {
        let unavailable = |error: reqwest::Error| EntraError::Unavailable(error.without_url().to_string());
        let full = |_full| EntraError::Unavailable("too many requests wait for it".to_owned());
        let _place = self.waiting.try_acquire().map_err(full)?;
        let url = self.authority.token(tenant);
        let proof = self.credential.fields(&self.client_id, &url, self.clock.now())?;
        let form = {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("client_id", &self.client_id).extend_pairs(fields).extend_pairs(proof);
            form.finish()
        };
        let request = self.http.post(&url).header("content-type", "application/x-www-form-urlencoded");
        let response = request.body(form).send().await.map_err(unavailable)?;
        let status = response.status();
        let body = read(response).await?;
        let text = std::str::from_utf8(&body).ok().filter(|text| json::check(text, json::MAX_DEPTH).is_ok());
        // A page instead of JSON is what an overloaded front sends.
        let unreadable = || EntraError::Unavailable(format!("status {} and no JSON", status.as_u16()));
        let text = text.ok_or_else(unreadable)?;
        if status == StatusCode::OK {
            return serde_json::from_str(text).map_err(|_error| unreadable());
        }
        let refusal: Refusal = serde_json::from_str(text).map_err(|_error| unreadable())?;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(EntraError::Unavailable(format!("status {}", status.as_u16())));
        }
        if refusal.claims.is_some() {
            tracing::warn!("the identity provider asks for a stronger sign-in (Conditional Access)");
        }
        Err(EntraError::answered(&refusal.error, &refusal.error_description))
    }
}

/// What is asked for, of a closed set.
fn grant(fields: &[(&str, &str)]) -> &'static str {
    match fields.iter().find(|(name, _)| *name == "grant_type").map(|(_, value)| *value) {
        Some("authorization_code") => "authorization_code",
        Some("refresh_token") => "refresh_token",
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => "on_behalf_of",
        _ => "other",
    }
}

async fn read(mut response: reqwest::Response) -> Result<Bytes, EntraError> {
    let mut body = BytesMut::new();
    let broken = |error: reqwest::Error| EntraError::Unavailable(error.without_url().to_string());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(EntraError::Unacceptable("it is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
