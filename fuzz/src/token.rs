//! A gateway's own token, the key that signs it, and an authenticator that believes nothing else.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use portcullis::authn::{Audience, Authenticator, AuthnError, Settings, VerifiedIdentity};
use portcullis::clock::{ManualClock, Timestamp};
use portcullis::jose::access_token::{AccessTokenClaims, IdType, Verifier};
use portcullis::jose::signing_key::SigningKey;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use tokio::runtime::{Builder, Runtime};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://mcp.example.com";
pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";

pub(crate) struct Gateway {
    runtime: Runtime,
    authenticator: Authenticator,
    audience: Audience,
    key: SigningKey,
    pair: EcdsaKeyPair,
    /// A token that is good here.
    pub(crate) token: String,
}

pub(crate) static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| {
    let key = SigningKey::generate().unwrap();
    let claims = AccessTokenClaims {
        iss: ISSUER.to_owned(),
        aud: RESOURCE.to_owned(),
        sub: "11111111-2222-4333-8444-555555555555:0a11ce00-0000-4000-8000-000000000005".to_owned(),
        client_id: "c".to_owned(),
        jti: "j".to_owned(),
        iat: NOW,
        exp: NOW + 900,
        scope: "read".to_owned(),
        tid: "11111111-2222-4333-8444-555555555555".to_owned(),
        oid: "0a11ce00-0000-4000-8000-000000000005".to_owned(),
        idtyp: IdType::User,
        roles: vec!["Task.Read".to_owned()],
        groups: Vec::new(),
        auth_time: None,
        guest: None,
        claims: std::collections::BTreeMap::new(),
        grant_id: "99999999-0000-4000-8000-000000000001".to_owned(),
        acrs: Vec::new(),
    };
    let mut settings = Settings::new(Verifier::new(ISSUER, [&key]));
    settings.cache_capacity = 0;
    Gateway {
        runtime: Builder::new_current_thread().build().unwrap(),
        authenticator: Authenticator::new(settings, Arc::new(ManualClock::new(Timestamp::from_secs(NOW)))),
        audience: Audience { resource: RESOURCE.to_owned(), accept_entra_tokens: false, public: false },
        pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.pkcs8(), &SystemRandom::new()).unwrap(),
        token: claims.mint(&key).unwrap(),
        key,
    }
});

impl Gateway {
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<VerifiedIdentity>, AuthnError> {
        self.runtime.block_on(self.authenticator.authenticate(headers, &self.audience))
    }

    /// Whether a token is believed; `None` when no header can carry it.
    pub(crate) fn believes(&self, token: &[u8]) -> Option<bool> {
        let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
        Some(self.authenticate(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])).is_ok())
    }

    pub(crate) fn kid(&self) -> &str {
        self.key.kid()
    }

    /// A token with any header and payload, signed with the right key.
    pub(crate) fn sign(&self, protected: &[u8], payload: &[u8]) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(protected), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// `data` with every `placeholder` replaced.
pub(crate) fn filled(data: &[u8], placeholder: &[u8], value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(placeholder) {
            out.extend_from_slice(value.as_bytes());
            rest = after;
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}
