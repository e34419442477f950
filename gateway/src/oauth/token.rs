//! The token endpoint (OAuth 2.1 section 3.2).
//!
//! Trades a code or a refresh token for an access token, once. A refresh asks the identity provider again who the
//! person is and which roles they have: a role taken away there is gone here when the next access token is made.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

use super::callback::upstream_binding;
use super::error::OAuthError;
use super::form::{self, Parameters};
use super::{State as Server, secret};
use crate::entra::{EntraError, SignedIn};
use crate::jose::access_token::{AccessTokenClaims, IdType};
use crate::store::{Client, Digest256, Grant, Presentation, Presented, Redemption, Refused, Rotation};

pub(super) async fn token(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    if !form::is_form(&headers) {
        return Err(OAuthError::InvalidRequest("The body must be application/x-www-form-urlencoded"));
    }
    let malformed = OAuthError::InvalidRequest("A parameter is there twice, or too long");
    let body = std::str::from_utf8(&body).map_err(|_error| malformed)?;
    let parameters = Parameters::parse(body).map_err(|_malformed| malformed)?;
    let client = client(&server, &headers, &parameters).await?;
    match parameters.get("grant_type") {
        Some("authorization_code") => by_code(&server, &client, &parameters).await,
        Some("refresh_token") => by_refresh_token(&server, &client, &parameters).await,
        Some(_) => Err(OAuthError::UnsupportedGrantType),
        None => Err(OAuthError::InvalidRequest("grant_type is missing")),
    }
}

/// The client that asks: public, so its id is all it shows.
async fn client(server: &Server, headers: &HeaderMap, parameters: &Parameters) -> Result<Client, OAuthError> {
    let secrets = ["client_secret", "client_assertion", "client_assertion_type"];
    if headers.contains_key(header::AUTHORIZATION) || secrets.iter().any(|name| parameters.get(name).is_some()) {
        return Err(OAuthError::InvalidClient("Clients here are public and send no credential"));
    }
    let id = parameters.get("client_id").ok_or(OAuthError::InvalidRequest("client_id is missing"))?;
    server.store.client(id).await?.ok_or(OAuthError::InvalidClient("The client is not registered"))
}

async fn by_code(server: &Server, client: &Client, parameters: &Parameters) -> Result<Response, OAuthError> {
    let code = parameters.get("code").ok_or(OAuthError::InvalidRequest("code is missing"))?;
    let verifier = parameters.get("code_verifier").filter(|text| is_verifier(text)).ok_or(OAuthError::InvalidGrant)?;
    let redirect_uri = parameters.get("redirect_uri").ok_or(OAuthError::InvalidGrant)?;
    let resource = resource(server, parameters)?;
    let presented =
        Presented { client_id: &client.client_id, redirect_uri, code_verifier: verifier, resource: resource.as_deref() };
    let grant = match server.store.redeem_code(Digest256::of(code), &presented, server.clock.now()).await? {
        Redemption::Spent(spent) => spent.into_grant(),
        Redemption::Refused(Refused::Target) => return Err(OAuthError::InvalidTarget),
        Redemption::Replayed => {
            tracing::warn!(client = %client.client_id, "a code was redeemed twice; its grant is revoked");
            return Err(OAuthError::InvalidGrant);
        }
        Redemption::Unknown | Redemption::Refused(Refused::Grant) => return Err(OAuthError::InvalidGrant),
    };
    let refresh_token = if grant.may_refresh {
        let token = secret();
        let expires = server.clock.now().plus(server.settings.refresh_token_lifetime);
        server.store.begin_refresh(Digest256::of(&token), &grant.id, expires).await?;
        Some(token)
    } else {
        None
    };
    answer(server, &grant, refresh_token)
}

/// RFC 7636 section 4.1.
fn is_verifier(text: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// The canonical form of the `resource` parameter.
fn resource(server: &Server, parameters: &Parameters) -> Result<Option<String>, OAuthError> {
    match parameters.get("resource") {
        Some(url) => Ok(Some(server.resource(url).ok_or(OAuthError::InvalidTarget)?.url.clone())),
        None => Ok(None),
    }
}

async fn by_refresh_token(server: &Server, client: &Client, parameters: &Parameters) -> Result<Response, OAuthError> {
    let token = parameters.get("refresh_token").ok_or(OAuthError::InvalidRequest("refresh_token is missing"))?;
    let digest = Digest256::of(token);
    let grant = present(server, client, digest).await?;
    let asked = resource(server, parameters)?;
    if asked.is_some_and(|asked| asked != grant.resource) {
        return Err(OAuthError::InvalidTarget);
    }
    let lock = server.refreshing.get_with(grant.id.clone(), Arc::default);
    let _turn = lock.lock().await;
    // Whoever waited may find the token used meanwhile.
    let mut grant = present(server, client, digest).await?;
    narrow(&mut grant, parameters.get("scope"))?;
    let grant = ask_again(server, grant).await?;
    let successor = secret();
    let expires = server.clock.now().plus(server.settings.refresh_token_lifetime);
    match server.store.rotate_refresh_token(digest, Digest256::of(&successor), &grant, expires).await? {
        Rotation::Done => answer(server, &grant, Some(successor)),
        Rotation::Reused => Err(OAuthError::InvalidGrant),
    }
}

async fn present(server: &Server, client: &Client, digest: Digest256) -> Result<Grant, OAuthError> {
    match server.store.present_refresh_token(digest, &client.client_id, server.clock.now()).await? {
        Presentation::Current(grant) => Ok(*grant),
        Presentation::Unknown => Err(OAuthError::InvalidGrant),
        Presentation::Reused => {
            tracing::warn!(client = %client.client_id, "a refresh token was used twice; its grant is revoked");
            Err(OAuthError::InvalidGrant)
        }
    }
}

/// A refresh may ask for less, never for more (RFC 6749 section 6).
fn narrow(grant: &mut Grant, requested: Option<&str>) -> Result<(), OAuthError> {
    let Some(requested) = requested else { return Ok(()) };
    let reserved = ["openid", "profile", "email", "offline_access"];
    let asked: Vec<&str> = requested.split(' ').filter(|name| !name.is_empty() && !reserved.contains(name)).collect();
    if asked.iter().any(|name| !grant.scopes.iter().any(|scope| scope == name)) {
        return Err(OAuthError::InvalidScope);
    }
    if !asked.is_empty() {
        grant.scopes.retain(|scope| asked.contains(&scope.as_str()));
    }
    Ok(())
}

/// Reads the person's roles again at the identity provider. A refusal there ends the grant here; silence does not.
async fn ask_again(server: &Server, grant: Grant) -> Result<Grant, OAuthError> {
    let binding = upstream_binding(&grant.id);
    let sealed = grant.upstream.as_deref().ok_or(OAuthError::InvalidGrant)?;
    let upstream = server.sealer.open(&binding, sealed).map_err(|error| {
        tracing::error!(%error, "the identity provider's token cannot be opened");
        OAuthError::TemporarilyUnavailable
    })?;
    let upstream = String::from_utf8(upstream).map_err(|_error| OAuthError::InvalidGrant)?;
    match server.entra.refresh(upstream).await {
        Ok(SignedIn { identity, refresh_token }) => {
            if identity.tid != grant.tid || identity.oid != grant.oid {
                tracing::error!(grant = %grant.id, "the identity provider refreshed another person; the grant is revoked");
                server.store.revoke_grant(&grant.id).await?;
                return Err(OAuthError::InvalidGrant);
            }
            let upstream = match refresh_token {
                Some(token) => server.sealer.seal(&binding, token.as_bytes()).ok(),
                None => grant.upstream.clone(),
            };
            Ok(Grant { roles: identity.roles, groups: identity.groups, upstream, ..grant })
        }
        Err(EntraError::Unavailable(why)) => {
            tracing::error!(%why, "roles cannot be read again; the refresh token stays good");
            Err(OAuthError::TemporarilyUnavailable)
        }
        Err(error) => {
            tracing::warn!(%error, subject = %grant.oid, "the identity provider ended a grant");
            server.store.revoke_grant(&grant.id).await?;
            Err(OAuthError::InvalidGrant)
        }
    }
}

fn answer(server: &Server, grant: &Grant, refresh_token: Option<String>) -> Result<Response, OAuthError> {
    let now = server.clock.now();
    let lifetime = server.settings.access_token_lifetime;
    let scope = grant.scopes.join(" ");
    let claims = AccessTokenClaims {
        iss: server.settings.issuer.clone(),
        aud: grant.resource.clone(),
        sub: format!("{}:{}", grant.tid, grant.oid),
        client_id: grant.client_id.clone(),
        jti: uuid::Uuid::new_v4().to_string(),
        iat: now.as_secs(),
        exp: now.plus(lifetime).as_secs(),
        scope: scope.clone(),
        tid: grant.tid.clone(),
        oid: grant.oid.clone(),
        idtyp: IdType::User,
        roles: grant.roles.clone(),
        groups: grant.groups.clone(),
        auth_time: None,
        acrs: Vec::new(),
    };
    let access_token = claims.mint(&server.signing_key).map_err(|error| {
        tracing::error!(%error, "an access token cannot be signed");
        OAuthError::TemporarilyUnavailable
    })?;
    let mut body = json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "scope": scope,
    });
    if let (Some(token), Some(members)) = (refresh_token, body.as_object_mut()) {
        members.insert("refresh_token".to_owned(), token.into());
    }
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}
