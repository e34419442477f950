//! Tokens for a client on its own behalf (OAuth 2.1 section 4.2): for clients of the configuration, with the roles that
//! stand there. There is nobody to refresh for, so there is no refresh token.

use axum::response::Response;

use super::clients::{Known, Source};
use super::error::OAuthError;
use super::form::Parameters;
use super::{State as Server, scope, step_up, token};
use crate::audit::{Authorization, Step};
use crate::jose::access_token::IdType;
use crate::store::Grant;

pub(super) fn by_client(server: &Server, known: &Known, parameters: &Parameters) -> Result<Response, OAuthError> {
    let Source::Configured(configured) = &known.source else { return Err(OAuthError::UnauthorizedClient) };
    if !configured.grants.own {
        return Err(OAuthError::UnauthorizedClient);
    }
    let resource = match (parameters.get("resource"), server.settings.resources.as_slice()) {
        (Some(url), _) => server.resource(url).ok_or(OAuthError::InvalidTarget)?,
        (None, [single]) => single,
        (None, _) => return Err(OAuthError::InvalidTarget),
    };
    let scopes = scope::granted(parameters.get("scope"), resource, &server.settings.resources)
        .map_err(|()| OAuthError::InvalidScope)?;
    let grant = Grant {
        id: uuid::Uuid::new_v4().to_string(),
        client_id: configured.id.clone(),
        resource: resource.url.clone(),
        scopes,
        tid: configured.tenant.clone(),
        oid: configured.object(),
        roles: configured.roles.clone(),
        groups: Vec::new(),
        auth_time: None,
        acrs: Vec::new(),
        guest: false,
        claims: std::collections::BTreeMap::new(),
        upstream: None,
        may_refresh: false,
    };
    // Nobody has signed in: what wants a stronger sign-in is not to be had, and a token without a scope opens nothing.
    if !step_up::covers_any(server, &grant) {
        return Err(OAuthError::InvalidScope);
    }
    if !server.record(Authorization::of(Step::TokensIssued, &grant).because("client_credentials")) {
        return Err(OAuthError::TemporarilyUnavailable);
    }
    token::answer(server, &grant, IdType::App, &grant.scopes, None)
}
