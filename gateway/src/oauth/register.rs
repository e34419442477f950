//! Dynamic client registration (RFC 7591): public clients, with redirect URIs that lead to nobody else.
//!
//! Nobody gets a secret here. Clients that ask for one, as several do whatever the metadata says, are registered as public
//! and told so (section 3.2.1); PKCE is what ties their codes to them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::error::OAuthError;
use super::{State as Server, device, outcome, redirect_uri};
use crate::audit::{Authorization, Step};
use crate::json::{self, MAX_DEPTH};
use crate::store::Client;

const MAX_REDIRECT_URIS: usize = 10;
const MAX_NAME: usize = 200;
/// Ways to authenticate that a client may ask for; the answer says `none` to each. One with keys would have to be believed
/// to hold them.
const METHODS: [&str; 3] = ["none", "client_secret_post", "client_secret_basic"];

/// What is looked at; everything else is ignored (section 2), and nothing is fetched.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    redirect_uris: Vec<String>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    application_type: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    tos_uri: Option<String>,
    policy_uri: Option<String>,
}

pub(super) async fn register(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(OAuthError::InvalidRequest("The body must be application/json"));
    }
    let client = client(&body, &server)?;
    let redirect_hosts = outcome::hosts(&client.redirect_uris);
    let step = Authorization::new(Step::ClientRegistered, &client.client_id);
    if !server.record(Authorization { name: client.client_name.clone(), redirect_hosts, ..step }) {
        return Err(OAuthError::TemporarilyUnavailable);
    }
    server.store.register_client(&client).await?;
    tracing::info!(client = %client.client_id, name = ?client.client_name, "a client registered");
    let code = !client.redirect_uris.is_empty();
    let grants = [("authorization_code", code), (device::GRANT, client.device), ("refresh_token", client.may_refresh)];
    let grants: Vec<&str> = grants.into_iter().filter_map(|(grant, has)| has.then_some(grant)).collect();
    let responses: &[&str] = if code { &["code"] } else { &[] };
    let answer = json!({
        "client_id": client.client_id,
        "client_id_issued_at": client.registered_at,
        "client_name": client.client_name,
        "redirect_uris": client.redirect_uris,
        "application_type": client.application_type,
        "token_endpoint_auth_method": "none",
        "grant_types": grants,
        "response_types": responses,
    });
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn client(body: &[u8], server: &Server) -> Result<Client, OAuthError> {
    let malformed = OAuthError::InvalidClientMetadata("The metadata is not a JSON object with redirect_uris");
    let text = std::str::from_utf8(body).map_err(|_error| malformed)?;
    json::check(text, MAX_DEPTH).map_err(|_error| malformed)?;
    let metadata: Metadata = serde_json::from_str(text).map_err(|_error| malformed)?;
    let grants = grants(server, metadata.grant_types)?;
    let has = |wanted: &str| grants.iter().any(|grant| grant == wanted);
    // Who is let in by a device's code only is sent back to nowhere.
    let none = metadata.redirect_uris.is_empty() && has("authorization_code");
    if none || metadata.redirect_uris.len() > MAX_REDIRECT_URIS {
        return Err(OAuthError::InvalidRedirectUri("One to ten redirect URIs are needed"));
    }
    for uri in &metadata.redirect_uris {
        redirect_uri::check(uri, &server.settings.own()).map_err(OAuthError::InvalidRedirectUri)?;
    }
    let redirect_uris = if has("authorization_code") { allowed(server, metadata.redirect_uris)? } else { Vec::new() };
    if metadata.token_endpoint_auth_method.as_deref().is_some_and(|method| !METHODS.contains(&method)) {
        return Err(OAuthError::InvalidClientMetadata("Clients are public: token_endpoint_auth_method is none"));
    }
    if metadata.response_types.iter().flatten().any(|kind| kind != "code") {
        return Err(OAuthError::InvalidClientMetadata("The only response type is code"));
    }
    let links = [&metadata.client_uri, &metadata.logo_uri, &metadata.tos_uri, &metadata.policy_uri];
    if links.into_iter().flatten().any(|link| !link.starts_with("https://") && !link.starts_with("http://")) {
        return Err(OAuthError::InvalidClientMetadata("Links are https or http"));
    }
    let application_type = metadata.application_type.unwrap_or_else(|| "native".to_owned());
    if !matches!(application_type.as_str(), "native" | "web") {
        return Err(OAuthError::InvalidClientMetadata("The application type is native or web"));
    }
    if metadata.client_name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME) {
        return Err(OAuthError::InvalidClientMetadata("The client's name is too long"));
    }
    Ok(Client {
        client_id: uuid::Uuid::new_v4().to_string(),
        client_name: metadata.client_name,
        redirect_uris,
        application_type,
        may_refresh: has("refresh_token"),
        device: has(device::GRANT),
        registered_at: server.clock.now().as_secs(),
        keys: None,
    })
}

/// The grant types that a client asks for; one of them has to begin something.
fn grants(server: &Server, asked: Option<Vec<String>>) -> Result<Vec<String>, OAuthError> {
    let grants = asked.unwrap_or_else(|| vec!["authorization_code".to_owned()]);
    let device = server.settings.device_authorization;
    let begins = |grant: &str| grant == "authorization_code" || device && grant == device::GRANT;
    let known = |grant: &str| begins(grant) || grant == "refresh_token";
    if !grants.iter().any(|grant| begins(grant)) || !grants.iter().all(|grant| known(grant)) {
        return Err(OAuthError::InvalidClientMetadata("The grant types are authorization_code and refresh_token"));
    }
    Ok(grants)
}

/// Those that the operator's rules know. Clients register several and use one, so one that is not known spoils nothing.
fn allowed(server: &Server, uris: Vec<String>) -> Result<Vec<String>, OAuthError> {
    let (allowed, others): (Vec<String>, Vec<String>) =
        uris.into_iter().partition(|uri| server.clients.may_redirect_to(uri));
    if !others.is_empty() {
        tracing::warn!(uris = ?others, "redirect URIs were not registered; name their hosts in `oauth.redirect_hosts` if they should be");
    }
    if allowed.is_empty() {
        return Err(OAuthError::InvalidRedirectUri("No redirect URI is to a host that this server allows"));
    }
    Ok(allowed)
}
