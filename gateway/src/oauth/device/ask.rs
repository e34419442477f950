//! `POST /device_authorization` (RFC 8628 section 3.1): a device asks to be let in.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

use super::super::error::OAuthError;
use super::super::{State as Server, client_auth, form, scope, secret};
use super::{INTERVAL, LIFETIME, shown, ticket, user_code};
use crate::limit::ClientAddress;
use crate::store::{Digest256, Login, Waiting, Way};

pub(in crate::oauth) async fn ask(
    State(server): State<Arc<Server>>,
    address: Option<Extension<ClientAddress>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let parameters = form::read(&headers, query.as_deref(), &body)?;
    let known = client_auth::authenticate(&server, &headers, &parameters).await?;
    if !known.client.device {
        return Err(OAuthError::UnauthorizedClient);
    }
    let resource = match parameters.get("resource") {
        Some(url) => server.resource(url),
        None => server.default_resource(),
    };
    let resource = resource.ok_or(OAuthError::InvalidTarget)?;
    let scopes = scope::granted(parameters.get("scope"), resource, &server.settings.resources)
        .map_err(|()| OAuthError::InvalidScope)?;
    let (device_code, code) = (secret(), user_code());
    let name = Digest256::of(&device_code);
    let now = server.clock.now();
    let waiting = Waiting {
        name: URL_SAFE_NO_PAD.encode(name.as_bytes()),
        ticket: URL_SAFE_NO_PAD.encode(ticket(&code).as_bytes()),
        asked_from: address.map_or_else(|| "an unknown address".to_owned(), |Extension(address)| address.to_string()),
        asked_at: now.as_secs(),
        elsewhere: true,
    };
    let login = request(&known.client.client_id, &resource.url, scopes, waiting);
    let expires = now.plus(LIFETIME);
    server.store.begin_login(name, &login, expires).await?;
    server.store.begin_login(ticket(&code), &login, expires).await?;
    tracing::info!(client = %known.client.client_id, "a device asks to be let in");
    let (issuer, code) = (&server.settings.issuer, shown(&code));
    let answer = json!({
        "device_code": device_code,
        "user_code": code,
        "verification_uri": format!("{issuer}/device"),
        "verification_uri_complete": format!("{issuer}/device?user_code={code}"),
        "expires_in": LIFETIME.as_secs(),
        "interval": INTERVAL.as_secs(),
    });
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What consent and sign-in are about, when somebody enters the code.
fn request(client_id: &str, resource: &str, scopes: Vec<String>, waiting: Waiting) -> Login {
    Login {
        client_id: client_id.to_owned(),
        document: None,
        redirect_uri: String::new(),
        state: None,
        code_challenge: None,
        resource: resource.to_owned(),
        scopes,
        hints: Vec::new(),
        csrf: String::new(),
        binding: None,
        nonce: None,
        verifier: None,
        remember: false,
        remembered_of: None,
        way: Way::Device(waiting),
    }
}
