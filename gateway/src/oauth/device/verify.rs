//! `/device` (RFC 8628 section 3.3): a person enters the code that a device shows, and goes on to consent.
//!
//! A link may bring the code along, but a person has to press the button: what follows is about a device that somebody
//! else may have started (section 5.4). Nothing is remembered between the two, so that there is nothing to forge.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};

use super::super::authorize::ask;
use super::super::consent::is_same_origin;
use super::super::error::PageError;
use super::super::form::{self, Parameters};
use super::super::refused::Refusal;
use super::super::{State as Server, clients, page};
use super::{entered, shown, ticket};
use crate::limit::ClientAddress;
use crate::store::{Login, Waiting, Way};

const MALFORMED: PageError = PageError::BadRequest("The form is not the one that was shown.");

pub(in crate::oauth) async fn show(RawQuery(query): RawQuery) -> Result<Response, PageError> {
    let parameters = Parameters::parse(&query.unwrap_or_default()).map_err(|_malformed| MALFORMED)?;
    let code = parameters.get("user_code").and_then(entered).map(|code| shown(&code));
    Ok(page::device(StatusCode::OK, code.as_deref().unwrap_or_default(), None))
}

pub(in crate::oauth) async fn enter(
    State(server): State<Arc<Server>>,
    address: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageError> {
    if !form::is_form(&headers) || !is_same_origin(&headers, &server) {
        return Err(PageError::OtherBrowser);
    }
    let body = std::str::from_utf8(&body).map_err(|_error| MALFORMED)?;
    let parameters = Parameters::parse(body).map_err(|_malformed| MALFORMED)?;
    let Some(code) = parameters.get("user_code").and_then(entered) else { return Ok(unknown()) };
    let found = server.store.login(ticket(&code), server.clock.now()).await?;
    let Some(login) = found else { return Ok(unknown()) };
    let Way::Device(waiting) = login.way.clone() else { return Ok(unknown()) };
    let known = clients::find(&server, &login.client_id).await?.ok_or(PageError::LoginOver)?;
    let resource = server.resource(&login.resource).ok_or(PageError::LoginOver)?;
    let here = address.map(|Extension(address)| address.to_string());
    let elsewhere = here.is_none_or(|here| here != waiting.asked_from);
    let login = Login { way: Way::Device(Waiting { elsewhere, ..waiting }), ..login };
    ask(&server, login, &known, resource).await
}

fn unknown() -> Response {
    const TEXT: &str = "This code is not known here, or its time is over. Look at the device again.";
    let mut response = page::device(StatusCode::BAD_REQUEST, "", Some(TEXT)).into_response();
    Refusal::mark("unknown code", TEXT, &mut response);
    response
}
