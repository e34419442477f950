//! `GET /auth/login`: a login that a person begins by a link. Ends on a page with a code (`outcome`).
//!
//! `resource` and `scope` are as at the authorization endpoint; without a resource it is the default backend's. A PKCE
//! challenge may be left out, for a link that a person types; when it is there, the code is worth nothing without its
//! verifier.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;

use super::super::authorize::{ask, hints, is_challenge};
use super::super::error::PageError;
use super::super::form::Parameters;
use super::super::{Resource, State as Server, scope};
use crate::store::{Login, Way};

pub(in crate::oauth) async fn begin(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let malformed = PageError::BadRequest("A parameter of the link is there twice, or too long.");
    let parameters = Parameters::parse(&query.unwrap_or_default()).map_err(|_malformed| malformed)?;
    let resource = resource(&server, parameters.get("resource"))?;
    let scopes = scope::granted(parameters.get("scope"), resource, &server.settings.resources)
        .map_err(|()| PageError::BadRequest("A scope of the link is not one of the resource; see /auth/info."))?;
    let login = Login {
        client_id: super::CLIENT.to_owned(),
        document: None,
        redirect_uri: String::new(),
        state: None,
        code_challenge: challenge(&parameters)?,
        resource: resource.url.clone(),
        scopes,
        hints: hints(&parameters),
        csrf: String::new(),
        binding: None,
        nonce: None,
        verifier: None,
        remember: false,
        remembered_of: None,
        way: Way::Page,
    };
    ask(&server, login, &super::known(), resource).await
}

fn resource<'s>(server: &'s Server, named: Option<&str>) -> Result<&'s Resource, PageError> {
    match named {
        Some(url) => server.resource(url).ok_or(PageError::BadRequest("The resource of the link is not known here.")),
        None => server.default_resource().ok_or(PageError::BadRequest(
            "There are several servers here. Name the one you want as `resource`; /auth/info lists them.",
        )),
    }
}

/// The challenge, if there is one; half of one is a mistake that must not cost the protection.
fn challenge(parameters: &Parameters) -> Result<Option<String>, PageError> {
    match (parameters.get("code_challenge"), parameters.get("code_challenge_method")) {
        (None, None) => Ok(None),
        (Some(challenge), Some("S256")) if is_challenge(challenge) => Ok(Some(challenge.to_owned())),
        _ => Err(PageError::BadRequest("The PKCE challenge of the link is malformed, or its method is not S256.")),
    }
}
