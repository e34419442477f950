//! A consent that a browser is not asked for again, where the operator allows it.
//!
//! What was agreed to is sealed in a cookie of the browser that agreed: which client, as it was then; where answers go;
//! for which resource and scopes; and who signed in afterwards. It stands for the consent page only when the person began
//! the login themselves, not another site, and only if the same account signs in again: that is known at the callback,
//! and anybody else is asked there. A browser that a program opens does not say by whose redirects it came, so nothing is
//! remembered of clients whose id anybody can say. Nor of a consent that the person did not want remembered, and what an
//! operator ended since then (`portcullis sessions revoke`) is agreed to no longer.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clients::Known;
use super::cookie::{Cookie, Purpose};
use super::{State as Server, redirect_uri};
use crate::clock::Timestamp;
use crate::store::{Client, Login, StoreError, Whose};

/// What a person agreed to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agreed {
    /// Who: tenant and object, joined by a colon.
    account: String,
    /// The client with its name and redirect URIs: another name is another client.
    client: [u8; 32],
    redirect_uri: String,
    resource: String,
    scopes: Vec<String>,
    /// When, in seconds.
    at: u64,
}

/// How long a consent to this client is remembered, where the operator allows it and nobody else can pass for the client.
pub(super) fn lifetime(server: &Server, known: &Known) -> Option<Duration> {
    server.settings.remember_consent.filter(|_| known.is_unmistakable())
}

/// Whose remembered consent covers this login, if the browser has one, the person began the login themselves, and nobody
/// ended what they agreed to.
///
/// # Errors
///
/// Returns an error when the store does not say what was ended.
pub(super) async fn account(
    server: &Server,
    headers: &HeaderMap,
    known: &Known,
    login: &Login,
) -> Result<Option<String>, StoreError> {
    match covering(server, headers, known, login) {
        Some(agreed) if !is_over(server, &agreed, &login.client_id).await? => Ok(Some(agreed.account)),
        _ => Ok(None),
    }
}

/// Whether an operator ended the sessions of this account, client or directory, or of everybody, since it was agreed to.
async fn is_over(server: &Server, agreed: &Agreed, client_id: &str) -> Result<bool, StoreError> {
    let Some((tid, oid)) = agreed.account.split_once(':') else { return Ok(true) };
    let user = Whose::User { tid: tid.to_owned(), oid: oid.to_owned() };
    let whose = [user, Whose::Client(client_id.to_owned()), Whose::Tenant(tid.to_owned()), Whose::Everybody];
    let keys = whose.map(|whose| whose.key());
    let log = server.store.revocations(0).await?;
    let at = Timestamp::from_secs(agreed.at);
    Ok(log.lines.iter().any(|line| at < line.issued_before && keys.contains(&line.key)))
}

fn covering(server: &Server, headers: &HeaderMap, known: &Known, login: &Login) -> Option<Agreed> {
    let longest = lifetime(server, known)?;
    // A browser that does not say where a request comes from is asked.
    let site = headers.get(HeaderName::from_static("sec-fetch-site"))?;
    if site != "none" {
        return None;
    }
    let cookie = cookie(server, login);
    let agreed = server.sealer.open(&binding(&cookie), cookie.value(headers)?).ok()?;
    let agreed: Agreed = serde_json::from_slice(&agreed).ok()?;
    let holds = agreed.client == fingerprint(&known.client)
        && agreed.redirect_uri == redirect_uri::canonical(&login.redirect_uri)
        && agreed.resource == login.resource
        && login.scopes.iter().all(|scope| agreed.scopes.contains(scope))
        && server.clock.now() < Timestamp::from_secs(agreed.at).plus(longest);
    holds.then_some(agreed)
}

/// Has the browser remember what was agreed to, by whom; does nothing unless the operator and the person want it.
pub(super) fn keep(server: &Server, client: &Client, login: &Login, account: &str, response: &mut Response) {
    let Some(lifetime) = server.settings.remember_consent.filter(|_| login.remember) else { return };
    let agreed = Agreed {
        account: account.to_owned(),
        client: fingerprint(client),
        redirect_uri: redirect_uri::canonical(&login.redirect_uri),
        resource: login.resource.clone(),
        scopes: login.scopes.clone(),
        at: server.clock.now().as_secs(),
    };
    let cookie = cookie(server, login);
    let sealed =
        serde_json::to_vec(&agreed).ok().and_then(|agreed| server.sealer.seal(&binding(&cookie), &agreed).ok());
    // Without it the person is asked again, which is no harm.
    if let Some(sealed) = sealed {
        cookie.set_for(response, &sealed, lifetime);
    }
}

/// Has the browser forget what it remembers for this client.
pub(super) fn forget(server: &Server, login: &Login, response: &mut Response) {
    cookie(server, login).clear(response);
}

/// How long, for the consent page.
pub(super) fn shown(lifetime: Duration) -> String {
    const DAY: u64 = 24 * 3600;
    let (number, unit) = match lifetime.as_secs() {
        seconds if seconds >= DAY => (seconds / DAY, "day"),
        seconds if seconds >= 3600 => (seconds / 3600, "hour"),
        seconds => (seconds / 60, "minute"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn cookie(server: &Server, login: &Login) -> Cookie {
    let redirect_uri = redirect_uri::canonical(&login.redirect_uri);
    Cookie::new(server, Purpose::Remembered, &format!("{}\n{redirect_uri}\n{}", login.client_id, login.resource))
}

fn binding(cookie: &Cookie) -> Vec<u8> {
    [b"remembered-consent:", cookie.name().as_bytes()].concat()
}

/// What of a client the person saw, or is bound by.
fn fingerprint(client: &Client) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [&client.client_id, client.client_name.as_ref().unwrap_or(&String::new())]
        .into_iter()
        .chain(&client.redirect_uris)
    {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_shown_in_words() {
        for (seconds, words) in [(60, "1 minute"), (7200, "2 hours"), (24 * 3600, "1 day"), (30 * 24 * 3600, "30 days")]
        {
            assert_eq!(shown(Duration::from_secs(seconds)), words);
        }
    }
}
