//! How what comes of a login gets to who asked for it: by a redirect to the client (OAuth 2.1 section 4.1.2), or as a
//! code on a page, for a person who has no client, or
//! to a device that waits.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::error::PageError;
use super::form::Parameters;
use super::page::{self, Asked};
use super::{State as Server, device, redirect_uri};
use crate::clock::Timestamp;
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
pub(super) async fn tell(server: &Server, login: &Login, outcome: Outcome<'_>) -> Result<Response, PageError> {
    Ok(match (&login.way, outcome) {
        (Way::Redirect, Outcome::Code(code)) => {
            back(server, &login.redirect_uri, login.state.as_deref(), &[("code", code)])
        }
        (Way::Redirect, Outcome::Failed(error, text)) => {
            let answer = [("error", error), ("error_description", text)];
            back(server, &login.redirect_uri, login.state.as_deref(), &answer)
        }
        (Way::Page, Outcome::Code(code)) => page::code(code, login.code_challenge.is_some()),
        (Way::Page, Outcome::Failed(_, text)) => failed(text),
        (Way::Device(_), Outcome::Code(_)) => page::connected(),
        (Way::Device(waiting), Outcome::Failed(error, text)) => {
            // What may go better in a moment can be tried again with the same code.
            if error == "access_denied" {
                device::decline(server, waiting).await?;
            }
            failed(text)
        }
    })
}

fn failed(text: &str) -> Response {
    page::error(StatusCode::OK, "You are not signed in", text)
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

const DEVICE: &str = "Allow it only if you have started this yourself, on a device in front of you, and it shows the code that you \
                      entered. If somebody sent you the code or the link, decline: they want to act in your name.";

/// Where the answer to a login goes.
pub(super) fn shown(login: &Login) -> Place {
    match &login.way {
        Way::Redirect => {
            let (name, is_loopback) = redirect_uri::shown(&login.redirect_uri);
            Place { name, warning: is_loopback.then_some(LOOPBACK) }
        }
        Way::Page => Place { name: "this browser, as a code for you to copy".to_owned(), warning: Some(PAGE) },
        Way::Device(_) => Place { name: "the device that shows the code".to_owned(), warning: Some(DEVICE) },
    }
}

/// Where answers to these go, each place once, for the trail.
pub(super) fn hosts(uris: &[String]) -> Vec<String> {
    let places: std::collections::BTreeSet<String> =
        uris.iter().filter_map(|uri| Url::parse(uri).ok()).map(|uri| place(&uri)).collect();
    places.into_iter().collect()
}

fn place(uri: &Url) -> String {
    match (uri.scheme(), uri.host_str()) {
        ("https" | "http", Some(host)) => host.to_owned(),
        (scheme, _) => format!("{scheme}:"),
    }
}

/// Sends the browser back to the client, with `state` as it came and `iss` (RFC 9207).
pub(super) fn back(server: &Server, redirect_uri: &str, state: Option<&str>, answer: &[(&str, &str)]) -> Response {
    let target = target(server, redirect_uri, state, answer);
    if redirect_uri::is_web(redirect_uri) {
        return see_other(&target);
    }
    let failure = answer.iter().find(|(name, _)| *name == "error_description").map(|(_, text)| *text);
    page::to_application(&target, failure)
}

/// The same for a request that is refused before anybody did anything. Anybody may register a client, and a link to such a
/// request must not open an application with a path of a stranger's choice in the gateway's name (RFC 9700 section 4.11.2):
/// the page waits for the person to go on.
pub(super) fn back_unasked(
    server: &Server,
    redirect_uri: &str,
    state: Option<&str>,
    (error, text): (&str, &str),
) -> Response {
    let answer = [("error", error), ("error_description", text)];
    if redirect_uri::is_web(redirect_uri) {
        return back(server, redirect_uri, state, &answer);
    }
    page::towards_application(&target(server, redirect_uri, state, &answer), text)
}

fn target(server: &Server, redirect_uri: &str, state: Option<&str>, answer: &[(&str, &str)]) -> String {
    let mut pairs = answer.to_vec();
    pairs.extend(state.map(|state| ("state", state)));
    pairs.push(("iss", &server.settings.issuer));
    Parameters::append(redirect_uri, &pairs)
}

/// What there is to say of the device that waits.
pub(super) fn asked(login: &Login, now: Timestamp) -> Option<Asked<'_>> {
    let Way::Device(waiting) = &login.way else { return None };
    let minutes = now.since(Timestamp::from_secs(waiting.asked_at)).as_secs() / 60;
    Some(Asked { from: &waiting.asked_from, elsewhere: waiting.elsewhere, minutes })
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
