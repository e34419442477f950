//! The decision of the person in front of the consent page.
//!
//! Approval binds the login to this browser with a cookie that did not exist before, and only then goes to the
//! identity provider. Nothing is remembered.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;

use super::authorize::{back, see_other};
use super::error::PageError;
use super::form::{self, Parameters};
use super::{LOGIN_LIFETIME, State as Server, secret};
use crate::store::{Digest256, Login};

pub(super) async fn decide(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageError> {
    let malformed = PageError::BadRequest("The form is not the one that was shown.");
    if !form::is_form(&headers) || !is_same_origin(&headers, &server) {
        return Err(PageError::OtherBrowser);
    }
    let body = std::str::from_utf8(&body).map_err(|_error| malformed)?;
    let parameters = Parameters::parse(body).map_err(|_malformed| malformed)?;
    let id = Digest256::of(parameters.get("transaction").ok_or(malformed)?);
    let login = server.store.login(id, server.clock.now()).await?.ok_or(PageError::LoginOver)?;
    let csrf = parameters.get("csrf").unwrap_or_default();
    // A login that was approved waits for the callback, not for another decision.
    if login.binding.is_some() || !bool::from(csrf.as_bytes().ct_eq(login.csrf.as_bytes())) {
        return Err(PageError::OtherBrowser);
    }
    let approved = match parameters.get("decision") {
        Some("approve") => true,
        Some("deny") => false,
        _ => return Err(malformed),
    };
    let login = server.store.take_login(id, server.clock.now()).await?.ok_or(PageError::LoginOver)?;
    if approved { depart(&server, login).await } else { Ok(refuse(&server, &login)) }
}

/// A browser says where a form came from; one that says elsewhere is not believed.
fn is_same_origin(headers: &HeaderMap, server: &Server) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text(header::HeaderName::from_static("sec-fetch-site"));
    let origin = text(header::ORIGIN);
    // A form on a page without referrer sends the origin `null`.
    site.is_none_or(|site| matches!(site, "same-origin" | "none"))
        && origin.is_none_or(|origin| origin == server.settings.issuer || origin == "null" && site == Some("same-origin"))
}

fn refuse(server: &Server, login: &Login) -> Response {
    tracing::info!(client = %login.client_id, "consent was refused");
    let answer = [("error", "access_denied"), ("error_description", "The request was declined")];
    back(server, &login.redirect_uri, login.state.as_deref(), &answer)
}

async fn depart(server: &Server, login: Login) -> Result<Response, PageError> {
    let (state, cookie) = (secret(), secret());
    let departure = server.entra.depart(&state, &login.hints);
    let login = Login {
        binding: Some(binding(&cookie)),
        nonce: Some(departure.nonce),
        verifier: Some(departure.verifier),
        ..login
    };
    let expires = server.clock.now().plus(LOGIN_LIFETIME);
    server.store.begin_login(Digest256::of(&state), &login, expires).await?;
    tracing::info!(client = %login.client_id, "consent was given");
    let mut response = see_other(&departure.url);
    let value = set_cookie(server, &state, &cookie, LOGIN_LIFETIME.as_secs());
    let value = HeaderValue::from_str(&value).map_err(|_error| PageError::Unavailable)?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

/// What the store knows of a cookie.
pub(super) fn binding(cookie: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest256::of(cookie).as_bytes())
}

/// One cookie a login, so that two tabs do not disturb each other.
pub(super) fn cookie_name(server: &Server, state: &str) -> String {
    let tag = binding(state).chars().take(12).collect::<String>();
    // `__Host-` needs https, which a loopback gateway does not have.
    let prefix = if server.is_secure() { "__Host-" } else { "" };
    format!("{prefix}portcullis-login-{tag}")
}

/// `lifetime` in seconds; 0 takes the cookie away.
pub(super) fn set_cookie(server: &Server, state: &str, value: &str, lifetime: u64) -> String {
    let secure = if server.is_secure() { "; Secure" } else { "" };
    let name = cookie_name(server, state);
    format!("{name}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Lax{secure}")
}
