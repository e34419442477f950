//! The token endpoint (OAuth 2.1 section 3.2).
//!
//! Trades a code for tokens, once; refresh tokens are next door (`refresh`). Knows nothing of browsers or of the identity
//! provider: by the time a code exists, the person has signed in (`callback`).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

use super::error::OAuthError;
use super::form::{self, Parameters};
use super::{
    State as Server, client_auth, client_credentials, device, identity_assertion, refresh, refused, secret, step_up,
};
use crate::audit::{Authorization, Step};
use crate::jose::access_token::{AccessTokenClaims, IdType};
use crate::store::{Client, Digest256, Grant, Presented, Redemption, Refused};
use crate::subject;

pub(super) async fn token(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let parameters = form::read(&headers, query.as_deref(), &body)?;
    let known = client_auth::authenticate(&server, &headers, &parameters).await?;
    match parameters.get("grant_type") {
        Some("authorization_code") if !known.may_use_codes() => {
            refused::because("the client may not use codes, or may not any more");
            Err(OAuthError::UnauthorizedClient)
        }
        Some("authorization_code") => by_code(&server, &known.client, &parameters).await,
        Some("refresh_token") => refresh::by_refresh_token(&server, &known.client, &parameters).await,
        Some(device::GRANT) => device::by_device_code(&server, &known, &parameters).await,
        Some(identity_assertion::GRANT) => identity_assertion::by_assertion(&server, &known, &parameters).await,
        Some("client_credentials") => client_credentials::by_client(&server, &known, &parameters),
        Some(_) => Err(OAuthError::UnsupportedGrantType),
        None => Err(OAuthError::InvalidRequest("grant_type is missing")),
    }
}

async fn by_code(server: &Server, client: &Client, parameters: &Parameters) -> Result<Response, OAuthError> {
    let code = parameters.get("code").ok_or(OAuthError::InvalidRequest("code is missing"))?;
    refused::by(&client.client_id);
    let verifier = parameters.get("code_verifier").filter(|text| is_verifier(text));
    let verifier = verifier.ok_or_else(|| invalid_grant("the code_verifier is missing or malformed"))?;
    let resource = resource(server, parameters)?;
    let presented = Presented {
        client_id: &client.client_id,
        redirect_uri: parameters.get("redirect_uri"),
        code_verifier: Some(verifier),
        resource: resource.as_deref(),
    };
    match redeem(server, Digest256::of(code), &presented).await? {
        Some(grant) => first_tokens(server, &grant).await,
        None => Err(invalid_grant(NO_CODE)),
    }
}

/// Why a code is good for nothing that nobody knows.
pub(super) const NO_CODE: &str = "the code is not known, or is over";

/// What is told of a grant that is not good; why goes to the log and the trail.
pub(super) fn invalid_grant(why: &str) -> OAuthError {
    refused::because(why);
    OAuthError::InvalidGrant
}

/// Spends a code; `None` where there is none, or it is over.
pub(super) async fn redeem(
    server: &Server,
    code: Digest256,
    presented: &Presented<'_>,
) -> Result<Option<Grant>, OAuthError> {
    match server.store.redeem_code(code, presented, server.clock.now()).await? {
        Redemption::Spent(spent) => Ok(Some(spent.into_grant())),
        Redemption::Refused(Refused::Target) => Err(OAuthError::InvalidTarget),
        Redemption::Replayed => {
            tracing::warn!(client = %presented.client_id, "a code was redeemed twice; its grant is revoked");
            let step = Authorization::new(Step::GrantRevoked, presented.client_id);
            // It has ended, and the code is refused, whether that can be recorded or not.
            let _ = server.record(step.because("a code was redeemed twice"));
            Err(invalid_grant("the code was redeemed before"))
        }
        Redemption::Refused(Refused::Grant) => {
            Err(invalid_grant("the code was given to another client, or for another redirect URI or verifier"))
        }
        Redemption::Unknown => Ok(None),
    }
}

/// The first tokens of a grant whose code was spent.
pub(super) async fn first_tokens(server: &Server, grant: &Grant) -> Result<Response, OAuthError> {
    // The sign-in was a minute ago at most; what it is no longer enough for is asked for anew.
    if step_up::covered(server, grant, &grant.scopes, server.clock.now()) != grant.scopes {
        return Err(invalid_grant("the sign-in is not enough for the scopes any more"));
    }
    let refresh_token = if grant.may_refresh {
        let token = secret();
        let expires = server.clock.now().plus(server.settings.refresh_token_lifetime);
        server.store.begin_refresh(Digest256::of(&token), &grant.id, expires).await?;
        Some(token)
    } else {
        None
    };
    if !server.record(Authorization::of(Step::TokensIssued, grant)) {
        return Err(OAuthError::TemporarilyUnavailable);
    }
    answer(server, grant, IdType::User, &grant.scopes, refresh_token)
}

/// RFC 7636 section 4.1.
pub(super) fn is_verifier(text: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// The canonical form of the `resource` parameter.
pub(super) fn resource(server: &Server, parameters: &Parameters) -> Result<Option<String>, OAuthError> {
    match parameters.get("resource") {
        Some(url) => Ok(Some(server.resource(url).ok_or(OAuthError::InvalidTarget)?.url.clone())),
        None => Ok(None),
    }
}

pub(super) fn answer(
    server: &Server,
    grant: &Grant,
    idtyp: IdType,
    scopes: &[String],
    refresh_token: Option<String>,
) -> Result<Response, OAuthError> {
    let now = server.clock.now();
    let scopes = step_up::covered(server, grant, scopes, now);
    let lifetime = step_up::lifetime(server, grant, &scopes, now);
    let scope = scopes.join(" ");
    let claims = AccessTokenClaims {
        iss: server.settings.issuer.clone(),
        aud: grant.resource.clone(),
        sub: subject::name(&grant.tid, &grant.oid),
        client_id: grant.client_id.clone(),
        jti: uuid::Uuid::new_v4().to_string(),
        iat: now.as_secs(),
        exp: now.plus(lifetime).as_secs(),
        scope: scope.clone(),
        tid: grant.tid.clone(),
        oid: grant.oid.clone(),
        idtyp,
        grant_id: grant.id.clone(),
        roles: grant.roles.clone(),
        groups: grant.groups.clone(),
        auth_time: grant.auth_time,
        acrs: grant.acrs.clone(),
        guest: Some(grant.guest),
        claims: grant.claims.clone(),
    };
    let access_token = claims.mint(server.signing_keys.signer()).map_err(|error| {
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
    Ok(response)
}
