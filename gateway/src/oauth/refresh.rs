//! Refresh tokens (OAuth 2.1 section 4.3): each is used once, and a second use ends the grant.
//!
//! A refresh asks the identity provider again who the person is and which roles they have: a role taken away there is
//! gone here when the next access token is made. Silence there costs nothing; a refusal ends the grant. Who lost the
//! answer may ask again for a few seconds and gets the same successor, never a second one.

use axum::response::Response;
use sha2::{Digest, Sha256};

use super::callback::upstream_binding;
use super::error::OAuthError;
use super::form::Parameters;
use super::token::{answer, invalid_grant, resource};
use super::turn::{self, Taken};
use super::{State as Server, refused, scope, secret, step_up};
use crate::audit::{Authorization, Step};
use crate::clock::Timestamp;
use crate::entra::{EntraError, SignedIn};
use crate::jose::access_token::IdType;
use crate::jose::claims::EntraIdentity;
use crate::store::{Client, Digest256, Grant, Presentation, Rotation, Sealer, Successor, Whose};

pub(super) async fn by_refresh_token(
    server: &Server,
    client: &Client,
    parameters: &Parameters,
) -> Result<Response, OAuthError> {
    refused::by(&client.client_id);
    // As it is now, not as it was at the sign-in: what an operator takes away ends what was given by it.
    if !client.may_refresh {
        refused::because("the client may not refresh, or may not any more");
        return Err(OAuthError::UnauthorizedClient);
    }
    let token = parameters.get("refresh_token").ok_or(OAuthError::InvalidRequest("refresh_token is missing"))?;
    let (first, _) = present(server, client, token).await?;
    let asked = resource(server, parameters)?;
    if asked.is_some_and(|asked| asked != first.resource) {
        return Err(OAuthError::InvalidTarget);
    }
    let scopes = scope::narrowed(parameters.get("scope"), &first.scopes).map_err(|()| OAuthError::InvalidScope)?;
    let mut taken = turn::take(server, &first.id).await?;
    let (grant, successor) = loop {
        // Whoever waited finds the token used meanwhile, and gets what the first one got.
        let known = present(server, client, token).await;
        taken = match (known, taken) {
            (Ok((grant, None)), Taken::Ours(turn)) => {
                let named = parameters.get("scope").is_some().then_some(scopes.as_slice());
                let refreshed = Box::pin(refreshed(server, client, token, grant, named)).await;
                turn.done().await;
                break refreshed?;
            }
            (Ok((_, None)), Taken::Anothers(waiting)) => waiting.again().await?,
            (known, taken) => {
                if let Taken::Ours(turn) = taken {
                    turn.done().await;
                }
                let (grant, successor) = known?;
                break (grant, successor.ok_or(OAuthError::InvalidGrant)?);
            }
        };
    };
    if !server.record(Authorization::of(Step::TokensRefreshed, &grant)) {
        return Err(OAuthError::TemporarilyUnavailable);
    }
    answer(server, &grant, IdType::User, &scopes, Some(successor))
}

/// Asks the identity provider again, and gives the token its successor; `named` are the scopes that the client asked for.
async fn refreshed(
    server: &Server,
    client: &Client,
    token: &str,
    grant: Grant,
    named: Option<&[String]>,
) -> Result<(Grant, String), OAuthError> {
    let before = (grant.roles.clone(), grant.groups.clone());
    let grant = ask_again(server, grant).await?;
    // What an older token says is not so any more, and streams that it opened show too much.
    let has = |now: &[String], before: &[String]| before.iter().all(|role| now.contains(role));
    if !has(&grant.roles, &before.0) || !has(&grant.groups, &before.1) {
        server.store.end_access_tokens(&grant.id, server.clock.now()).await?;
    }
    let named = named.filter(|scopes| !scopes.is_empty());
    if named.is_some_and(|scopes| step_up::covered(server, &grant, scopes, server.clock.now()).is_empty()) {
        return Err(OAuthError::InvalidScope);
    }
    rotate(server, client, token, grant).await
}

/// The grant of a refresh token, and the successor when it has one that may be given out again.
async fn present(server: &Server, client: &Client, token: &str) -> Result<(Grant, Option<String>), OAuthError> {
    let digest = Digest256::of(token);
    match server.store.present_refresh_token(digest, &client.client_id, server.clock.now()).await? {
        Presentation::Current(grant) => Ok((*grant, None)),
        Presentation::Superseded { grant, successor } => {
            let successor = sealed_for(token).open(SUCCESSOR, &successor)?;
            let successor = String::from_utf8(successor).map_err(|_error| OAuthError::InvalidGrant)?;
            Ok((*grant, Some(successor)))
        }
        Presentation::Unknown => Err(invalid_grant("the refresh token is not known, is over, or is another client's")),
        Presentation::Reused => {
            tracing::warn!(client = %client.client_id, "a refresh token was used twice; its grant is revoked");
            let step = Authorization::new(Step::GrantRevoked, &client.client_id);
            // It has ended, and the token is refused, whether that can be recorded or not.
            let _ = server.record(step.because("a refresh token was used twice"));
            Err(invalid_grant("the refresh token was used before"))
        }
    }
}

/// Gives the token its one successor; another node may have been first.
async fn rotate(server: &Server, client: &Client, token: &str, grant: Grant) -> Result<(Grant, String), OAuthError> {
    let fresh = secret();
    let now = server.clock.now();
    let successor = Successor {
        token: Digest256::of(&fresh),
        sealed: sealed_for(token).seal(SUCCESSOR, fresh.as_bytes())?,
        expires: now.plus(server.settings.refresh_token_lifetime),
    };
    match server.store.rotate_refresh_token(Digest256::of(token), &successor, &grant, now).await? {
        Rotation::Done => Ok((grant, fresh)),
        Rotation::Superseded => match present(server, client, token).await? {
            (grant, Some(successor)) => Ok((grant, successor)),
            (_, None) => Err(OAuthError::InvalidGrant),
        },
    }
}

const SUCCESSOR: &[u8] = b"refresh-successor";

/// Seals for the holder of a token alone: its digest is in the store, the token is not.
fn sealed_for(token: &str) -> Sealer {
    let key = Sha256::new().chain_update(SUCCESSOR).chain_update([0]).chain_update(token.as_bytes());
    Sealer::new(key.finalize().into())
}

/// Reads the person's roles again at the identity provider. A refusal there ends the grant here; silence does not, nor
/// does an answer that cannot be believed.
async fn ask_again(server: &Server, grant: Grant) -> Result<Grant, OAuthError> {
    let binding = upstream_binding(&grant.id);
    let sealed = grant.upstream.as_deref().ok_or(OAuthError::InvalidGrant)?;
    let upstream = server.sealer.open(&binding, sealed)?;
    let upstream = String::from_utf8(upstream).map_err(|_error| OAuthError::InvalidGrant)?;
    if !server.entra.takes_directory(&grant.tid) {
        tracing::warn!(tenant = %grant.tid, subject = %grant.oid, "the directory is not in `entra.tenants` any more; the grant is revoked");
        return end(server, &grant, UNLISTED).await;
    }
    let wanted = step_up::wanted(server.resource(&grant.resource), &grant.scopes);
    match server.entra.refresh(&upstream, &grant.tid, &wanted).await {
        Ok(SignedIn { identity, refresh_token }) => {
            if identity.tid != grant.tid || identity.oid != grant.oid {
                tracing::error!(subject = %grant.oid, "the identity provider refreshed another person; the grant is revoked");
                return end(server, &grant, ENDED).await;
            }
            // Sealed anew even when it is the same: the key that sealed it may be on its way out.
            let token = refresh_token.unwrap_or(upstream);
            let upstream = Some(server.sealer.seal(&binding, token.as_bytes())?);
            let auth_time = identity.auth_time.map(Timestamp::as_secs).or(grant.auth_time);
            let EntraIdentity { roles, groups, acrs, is_guest: guest, claims, .. } = identity;
            Ok(Grant { roles, groups, auth_time, acrs, guest, claims, upstream, ..grant })
        }
        Err(error @ (EntraError::Refused { .. } | EntraError::OtherDirectory { .. })) => {
            tracing::warn!(%error, subject = %grant.oid, "the identity provider ended a grant");
            end(server, &grant, ENDED).await
        }
        Err(error) => {
            tracing::error!(%error, "roles cannot be read again; the refresh token stays good");
            Err(OAuthError::TemporarilyUnavailable)
        }
    }
}

const ENDED: &str = "the identity provider does not vouch for it any more";
const UNLISTED: &str = "people of its directory are not let in any more";

async fn end(server: &Server, grant: &Grant, why: &'static str) -> Result<Grant, OAuthError> {
    server.store.revoke(&Whose::Grant(grant.id.clone()), server.clock.now()).await?;
    let step = Authorization::of(Step::GrantRevoked, grant);
    let _ = server.record(step.because(why));
    Err(invalid_grant(why))
}
