//! The decision of the person in front of the consent page.
//!
//! The decision counts only from the browser that was shown the page: the form and a host-only cookie must both hold the
//! secret of this login, so that a form filled in elsewhere is worth nothing here. Approval is of the scopes that are still
//! ticked; it binds the login to this browser with a cookie that did not exist before, and only then goes to the identity
//! provider. What is remembered of it, if anything, is next door (`remembered`).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderName, header};

use super::cookie::{self, Cookie, Purpose, fingerprint};
use super::error::PageError;
use super::form::{self, Parameters};
use super::outcome::{self, Outcome, see_other, tell};
use super::{LOGIN_LIFETIME, State as Server, clients, refused, secret, step_up};
use crate::audit::{Authorization, Step};
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
    let transaction = parameters.get("transaction").ok_or(malformed)?;
    let id = Digest256::of(transaction);
    let login = server.store.login(id, server.clock.now()).await?.ok_or(PageError::LoginOver)?;
    refused::by(&login.client_id);
    let csrf = parameters.get("csrf").unwrap_or_default();
    let shown = Cookie::new(&server, Purpose::Consent, transaction);
    // A login that was approved waits for the callback, not for another decision.
    if login.binding.is_some() || !cookie::is(csrf, &login.csrf) || !shown.matches(&headers, &login.csrf) {
        return Err(PageError::OtherBrowser);
    }
    let approved = match parameters.get("decision") {
        Some("approve") => true,
        Some("deny") => false,
        _ => return Err(malformed),
    };
    let ticked = ticked(&parameters, &login);
    if approved && ticked.is_empty() && !login.scopes.is_empty() {
        return Err(PageError::NothingTicked);
    }
    let login = server.store.take_login(id, server.clock.now()).await?.ok_or(PageError::LoginOver)?;
    let remember = server.settings.remember_consent.is_some() && parameters.get("remember").is_some();
    let login = Login { scopes: ticked, remember, ..login };
    let mut response = if approved { depart(&server, login).await? } else { refuse(&server, &login).await? };
    shown.clear(&mut response);
    Ok(response)
}

/// What of the scopes that were shown is still ticked; nothing else can be.
fn ticked(parameters: &Parameters, login: &Login) -> Vec<String> {
    let is_ticked = |scope: &&String| parameters.get(&format!("scope-{scope}")).is_some();
    login.scopes.iter().filter(is_ticked).cloned().collect()
}

/// A browser says where a form came from; one that says elsewhere is not believed.
pub(super) fn is_same_origin(headers: &HeaderMap, server: &Server) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let origin = text(header::ORIGIN);
    // A form on a page without referrer sends the origin `null`.
    site.is_none_or(|site| matches!(site, "same-origin" | "none"))
        && origin
            .is_none_or(|origin| origin == server.settings.issuer || origin == "null" && site == Some("same-origin"))
}

async fn refuse(server: &Server, login: &Login) -> Result<Response, PageError> {
    tracing::info!(client = %login.client_id, "consent was refused");
    let step = about(server, login, Step::ConsentRefused).await?;
    recorded(server, step)?;
    tell(server, login, Outcome::Failed("access_denied", "The request was declined")).await
}

/// A step of a login, with what is known of its client, resource and scopes.
async fn about(server: &Server, login: &Login, event: Step) -> Result<Authorization, PageError> {
    let redirect_hosts = outcome::hosts(std::slice::from_ref(&login.redirect_uri));
    let (resource, scopes) = (Some(login.resource.clone()), login.scopes.clone());
    let name = clients::name_of_login(server, login).await?;
    let step = Authorization::new(event, &login.client_id);
    Ok(Authorization { name, redirect_hosts, resource, scopes, ..step })
}

/// What cannot be recorded must not come to anything.
pub(super) fn recorded(server: &Server, step: Authorization) -> Result<(), PageError> {
    if server.record(step) { Ok(()) } else { Err(PageError::Unavailable) }
}

/// Goes to the identity provider, and binds the login to this browser.
pub(super) async fn depart(server: &Server, login: Login) -> Result<Response, PageError> {
    let (state, cookie) = (secret(), secret());
    let wanted = step_up::wanted(server.resource(&login.resource), &login.scopes);
    let departure = server.entra.depart(&state, &login.hints, &wanted);
    let seal = |value: &str| server.sealer.seal(&upstream_leg(&state), value.as_bytes());
    let login = Login {
        binding: Some(fingerprint(&cookie)),
        nonce: Some(seal(&departure.nonce)?),
        verifier: Some(seal(&departure.verifier)?),
        ..login
    };
    let expires = server.clock.now().plus(LOGIN_LIFETIME);
    let step = about(server, &login, Step::ConsentGiven).await?;
    let step = if login.remembered_of.is_some() {
        tracing::info!(client = %login.client_id, "consent is remembered");
        step.because("it is remembered, unless another account signs in")
    } else {
        tracing::info!(client = %login.client_id, "consent was given");
        step
    };
    recorded(server, step)?;
    server.store.begin_login(Digest256::of(&state), &login, expires).await?;
    let mut response = see_other(&departure.url);
    Cookie::new(server, Purpose::Login, &state).set(&mut response, &cookie);
    Ok(response)
}

/// What nonce and verifier of a login are sealed for.
pub(super) fn upstream_leg(state: &str) -> Vec<u8> {
    [b"upstream-leg:".as_slice(), Digest256::of(state).as_bytes()].concat()
}
