//! Cookies that tie one login to one browser (RFC 6265, and the `__Host-` prefix of its successor).
//!
//! One cookie per login, named after it, so that logins in two tabs do not disturb each other. Only the host itself can
//! set it, no script can read it, and no site below or beside the gateway can plant one.

use std::time::Duration;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;

use super::{LOGIN_LIFETIME, State as Server};
use crate::store::Digest256;

/// What a cookie shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// With a decision, that this is the browser that was shown the consent page. Holds what the form holds.
    Consent,
    /// At the callback, that this is the browser that consented. Given out only after consent.
    Login,
    /// At the authorization endpoint, what the person agreed to before. Sealed.
    Remembered,
}

/// The cookie of one login.
#[derive(Debug)]
pub(super) struct Cookie {
    name: String,
    same_site: &'static str,
    is_secure: bool,
}

impl Cookie {
    /// The cookie for this purpose and the login that goes by this secret name.
    pub(super) fn new(server: &Server, purpose: Purpose, login: &str) -> Self {
        let is_secure = server.is_secure();
        // `__Host-` needs https, which a gateway on one's own machine does not have.
        let prefix = if is_secure { "__Host-" } else { "" };
        // A login comes back from the identity provider, which is another site; what was agreed to is never another's to use.
        let (purpose, same_site) = match purpose {
            Purpose::Consent => ("consent", "Lax"),
            Purpose::Login => ("login", "Lax"),
            Purpose::Remembered => ("agreed", "Strict"),
        };
        let tag: String = fingerprint(login).chars().take(16).collect();
        Self { name: format!("{prefix}portcullis-{purpose}-{tag}"), same_site, is_secure }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the request has exactly one cookie of this name, with the value of this fingerprint.
    pub(super) fn matches(&self, headers: &HeaderMap, expected: &str) -> bool {
        self.value(headers).is_some_and(|value| is(value, expected))
    }

    /// The value of the one cookie of this name; `None` when there are several.
    pub(super) fn value<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == self.name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// Gives the browser the cookie for as long as a login may take.
    pub(super) fn set(&self, response: &mut Response, value: &str) {
        self.set_for(response, value, LOGIN_LIFETIME);
    }

    /// Gives the browser the cookie for this long.
    pub(super) fn set_for(&self, response: &mut Response, value: &str, lifetime: Duration) {
        self.append(response, value, lifetime.as_secs());
    }

    /// Takes the cookie away.
    pub(super) fn clear(&self, response: &mut Response) {
        self.append(response, "", 0);
    }

    fn append(&self, response: &mut Response, value: &str, max_age: u64) {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let (name, same_site) = (&self.name, self.same_site);
        let cookie = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite={same_site}{secure}");
        // Names and values are base64url of our own making; were one not, the login would end at the next step.
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
}

/// What a record knows of a secret value: its SHA-256 as text.
pub(super) fn fingerprint(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest256::of(value).as_bytes())
}

/// Whether a value is the one with this fingerprint.
pub(super) fn is(value: &str, expected: &str) -> bool {
    fingerprint(value).as_bytes().ct_eq(expected.as_bytes()).into()
}
