//! The records, and what a code is compared with.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Digest256;
use crate::clock::Timestamp;

/// A registered client (RFC 7591).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its id.
    pub client_id: String,
    /// What it calls itself; nothing vouches for it.
    pub client_name: Option<String>,
    /// Where answers may go, exactly.
    pub redirect_uris: Vec<String>,
    /// `native` or `web`.
    pub application_type: String,
    /// Whether it may refresh.
    pub may_refresh: bool,
    /// Whether it may ask for a device to be let in (RFC 8628).
    #[serde(default)]
    pub device: bool,
    /// When it registered, in seconds.
    pub registered_at: u64,
    /// The keys that it authenticates with; a public client has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<ClientKeys>,
}

/// Where the public keys of a client are (RFC 7591 section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKeys {
    /// In its metadata.
    Inline(serde_json::Value),
    /// Behind a URL.
    Remote {
        /// The URL.
        uri: String,
        /// What was there when somebody last signed in, for when it is out of reach.
        last: Option<serde_json::Value>,
    },
}

/// An authorization request on its way through consent and sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Who asks.
    pub client_id: String,
    /// What its metadata document said, where it has one: what happens next does not depend on its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Box<Client>>,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// The client's `state`, given back as it came.
    pub state: Option<String>,
    /// The S256 challenge (RFC 7636); only where the way does without may it be absent.
    pub code_challenge: Option<String>,
    /// The resource that was asked for (RFC 8707).
    pub resource: String,
    /// The scopes that will be granted.
    pub scopes: Vec<String>,
    /// `login_hint` and the like, for the identity provider.
    pub hints: Vec<(String, String)>,
    /// The SHA-256 of what the consent form must carry, as base64url.
    pub csrf: String,
    /// What the browser's cookie must hold at the callback, as base64url SHA-256; set by consent.
    pub binding: Option<String>,
    /// Our own nonce towards the identity provider, sealed; set by consent.
    pub nonce: Option<String>,
    /// Our own PKCE verifier towards the identity provider, sealed; set by consent.
    pub verifier: Option<String>,
    /// Whether the person wants this consent remembered.
    #[serde(default)]
    pub remember: bool,
    /// Whose remembered consent stands for the consent page: tenant and object, joined by a colon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered_of: Option<String>,
    /// How what comes of it gets to who asked.
    #[serde(default)]
    pub way: Way,
}

/// How what comes of a login gets to who asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// By a redirect to the `redirect_uri`.
    #[default]
    Redirect,
    /// On a page, as a code that the person hands on.
    Page,
    /// To the device that waits (RFC 8628).
    Device(Waiting),
}

/// A device that waits, and what a person is told of it. Names are SHA-256 digests as base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Of the device's code; also the S256 challenge that the code meets.
    pub name: String,
    /// Of the record that is taken when the request is decided.
    pub ticket: String,
    /// The address that asked.
    pub asked_from: String,
    /// When it asked, in seconds.
    pub asked_at: u64,
    /// Whether the person is at another address.
    pub elsewhere: bool,
}

/// What a code was issued for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRecord {
    /// To whom.
    pub client_id: String,
    /// Where it was sent.
    pub redirect_uri: String,
    /// The S256 challenge that the verifier must meet; without one there must be no verifier.
    pub code_challenge: Option<String>,
    /// The resource that the token will be for.
    pub resource: String,
}

/// What came with a code at the token endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// `client_id`.
    pub client_id: &'a str,
    /// `redirect_uri`, which a client of OAuth 2.1 does not send (section 10.2): its code is bound to it by PKCE.
    pub redirect_uri: Option<&'a str>,
    /// `code_verifier`.
    pub code_verifier: Option<&'a str>,
    /// `resource`.
    pub resource: Option<&'a str>,
}

/// Why a code is not given for what was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another client, redirect URI or verifier.
    Grant,
    /// Another resource.
    Target,
}

impl CodeRecord {
    /// Whether it went to a client by a redirect. Codes that a page showed, or that a device has had from the beginning, are
    /// for other endpoints, which say so: in place of a redirect URI they have nothing, or a grant type.
    fn was_sent(&self) -> bool {
        !self.redirect_uri.is_empty() && !self.redirect_uri.starts_with("urn:")
    }

    /// Whether the code was issued for this.
    pub(super) fn check(&self, presented: &Presented<'_>) -> Result<(), Refused> {
        let met = match (&self.code_challenge, presented.code_verifier) {
            (Some(challenge), Some(verifier)) => {
                let met = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
                met.as_bytes().ct_eq(challenge.as_bytes()).into()
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let is_there = match presented.redirect_uri {
            Some(uri) => uri == self.redirect_uri,
            None => self.code_challenge.is_some() && self.was_sent(),
        };
        if !met || presented.client_id != self.client_id || !is_there {
            return Err(Refused::Grant);
        }
        if presented.resource.is_some_and(|resource| resource != self.resource) {
            return Err(Refused::Target);
        }
        Ok(())
    }
}

/// What a person granted a client, and what is known of the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: String,
    /// To whom.
    pub client_id: String,
    /// For which resource.
    pub resource: String,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The person's directory.
    pub tid: String,
    /// The person's object in it.
    pub oid: String,
    /// App-role values when they were last read.
    pub roles: Vec<String>,
    /// Groups' object IDs when they were last read.
    pub groups: Vec<String>,
    /// When the person signed in, in seconds, where the identity provider said so.
    pub auth_time: Option<u64>,
    /// Authentication contexts that the sign-in satisfied, when they were last read.
    pub acrs: Vec<String>,
    /// Whether the person is a guest in the directory.
    #[serde(default)]
    pub guest: bool,
    /// Further claims that policies may ask for, when they were last read.
    #[serde(default)]
    pub claims: std::collections::BTreeMap<String, serde_json::Value>,
    /// The identity provider's refresh token, sealed; absent when it gave none.
    pub upstream: Option<String>,
    /// Whether the client may refresh.
    pub may_refresh: bool,
}

/// The refresh token that replaces another.
#[derive(Clone)]
pub struct Successor {
    /// What the store knows of it.
    pub token: Digest256,
    /// The token itself, sealed under the one that it replaces: only who holds that can ask for it again.
    pub sealed: String,
    /// When it ends unless it is used.
    pub expires: Timestamp,
}

/// Proof that a code was spent, made only by a store.
#[derive(Debug)]
pub struct SpentCode {
    grant: Grant,
}

impl SpentCode {
    pub(super) fn new(grant: Grant) -> Self {
        Self { grant }
    }

    /// The grant that the code stood for.
    #[must_use]
    pub fn into_grant(self) -> Grant {
        self.grant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "https://client.example/cb";
    const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

    #[test]
    fn a_code_without_a_redirect_uri_is_good_where_pkce_binds_it_and_it_was_sent_somewhere() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let code = |redirect_uri: &str, bound: bool| CodeRecord {
            client_id: "c".to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            code_challenge: bound.then(|| challenge.clone()),
            resource: "r".to_owned(),
        };
        let check = |code: CodeRecord, redirect_uri: Option<&str>| {
            let code_verifier = code.code_challenge.is_some().then_some(verifier);
            code.check(&Presented { client_id: "c", redirect_uri, code_verifier, resource: None }).is_ok()
        };
        for (redirect_uri, bound, presented, is_good) in [
            (URI, true, Some(URI), true),
            (URI, true, None, true),
            (URI, true, Some("https://client.example/other"), false),
            (URI, true, Some(""), false),
            (URI, false, None, false),
            ("", true, Some(""), true),
            ("", true, None, false),
            (DEVICE, true, Some(DEVICE), true),
            (DEVICE, true, None, false),
        ] {
            let good = check(code(redirect_uri, bound), presented);
            assert_eq!(good, is_good, "{redirect_uri} {bound} {presented:?}");
        }
    }
}
