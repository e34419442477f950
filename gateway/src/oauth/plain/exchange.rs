//! `POST /auth/exchange`, `/auth/refresh` and `/auth/logout`: what a script does with a code and its tokens.
//!
//! Fields come as a form or as a JSON object of texts. Errors are those of the token endpoint (RFC 6749 section 5.2).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};

use super::super::error::OAuthError;
use super::super::form::{self, Parameters};
use super::super::token::{NO_CODE, first_tokens, invalid_grant, is_verifier, redeem, resource};
use super::super::{State as Server, refresh as refreshing, refused, revoke};
use super::CLIENT;
use crate::store::{Digest256, Presented};

/// `auth_code`, and the `code_verifier` when the login began with a challenge.
pub(super) async fn exchange(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let parameters = form::read_any(&headers, query.as_deref(), &body)?;
    let code = parameters.get("auth_code").ok_or(OAuthError::InvalidRequest("auth_code is missing"))?;
    let verifier = parameters.get("code_verifier");
    refused::by(CLIENT);
    if verifier.is_some_and(|text| !is_verifier(text)) {
        return Err(invalid_grant("the code_verifier is malformed"));
    }
    let resource = resource(&server, &parameters)?;
    let presented =
        Presented { client_id: CLIENT, redirect_uri: Some(""), code_verifier: verifier, resource: resource.as_deref() };
    match redeem(&server, Digest256::of(code), &presented).await? {
        Some(grant) => first_tokens(&server, &grant).await,
        None => Err(invalid_grant(NO_CODE)),
    }
}

/// `refresh_token`, and a narrower `scope` where that is wanted.
pub(super) async fn refresh(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let parameters = form::read_any(&headers, query.as_deref(), &body)?;
    refreshing::by_refresh_token(&server, &super::client(), &parameters).await
}

/// Ends the session of a `token`, which is an access or a refresh token, or the bearer of the request.
pub(super) async fn logout(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, OAuthError> {
    let parameters =
        if body.is_empty() { Parameters::default() } else { form::read_any(&headers, query.as_deref(), &body)? };
    let token = ["token", "refresh_token"].into_iter().find_map(|name| parameters.get(name));
    let token = token.or_else(|| bearer(&headers));
    let token = token.ok_or(OAuthError::InvalidRequest("token is missing"))?;
    revoke::end(&server, token, CLIENT).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bearer of the request, to be verified like any other token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let line = lines.next()?.to_str().ok().filter(|_| lines.next().is_none())?;
    let (scheme, token) = line.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
