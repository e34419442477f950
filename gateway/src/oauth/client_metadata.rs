//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): which URL may name a client, and what
//! its document must say.
//!
//! Pure: the URL is judged before anything is fetched, and the document before anything is believed.

use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

use super::hosts::Hosts;
use super::redirect_uri::Own;
use super::{client_name, device, redirect_uri};
use crate::clock::Timestamp;
use crate::jose::client_assertion;
use crate::json::{self, MAX_DEPTH};
use crate::store::{Client, ClientKeys};

const MAX_URL: usize = 2048;
const MAX_NAME: usize = 200;
const MAX_REDIRECT_URIS: usize = 20;

/// Members that only a client that is registered has.
const SECRETS: [&str; 2] = ["client_secret", "client_secret_expires_at"];

/// Whether a client id is meant as the URL of a document.
#[must_use]
pub(super) fn is_url(client_id: &str) -> bool {
    client_id.contains("://")
}

/// The host of a URL that may name a client (section 3): https on its own port, a domain name, a path, and nothing that
/// another reader could take for something else.
#[must_use]
pub(super) fn host(client_id: &str) -> Option<String> {
    let url = plain(client_id)?;
    (url.path() != "/").then(|| url.host_str().map(str::to_owned)).flatten()
}

/// A URL that strangers may have us fetch, in its one spelling.
fn plain(text: &str) -> Option<Url> {
    if text.len() > MAX_URL || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let is_domain = matches!(url.host(), Some(Host::Domain(name)) if name.contains('.') && !name.ends_with('.'));
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let plain = url.scheme() == "https" && is_domain && is_bare && url.as_str() == text;
    // `%2e` and the like mean one thing here and another there; nobody needs them.
    (plain && !text.contains(['%', '\\', '@', '?', '#', ';'])).then_some(url)
}

/// What is looked at; what else there is, is ignored (RFC 7591 section 2), and nothing of it fetched.
#[derive(Deserialize)]
struct Document {
    client_id: String,
    client_name: String,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    application_type: Option<String>,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    tos_uri: Option<String>,
    policy_uri: Option<String>,
}

/// Reads the document at `url`.
///
/// # Errors
///
/// Returns what is wrong with it, for the log.
pub(super) fn read(
    url: &str,
    body: &[u8],
    own: &Own<'_>,
    rules: &Hosts,
    now: Timestamp,
) -> Result<Client, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_error| "it is not UTF-8")?;
    json::check(text, MAX_DEPTH).map_err(|_error| "it is not JSON that can be read in one way only")?;
    let value: Value = serde_json::from_str(text).map_err(|_error| "it is not JSON")?;
    if SECRETS.iter().any(|secret| value.get(secret).is_some()) {
        return Err("it has a client secret, which would be public");
    }
    let document: Document = serde_json::from_value(value)
        .map_err(|_error| "`client_id`, `client_name` or `redirect_uris` is missing, or a member is mistyped")?;
    if document.client_id != url {
        return Err("its `client_id` is not the URL that it was fetched from");
    }
    if document.client_name.chars().count() > MAX_NAME || client_name::is_blank(&document.client_name) {
        return Err("its `client_name` is empty or too long");
    }
    let links = [&document.client_uri, &document.logo_uri, &document.tos_uri, &document.policy_uri];
    if links.into_iter().flatten().any(|link| !link.starts_with("https://") && !link.starts_with("http://")) {
        return Err("one of its links is neither https nor http");
    }
    if document.response_types.as_ref().is_some_and(|types| !types.iter().any(|kind| kind == "code")) {
        return Err("its `response_types` lack `code`");
    }
    let grants = document.grant_types.clone().unwrap_or_else(|| vec!["authorization_code".to_owned()]);
    if !grants.iter().any(|grant| grant == "authorization_code") {
        return Err("its `grant_types` lack `authorization_code`");
    }
    Ok(Client {
        keys: keys(&document)?,
        redirect_uris: redirect_uris(&document.redirect_uris, own, rules)?,
        client_id: document.client_id,
        client_name: Some(document.client_name),
        application_type: document.application_type.unwrap_or_else(|| "native".to_owned()),
        may_refresh: grants.iter().any(|grant| grant == "refresh_token"),
        device: grants.iter().any(|grant| grant == device::GRANT),
        registered_at: now.as_secs(),
    })
}

/// Every address must be harmless; those that the operator's rules do not know are left out.
fn redirect_uris(written: &[String], own: &Own<'_>, rules: &Hosts) -> Result<Vec<String>, &'static str> {
    if written.is_empty() || written.len() > MAX_REDIRECT_URIS {
        return Err("it has no redirect URI, or too many");
    }
    for uri in written {
        redirect_uri::check(uri, own)?;
    }
    let allowed: Vec<String> = written.iter().filter(|uri| rules.allow_redirect(uri)).cloned().collect();
    if allowed.is_empty() {
        Err("none of its redirect URIs is to a host in `oauth.redirect_hosts`")
    } else {
        Ok(allowed)
    }
}

fn keys(document: &Document) -> Result<Option<ClientKeys>, &'static str> {
    match (document.token_endpoint_auth_method.as_deref(), &document.jwks, &document.jwks_uri) {
        (None | Some("none"), _, _) => Ok(None),
        (Some("private_key_jwt"), Some(jwks), None) => {
            client_assertion::ClientKeys::parse(jwks).map_err(|_error| "its `jwks` has no key that can be used")?;
            Ok(Some(ClientKeys::Inline(jwks.clone())))
        }
        (Some("private_key_jwt"), None, Some(uri)) if plain(uri).is_some() => {
            Ok(Some(ClientKeys::Remote { uri: uri.clone(), last: None }))
        }
        (Some("private_key_jwt"), _, _) => Err("it needs one of `jwks` and `jwks_uri`, the latter a plain https URL"),
        (Some(_), _, _) => Err("its `token_endpoint_auth_method` is neither `none` nor `private_key_jwt`"),
    }
}

#[cfg(test)]
mod tests;
