//! OAuth clients: those known beforehand, and the rules for the others.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use url::Url;

use super::values::{Resolver, is_loopback};
use crate::config::document::{self, Text};
use crate::config::settings::Clients;
use crate::jose::client_assertion::ClientKeys;
use crate::oauth::{
    ASSERTION_GRANT, CLIENT_DOMAINS, Configured, Credential, DEVICE_GRANT, Grants, Hosts, Own, PLAIN_CLIENT,
    REDIRECT_HOSTS, check_redirect_uri,
};
use crate::outbound::guarded::Double;
use crate::store::Digest256;

const MAX_ID: usize = 128;
/// A secret that a person thought of is shorter.
const MIN_SECRET: usize = 24;

pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::OAuth, own: &Own<'_>, tenant: &str) -> Clients {
    let mut ids = BTreeSet::new();
    let mut configured = Vec::with_capacity(written.clients.len());
    for client in &written.clients {
        let Some(client_of) = one(resolver, client, own, tenant) else { continue };
        if !ids.insert(client_of.id.clone()) {
            resolver.fault(Some(&client.id), format!("the client `{}` is there twice", client_of.id));
        }
        configured.push(client_of);
    }
    Clients {
        redirect_hosts: hosts(resolver, written.redirect_hosts.as_deref(), &REDIRECT_HOSTS),
        domains: hosts(resolver, written.client_domains.as_deref(), &CLIENT_DOMAINS),
        configured,
        double: written.document_double.as_ref().and_then(|double| double_of(resolver, double, own.issuer)),
    }
}

fn hosts(resolver: &mut Resolver<'_>, written: Option<&[Text]>, default: &[&'static str]) -> Hosts {
    let Some(written) = written else { return Hosts::known(default) };
    let values: Vec<(String, &Text)> =
        written.iter().filter_map(|text| resolver.text(text).map(|value| (value, text))).collect();
    for (value, text) in &values {
        // `defaults` keeps the usual ones beside one's own.
        if let Err((word, error)) = Hosts::parse([value.as_str()].into_iter().filter(|word| *word != "defaults")) {
            resolver.fault(Some(text), format!("`{word}` {error}"));
        }
    }
    let words =
        values.iter().flat_map(|(value, _)| if value == "defaults" { default.to_vec() } else { vec![value.as_str()] });
    Hosts::parse(words).unwrap_or_default()
}

fn one(
    resolver: &mut Resolver<'_>,
    written: &document::OAuthClient,
    own: &Own<'_>,
    tenant: &str,
) -> Option<Configured> {
    let id = resolver.text(&written.id)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if id.len() > MAX_ID || !id.bytes().all(plain) {
        resolver.fault(Some(&written.id), format!("`{id}` cannot be a client's id; use letters, digits and `-._~`"));
    }
    if id == PLAIN_CLIENT {
        resolver.fault(Some(&written.id), format!("`{id}` is the gateway's own client; choose another id"));
    }
    let name = written.name.as_ref().and_then(|name| resolver.text(name));
    let grants = grants(resolver, written);
    let credential = credential(resolver, written)?;
    let redirect_uris = redirect_uris(resolver, written, own);
    let roles: Vec<String> = written.roles.iter().filter_map(|role| resolver.text(role)).collect();
    let at = Some(&written.id);
    if grants.code == redirect_uris.is_empty() {
        resolver.fault(
            at,
            format!("client `{id}`: `redirect_uris` and the grant type `authorization_code` belong together"),
        );
    }
    if grants.refresh && !grants.code && !grants.device {
        resolver.fault(at, format!("client `{id}`: `refresh_token` goes with `authorization_code`"));
    }
    for (wanted, word) in [(grants.own, "client_credentials"), (grants.assertion, ASSERTION_GRANT)] {
        if wanted && matches!(credential, Credential::Public) {
            resolver.fault(at, format!("client `{id}`: `{word}` needs a `secret_file` or a `jwks_file`"));
        }
    }
    if grants.own == roles.is_empty() {
        resolver.fault(at, format!("client `{id}`: `roles` and the grant type `client_credentials` belong together"));
    }
    Some(Configured { id, name, tenant: tenant.to_owned(), redirect_uris, credential, grants, roles })
}

fn grants(resolver: &mut Resolver<'_>, written: &document::OAuthClient) -> Grants {
    let Some(words) = &written.grant_types else { return Grants { code: true, refresh: true, ..Grants::default() } };
    let mut grants = Grants::default();
    for word in words {
        match resolver.text(word).as_deref() {
            Some("authorization_code") => grants.code = true,
            Some("refresh_token") => grants.refresh = true,
            Some("client_credentials") => grants.own = true,
            Some(DEVICE_GRANT) => grants.device = true,
            Some(ASSERTION_GRANT) => grants.assertion = true,
            Some(other) => {
                let known = format!(
                    "authorization_code, refresh_token, client_credentials, {DEVICE_GRANT} and {ASSERTION_GRANT}"
                );
                resolver.fault(Some(word), format!("`{other}` is no grant type of this server; there are {known}"));
            }
            None => {}
        }
    }
    grants
}

fn credential(resolver: &mut Resolver<'_>, written: &document::OAuthClient) -> Option<Credential> {
    match (&written.secret_file, &written.jwks_file) {
        (Some(file), Some(_)) => {
            resolver.fault(Some(file), "a client has a secret or keys; keep one of `secret_file` and `jwks_file`");
            None
        }
        (Some(file), None) => {
            let secret = resolver.secret_file(file)?;
            if secret.expose().len() < MIN_SECRET {
                let message = "a client's secret has at least 24 characters; make one with `openssl rand -base64 32`";
                resolver.fault(Some(file), message);
            }
            Some(Credential::Secret(Digest256::of(secret.expose())))
        }
        (None, Some(file)) => {
            let path = resolver.path(file)?;
            let text = resolver.read(&path)?;
            let keys = serde_json::from_str(&text).ok().and_then(|set| ClientKeys::parse(&set).ok());
            if keys.is_none() {
                let message = format!(
                    "`{}` is no set of public keys (RSA or P-256); write `{{\"keys\": [\u{2026}]}}`",
                    path.display()
                );
                resolver.fault(Some(file), message);
            }
            keys.map(Credential::Keys)
        }
        (None, None) => Some(Credential::Public),
    }
}

fn redirect_uris(resolver: &mut Resolver<'_>, written: &document::OAuthClient, own: &Own<'_>) -> Vec<String> {
    let mut uris = Vec::with_capacity(written.redirect_uris.len());
    for text in &written.redirect_uris {
        let Some(uri) = resolver.text(text) else { continue };
        if let Err(why) = check_redirect_uri(&uri, own) {
            resolver.fault(Some(text), format!("`{uri}`: {why}"));
        }
        uris.push(uri);
    }
    uris
}

/// For tests on one's own machine: anywhere else it would hand every client to whoever runs the double.
fn double_of(resolver: &mut Resolver<'_>, written: &document::DocumentDouble, public_url: &str) -> Option<Double> {
    let address = resolver.text(&written.address)?;
    let address: Option<SocketAddr> = address.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    let is_local = Url::parse(public_url).is_ok_and(|url| is_loopback(&url));
    if address.is_none() || !is_local {
        let message = "`document_double` is for tests, where `server.public_url` and its address are on this machine; leave it out";
        resolver.fault(Some(&written.address), message);
        return None;
    }
    let path = resolver.path(&written.ca_file)?;
    let ca_pem = resolver.read(&path)?.into_bytes();
    address.map(|address| Double { address, ca_pem })
}
