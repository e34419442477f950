//! The revocation endpoint (RFC 7009): a client gives a token back, and the grant behind it ends with all its tokens.
//!
//! Whatever is not a token of this client is answered as one that was revoked, and nothing comes of it: the answer says
//! nothing of other people's tokens.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use http::{HeaderMap, StatusCode};

use super::error::OAuthError;
use super::{State as Server, client_auth, form};
use crate::audit::{Authorization, Step};
use crate::jose::access_token::Verifier;
use crate::jose::jwt;
use crate::store::{Digest256, Whose};

pub(super) async fn revoke(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, OAuthError> {
    let parameters = form::read(&headers, query.as_deref(), &body)?;
    let known = client_auth::authenticate(&server, &headers, &parameters).await?;
    let token = parameters.get("token").ok_or(OAuthError::InvalidRequest("token is missing"))?;
    // The hint is of no use: one look tells the two apart (section 2.1).
    end(&server, token, &known.client.client_id).await?;
    Ok(StatusCode::OK)
}

/// Ends the grant of a token, if it is this client's; does nothing otherwise.
pub(super) async fn end(server: &Server, token: &str, client: &str) -> Result<(), OAuthError> {
    let now = server.clock.now();
    if let Some(grant) = access_token_grant(server, token, client) {
        server.store.revoke(&Whose::Grant(grant.clone()), now).await?;
        let step = Authorization { grant: Some(grant), ..Authorization::new(Step::GrantRevoked, client) };
        return recorded(server, step.because("the client gave an access token back"));
    }
    if let Some(grant) = server.store.revoke_refresh_token(Digest256::of(token), client, now).await? {
        let step = Authorization::of(Step::GrantRevoked, &grant);
        return recorded(server, step.because("the client gave a refresh token back"));
    }
    Ok(())
}

/// What has ended does not wait for the trail; who ended it learns that it could not be recorded, and may try again.
fn recorded(server: &Server, step: Authorization) -> Result<(), OAuthError> {
    if server.record(step) { Ok(()) } else { Err(OAuthError::TemporarilyUnavailable) }
}

/// The grant of an access token of ours that this client holds.
fn access_token_grant(server: &Server, token: &str, client_id: &str) -> Option<String> {
    let jws = jwt::parse(token).ok()?;
    let verifier = Verifier::new(server.settings.issuer.as_str(), server.signing_keys.iter());
    let claims = verifier.verify(&jws, server.clock.now()).ok()?;
    (claims.client_id == client_id).then_some(claims.grant_id)
}
