//! The pages that people see, and the headers that every page carries: no frames, no scripts, no caching, no referrer.

use std::sync::LazyLock;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use super::Scope;

/// The one style sheet, which stands in every page.
pub(super) const STYLE: &str = include_str!("../../templates/style.css");

/// No `form-action`: browsers apply it to the whole chain of redirects behind the form, which ends at the client.
static CSP: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'");
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
});

/// The consent page.
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub(super) struct Consent<'a> {
    pub(super) style: &'static str,
    pub(super) client_name: &'a str,
    pub(super) vouched_by: Option<&'a str>,
    pub(super) place: &'a str,
    pub(super) warning: Option<&'static str>,
    pub(super) waiting: Option<Asked<'a>>,
    pub(super) resource: &'a str,
    pub(super) scopes: Vec<&'a Scope>,
    pub(super) remember: Option<String>,
    pub(super) transaction: &'a str,
    pub(super) csrf: &'a str,
}

/// What a person is told of a device that waits.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) from: &'a str,
    pub(super) elsewhere: bool,
    pub(super) minutes: u64,
}

#[derive(Debug, Template)]
#[template(path = "device.html")]
struct Device<'a> {
    style: &'static str,
    code: &'a str,
    fault: Option<&'static str>,
}

#[derive(Debug, Template)]
#[template(path = "connected.html")]
struct Connected {
    style: &'static str,
}

#[derive(Debug, Template)]
#[template(path = "error.html")]
struct Error<'a> {
    style: &'static str,
    title: &'a str,
    text: &'a str,
}

#[derive(Debug, Template)]
#[template(path = "application.html")]
struct Application<'a> {
    style: &'static str,
    target: &'a str,
    failure: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "code.html")]
struct Code<'a> {
    style: &'static str,
    text: &'a str,
    has_challenge: bool,
}

/// A page with the headers that every page carries.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    let Ok(html) = template.render() else {
        tracing::error!("a page cannot be rendered");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, Html(html)).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, CSP.clone());
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page that leads to an application on this device. A bare redirect to one leaves the page before it in sight, which
/// is the identity provider's, as if nothing had happened.
pub(super) fn to_application(target: &str, failure: Option<&str>) -> Response {
    let mut response = page(StatusCode::OK, &Application { style: STYLE, target, failure });
    if let Ok(refresh) = HeaderValue::from_str(&format!("0;url={target}")) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    response
}

/// The same page without the way there by itself: a button leads to the application.
pub(super) fn towards_application(target: &str, failure: &str) -> Response {
    page(StatusCode::OK, &Application { style: STYLE, target, failure: Some(failure) })
}

/// A page with a code for the person to hand on; with a challenge, only the program that made it can use the code.
pub(super) fn code(code: &str, has_challenge: bool) -> Response {
    page(StatusCode::OK, &Code { style: STYLE, text: code, has_challenge })
}

/// The page where a person enters a device's code, with what was wrong before.
pub(super) fn device(status: StatusCode, code: &str, fault: Option<&'static str>) -> Response {
    page(status, &Device { style: STYLE, code, fault })
}

/// A page that sends the person back to their device.
pub(super) fn connected() -> Response {
    page(StatusCode::OK, &Connected { style: STYLE })
}

/// A page that says what went wrong.
pub(super) fn error(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &Error { style: STYLE, title, text })
}
