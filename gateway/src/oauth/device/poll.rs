//! The device's wait (RFC 8628 section 3.4): tokens, or why there are none yet.

use axum::response::Response;

use super::super::State as Server;
use super::super::clients::Known;
use super::super::error::OAuthError;
use super::super::form::Parameters;
use super::super::token::{first_tokens, redeem, resource};
use super::{GRANT, INTERVAL, declined};
use crate::store::{Digest256, Presented, Way};

pub(in crate::oauth) async fn by_device_code(
    server: &Server,
    known: &Known,
    parameters: &Parameters,
) -> Result<Response, OAuthError> {
    if !server.settings.device_authorization {
        return Err(OAuthError::UnsupportedGrantType);
    }
    if !known.client.device {
        return Err(OAuthError::UnauthorizedClient);
    }
    let code = parameters.get("device_code").ok_or(OAuthError::InvalidRequest("device_code is missing"))?;
    let client_id = known.client.client_id.as_str();
    let resource = resource(server, parameters)?;
    let name = Digest256::of(code);
    let presented =
        Presented { client_id, redirect_uri: Some(GRANT), code_verifier: Some(code), resource: resource.as_deref() };
    if let Some(grant) = redeem(server, name, &presented).await? {
        return first_tokens(server, &grant).await;
    }
    let now = server.clock.now();
    let waits = server.store.login(name, now).await?.filter(|login| login.client_id == client_id);
    let Some(Way::Device(waiting)) = waits.map(|login| login.way) else { return Err(OAuthError::ExpiredToken) };
    // Time in pieces of the interval, and one poll in each: an honest device is in another one every time.
    let piece = now.as_secs() / INTERVAL.as_secs();
    let pace = Digest256::apart("device-poll", &format!("{} {piece}", waiting.name));
    if !server.store.spend_assertion(pace, now.plus(INTERVAL)).await? {
        return Err(OAuthError::SlowDown);
    }
    if server.store.login(declined(&waiting.name), now).await?.is_some() {
        return Err(OAuthError::AccessDenied);
    }
    Err(OAuthError::AuthorizationPending)
}
