//! Back from the identity provider (`/auth/callback`, the one registered redirect URI).
//!
//! The login is taken, whatever comes of it; the browser must be the one that consented; then the code of the
//! identity provider is traded and a code of our own goes to the client.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;

use super::authorize::back;
use super::consent::{binding, cookie_name, set_cookie};
use super::error::PageError;
use super::form::Parameters;
use super::{CODE_LIFETIME, State as Server, secret};
use crate::entra::{EntraError, SignedIn, errors};
use crate::store::{CodeRecord, Digest256, Grant, Login};

pub(super) async fn arrive(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let malformed = PageError::BadRequest("The answer of the identity provider cannot be read.");
    let parameters = Parameters::parse(&query.unwrap_or_default()).map_err(|_malformed| malformed)?;
    let state = parameters.get("state").ok_or(PageError::LoginOver)?;
    let taken = server.store.take_login(Digest256::of(state), server.clock.now()).await?;
    let login = taken.ok_or(PageError::LoginOver)?;
    if !is_same_browser(&server, &headers, state, &login) {
        tracing::warn!(client = %login.client_id, "a login came back in another browser and was ended");
        return Err(PageError::OtherBrowser);
    }
    let mut response = match (parameters.get("code"), parameters.get("error")) {
        (Some(code), None) => finish(&server, &login, code).await?,
        (None, Some(error)) => {
            let code = errors::code(parameters.get("error_description").unwrap_or_default());
            failed(&server, &login, &EntraError::Refused { error: known(error).to_owned(), code })
        }
        _ => return Err(malformed),
    };
    if let Ok(gone) = HeaderValue::from_str(&set_cookie(&server, state, "", 0)) {
        response.headers_mut().append(header::SET_COOKIE, gone);
    }
    Ok(response)
}

/// Whether exactly one cookie of this login came, with the value that consent gave out.
fn is_same_browser(server: &Server, headers: &HeaderMap, state: &str, login: &Login) -> bool {
    let Some(expected) = &login.binding else { return false };
    let name = cookie_name(server, state);
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let values: Vec<&str> = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).collect();
    match values.as_slice() {
        [value] => bool::from(binding(value).as_bytes().ct_eq(expected.as_bytes())),
        _ => false,
    }
}

async fn finish(server: &Server, login: &Login, code: &str) -> Result<Response, PageError> {
    let (Some(nonce), Some(verifier)) = (&login.nonce, &login.verifier) else { return Err(PageError::LoginOver) };
    match server.entra.arrive(code.to_owned(), nonce, verifier.clone()).await {
        Ok(signed_in) => issue(server, login, signed_in).await,
        Err(error) => Ok(failed(server, login, &error)),
    }
}

async fn issue(server: &Server, login: &Login, signed_in: SignedIn) -> Result<Response, PageError> {
    let SignedIn { identity, refresh_token } = signed_in;
    let id = uuid::Uuid::new_v4().to_string();
    let client = server.store.client(&login.client_id).await?.ok_or(PageError::LoginOver)?;
    let upstream = match refresh_token {
        Some(token) => Some(server.sealer.seal(&upstream_binding(&id), token.as_bytes()).map_err(|error| {
            tracing::error!(%error, "the identity provider's token cannot be sealed");
            PageError::Unavailable
        })?),
        None => None,
    };
    let grant = Grant {
        id,
        client_id: login.client_id.clone(),
        resource: login.resource.clone(),
        scopes: login.scopes.clone(),
        tid: identity.tid,
        oid: identity.oid,
        roles: identity.roles,
        groups: identity.groups,
        may_refresh: client.may_refresh && upstream.is_some(),
        upstream,
    };
    let record = CodeRecord {
        client_id: login.client_id.clone(),
        redirect_uri: login.redirect_uri.clone(),
        code_challenge: login.code_challenge.clone(),
        resource: login.resource.clone(),
    };
    let code = secret();
    let expires = server.clock.now().plus(CODE_LIFETIME);
    server.store.issue_code(Digest256::of(&code), &record, &grant, expires).await?;
    tracing::info!(subject = %grant.oid, tenant = %grant.tid, client = %grant.client_id, "signed in");
    Ok(back(server, &login.redirect_uri, login.state.as_deref(), &[("code", &code)]))
}

/// What an upstream token is sealed for.
pub(super) fn upstream_binding(grant_id: &str) -> Vec<u8> {
    [b"upstream-refresh-token:".as_slice(), grant_id.as_bytes()].concat()
}

/// The client learns that it failed; the words are ours, never the identity provider's.
fn failed(server: &Server, login: &Login, error: &EntraError) -> Response {
    let (code, text) = match error {
        EntraError::Refused { code, .. } => {
            let advice = errors::find(*code);
            tracing::warn!(client = %login.client_id, %error, advice = advice.operator, "a sign-in was refused");
            ("access_denied", advice.user)
        }
        EntraError::Unavailable(_) => {
            tracing::error!(client = %login.client_id, %error, "a sign-in failed");
            ("temporarily_unavailable", "The identity provider does not answer. Please try again in a moment.")
        }
        EntraError::Unacceptable(_) | EntraError::Setup(_) => {
            tracing::error!(client = %login.client_id, %error, "a sign-in failed");
            ("server_error", "Signing in failed. Please tell your administrator.")
        }
    };
    back(server, &login.redirect_uri, login.state.as_deref(), &[("error", code), ("error_description", text)])
}

/// Error codes that may stand in a log as they are.
fn known(error: &str) -> &'static str {
    const KNOWN: [&str; 8] = [
        "access_denied", "login_required", "interaction_required", "consent_required", "invalid_request",
        "server_error", "temporarily_unavailable", "invalid_client",
    ];
    KNOWN.into_iter().find(|known| *known == error).unwrap_or("another error")
}
