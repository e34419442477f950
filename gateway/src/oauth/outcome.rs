//! How what comes of a login gets to who asked for it: by a redirect to the client (OAuth 2.1 section 4.1.2), or as a
//! code on a page, for a person who has no client.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::error::PageError;
use super::form::Parameters;
use super::page;
use super::{State as Server, redirect_uri};
use crate::store::{Login, Way};

/// What came of a login.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'o> {
    /// A code of ours.
    Code(&'o str),
    /// Nothing: a code of RFC 6749 section 4.1.2.1, and words for the person.
    Failed(&'static str, &'o str),
}

/// Tells who asked, or who is to tell them.
pub(super) fn tell(server: &Server, login: &Login, outcome: Outcome<'_>) -> Response {
    match (&login.way, outcome) {
        (Way::Redirect, Outcome::Code(code)) => {
            back(server, &login.redirect_uri, login.state.as_deref(), &[("code", code)])
        }
        (Way::Redirect, Outcome::Failed(error, text)) => {
            let answer = [("error", error), ("error_description", text)];
            back(server, &login.redirect_uri, login.state.as_deref(), &answer)
        }
        (Way::Page, Outcome::Code(code)) => page::code(code, login.code_challenge.is_some()),
        (Way::Page | Way::Device(_), Outcome::Failed(_, text)) => {
            page::error(StatusCode::OK, "You are not signed in", text)
        }
        (Way::Device(_), Outcome::Code(_)) => PageError::LoginOver.into_response(),
    }
}

/// What a person is told of where the answer goes.
#[derive(Debug)]
pub(super) struct Place {
    /// In a few words.
    pub(super) name: String,
    /// What to look out for.
    pub(super) warning: Option<&'static str>,
}

const LOOPBACK: &str =
    "The answer goes to a program on this device. Approve only if you have just started to connect it yourself.";
const PAGE: &str = "You will see a code that is good for a minute. Give it only to a program that you have started \
                    yourself: who has it acts for you. Nobody else ever needs it.";

/// Where the answer to a login goes.
pub(super) fn shown(login: &Login) -> Place {
    match &login.way {
        Way::Redirect => {
            let (name, is_loopback) = redirect_uri::shown(&login.redirect_uri);
            Place { name, warning: is_loopback.then_some(LOOPBACK) }
        }
        Way::Page | Way::Device(_) => {
            Place { name: "this browser, as a code for you to copy".to_owned(), warning: Some(PAGE) }
        }
    }
}

/// Sends the browser back to the client, with `state` as it came and `iss` (RFC 9207).
pub(super) fn back(server: &Server, redirect_uri: &str, state: Option<&str>, answer: &[(&str, &str)]) -> Response {
    let mut pairs = answer.to_vec();
    pairs.extend(state.map(|state| ("state", state)));
    pairs.push(("iss", &server.settings.issuer));
    let target = Parameters::append(redirect_uri, &pairs);
    if redirect_uri::is_web(redirect_uri) {
        return see_other(&target);
    }
    let failure = answer.iter().find(|(name, _)| *name == "error_description").map(|(_, text)| *text);
    page::to_application(&target, failure)
}

/// A redirect that turns a POST into a GET, and is not kept.
pub(super) fn see_other(url: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(url) else { return PageError::LoginOver.into_response() };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
