//! The authorization endpoint (OAuth 2.1 section 4.1.1): every check, then the consent page.
//!
//! Until client and redirect URI are known to be good, a fault is a page; after that it goes back to the client.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode};

use super::clients::{self, Known, Source};
use super::consent::depart;
use super::cookie::{Cookie, Purpose, fingerprint};
use super::error::PageError;
use super::form::{self, Parameters};
use super::page::{self, Consent};
use super::refused::{self, Refusal};
use super::{LOGIN_LIFETIME, Resource, State as Server, client_name, outcome, redirect_uri, remembered, scope, secret};
use crate::store::{Digest256, Login, StoreError, Way};

const MAX_STATE: usize = 2048;
const MAX_HINT: usize = 256;
const MALFORMED: PageError = PageError::BadRequest("A parameter of the link is there twice, or too long.");

pub(super) async fn by_query(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let parameters = Parameters::parse(&query.unwrap_or_default()).map_err(|_malformed| MALFORMED)?;
    authorize(&server, &parameters, &headers).await
}

pub(super) async fn by_form(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageError> {
    let body = std::str::from_utf8(&body).map_err(|_error| MALFORMED)?;
    if query.is_some_and(|query| !query.is_empty()) || !form::is_form(&headers) {
        return Err(PageError::BadRequest("The parameters belong into the form."));
    }
    // What another site posted says nothing of what a person remembers: no header of it counts.
    let parameters = Parameters::parse(body).map_err(|_malformed| MALFORMED)?;
    authorize(&server, &parameters, &HeaderMap::new()).await
}

async fn authorize(server: &Server, parameters: &Parameters, headers: &HeaderMap) -> Result<Response, PageError> {
    let unknown = PageError::BadRequest(
        "The application is not registered here. Remove the connection in your application and add it again.",
    );
    let client_id = parameters.get("client_id").ok_or(unknown)?;
    refused::by(client_id);
    let known = clients::find(server, client_id).await?.ok_or(unknown)?;
    if !known.may_use_codes() {
        return Err(unknown);
    }
    let requested = parameters.get("redirect_uri").ok_or(PageError::BadRequest("The redirect URI is missing."))?;
    if !redirect_uri::is_registered(requested, &known.client.redirect_uris, &server.settings.own()) {
        return Err(PageError::BadRequest("The redirect URI is not one that the application registered."));
    }
    // The rules may have been narrowed since it registered; what the operator wrote into them needs no other.
    if !matches!(known.source, Source::Configured(_)) && !server.clients.may_redirect_to(requested) {
        tracing::warn!(uri = %requested.escape_debug(), "an answer may not go there; see `oauth.redirect_hosts`");
        return Err(PageError::BadRequest("Your administrator has not allowed applications at this address."));
    }
    let state = parameters.get("state");
    if state.is_some_and(|state| state.len() > MAX_STATE) {
        return Err(MALFORMED);
    }
    match login(server, parameters, &known, requested) {
        Ok((login, resource)) => match remembered(server, parameters, headers, &known, &login).await? {
            Some(account) => depart(server, Login { remembered_of: Some(account), ..login }).await,
            None => ask(server, login, &known, resource).await,
        },
        Err((error, text)) => {
            let mut response = match known.source {
                Source::Configured(_) | Source::Document { .. } | Source::Own => {
                    outcome::back(server, requested, state, &[("error", error), ("error_description", text)])
                }
                Source::Registered => outcome::back_unasked(server, requested, state, (error, text)),
            };
            Refusal::mark(error, text, &mut response);
            Ok(response)
        }
    }
}

type Fault = (&'static str, &'static str);

/// Checks what is asked for; a fault is told to the client.
fn login<'s>(
    server: &'s Server,
    parameters: &Parameters,
    known: &Known,
    redirect_uri: &str,
) -> Result<(Login, &'s Resource), Fault> {
    const INVALID: &str = "invalid_request";
    if parameters.get("request").is_some() {
        return Err(("request_not_supported", "Request objects are not supported"));
    }
    if parameters.get("request_uri").is_some() {
        return Err(("request_uri_not_supported", "Request URIs are not supported"));
    }
    match parameters.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "The only response type is code")),
        None => return Err((INVALID, "The response type is missing")),
    }
    if parameters.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err((INVALID, "The only response mode is query"));
    }
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err((INVALID, "PKCE with S256 is required"));
    }
    let challenge = parameters.get("code_challenge").filter(|text| is_challenge(text));
    let code_challenge = challenge.ok_or((INVALID, "The PKCE challenge is missing or malformed"))?;
    let resource = match (parameters.get("resource"), server.settings.resources.as_slice()) {
        (Some(url), _) => server.resource(url).ok_or(("invalid_target", "The resource is not known here"))?,
        (None, [single]) => single,
        (None, _) => return Err(("invalid_target", "The resource is missing")),
    };
    let scopes = scope::granted(parameters.get("scope"), resource, &server.settings.resources)
        .map_err(|()| ("invalid_scope", "A scope is not one of this resource"))?;
    if parameters.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|one| one == "none")) {
        return Err(("interaction_required", "Consent is needed"));
    }
    let login = Login {
        client_id: known.client.client_id.clone(),
        document: matches!(known.source, Source::Document { .. }).then(|| Box::new(known.client.clone())),
        redirect_uri: redirect_uri.to_owned(),
        state: parameters.get("state").map(str::to_owned),
        code_challenge: Some(code_challenge.to_owned()),
        resource: resource.url.clone(),
        scopes,
        hints: hints(parameters),
        csrf: String::new(),
        binding: None,
        nonce: None,
        verifier: None,
        remember: false,
        remembered_of: None,
        way: Way::Redirect,
    };
    Ok((login, resource))
}

/// Whose consent is remembered for this request; a client that asks for consent gets the page.
async fn remembered(
    server: &Server,
    parameters: &Parameters,
    headers: &HeaderMap,
    known: &Known,
    login: &Login,
) -> Result<Option<String>, StoreError> {
    let asks = parameters.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|one| one == "consent"));
    if asks { Ok(None) } else { remembered::account(server, headers, known, login).await }
}

/// A SHA-256 as base64url (RFC 7636 section 4.2): 43 characters.
pub(super) fn is_challenge(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|digest| digest.len() == 32)
}

/// The few parameters that the identity provider gets to see.
pub(super) fn hints(parameters: &Parameters) -> Vec<(String, String)> {
    let prompt = passed_on(parameters.get("prompt").unwrap_or_default());
    let text = |name: &'static str| {
        let plain = |value: &&str| value.len() <= MAX_HINT && !value.chars().any(char::is_control);
        parameters.get(name).filter(plain).map(|value| (name.to_owned(), value.to_owned()))
    };
    // Entra refuses a named account together with the choice of one.
    let login_hint = if prompt == Some("select_account") { None } else { text("login_hint") };
    let prompt = prompt.map(|prompt| ("prompt".to_owned(), prompt.to_owned()));
    login_hint.into_iter().chain(text("domain_hint")).chain(prompt).collect()
}

/// What of a `prompt` is for the identity provider; its own consent is not the client's to ask for.
fn passed_on(prompt: &str) -> Option<&'static str> {
    ["select_account", "login"].into_iter().find(|known| prompt.split(' ').any(|one| one == *known))
}

/// Shows the consent page.
pub(super) async fn ask(
    server: &Server,
    mut login: Login,
    known: &Known,
    resource: &Resource,
) -> Result<Response, PageError> {
    let (transaction, csrf) = (secret(), secret());
    login.csrf = fingerprint(&csrf);
    let expires = server.clock.now().plus(LOGIN_LIFETIME);
    server.store.begin_login(Digest256::of(&transaction), &login, expires).await?;
    let place = outcome::shown(&login);
    let asked = resource.scopes.iter().filter(|scope| login.scopes.contains(&scope.name));
    let page = Consent {
        style: page::STYLE,
        client_name: &client_name::shown(known.client.client_name.as_deref()),
        vouched_by: known.source.voucher(),
        place: &place.name,
        warning: place.warning,
        waiting: outcome::asked(&login, server.clock.now()),
        resource: &resource.url,
        scopes: asked.collect(),
        remember: remembered::lifetime(server, known).filter(|_| login.way == Way::Redirect).map(remembered::shown),
        transaction: &transaction,
        csrf: &csrf,
    };
    let mut response = page::page(StatusCode::OK, &page);
    Cookie::new(server, Purpose::Consent, &transaction).set(&mut response, &csrf);
    Ok(response)
}
