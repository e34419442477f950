//! An identity provider for tests: fresh keys, a key set that is read like a real one, and tokens of any shape.

use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::claims::{EntraExpectations, Tenant};
use super::entra_token::Verifier;
use super::key_set::{FetchError, KeySet, KeySource, Keys, parse, parse_any};
use crate::clock::{ManualClock, Timestamp};

pub(crate) const TENANT: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const PARTNER: &str = "22222222-2222-4333-8444-555555555555";
pub(crate) const STRANGER: &str = "99999999-8888-4777-8666-555555555555";
pub(crate) const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
pub(crate) const CLIENT: &str = "aaaaaaaa-0000-4000-8000-00000000c1d1";
pub(crate) const OID: &str = "0a11ce00-0000-4000-8000-000000000001";
pub(crate) const NOW: u64 = 1_800_000_000;
/// The header of an honest token.
pub(crate) const HEADER: &str = r#"{"typ":"JWT","alg":"RS256","kid":"entra"}"#;

/// The key set of an issuer of assertions, as published.
#[derive(Debug)]
pub(crate) struct Published(pub(crate) Value);

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        parse_any(&self.0).map_err(|source| FetchError::Keys { url: "https://idp.example/keys".to_owned(), source })
    }
}

/// An RSA key pair.
pub(crate) struct Rsa(KeyPair);

impl Rsa {
    /// The provider's key; made once, as making one takes a while.
    pub(crate) fn provider() -> &'static Self {
        static KEY: OnceLock<Rsa> = OnceLock::new();
        KEY.get_or_init(|| Self(KeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    /// Somebody else's key.
    pub(crate) fn stranger() -> &'static Self {
        static KEY: OnceLock<Rsa> = OnceLock::new();
        KEY.get_or_init(|| Self(KeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    /// The public half as PKCS#1 (DER).
    pub(crate) fn pkcs1(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    /// The public half as a `SubjectPublicKeyInfo` (DER).
    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// The modulus: behind two headers and a sign byte in PKCS#1, for a key of 2048 bits.
    pub(crate) fn modulus(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.pkcs1()[9..9 + 256])
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": self.modulus(), "e": "AQAB" })
    }

    /// Signs any header and any payload, whatever the header says.
    pub(crate) fn sign_as(&self, padding: &'static dyn RsaEncoding, header: &str, payload: &str) -> String {
        let message = message(header, payload);
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_as(&signature::RSA_PKCS1_SHA256, header, payload)
    }
}

/// What is signed: header and payload.
pub(crate) fn message(header: &str, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// A token of the provider with these claims.
pub(crate) fn token(claims: &Value) -> String {
    Rsa::provider().sign(HEADER, &claims.to_string())
}

pub(crate) fn issuer(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

/// The claims of an honest delegated token.
pub(crate) fn claims() -> Value {
    json!({ "iss": issuer(TENANT), "aud": CLIENT, "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "ver": "2.0", "tid": TENANT,
        "oid": OID, "sub": "pairwise", "azp": "client", "azpacr": "1", "scp": "access_as_user openid",
        "roles": ["Task.Read"], "uti": "u", "aio": "x", "rh": "x" })
}

/// The claims of an honest ID token.
pub(crate) fn id_claims() -> Value {
    let claims = without(without(without(claims(), "scp"), "azp"), "azpacr");
    let claims = set(set(claims, "nonce", json!("the nonce")), "preferred_username", json!("alice@example.com"));
    set(set(claims, "auth_time", json!(NOW - 60)), "acrs", json!(["c1"]))
}

pub(crate) fn set(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

pub(crate) fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A provider whose published keys can be changed.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    pub(crate) keys: Arc<Mutex<Value>>,
    pub(crate) fetches: Arc<Mutex<usize>>,
}

impl Provider {
    pub(crate) fn new() -> Self {
        let keys = json!({ "keys": [Rsa::provider().jwk("entra")] });
        Self { keys: Arc::new(Mutex::new(keys)), fetches: Arc::default() }
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        *self.keys.lock().unwrap() = json!({ "keys": keys });
    }

    pub(crate) fn fetches(&self) -> usize {
        *self.fetches.lock().unwrap()
    }

    /// A verifier for the tenant and its partner.
    pub(crate) fn verifier(&self, clock: &ManualClock) -> Verifier {
        let expectations = EntraExpectations {
            version_one: None,
            claims: std::collections::BTreeSet::new(),
            issuer: issuer(TENANT),
            tenant_id: TENANT.to_owned(),
            allowed_tenants: vec![Tenant { tenant_id: PARTNER.to_owned(), issuer: issuer(PARTNER) }],
            client_id: CLIENT.to_owned(),
            scopes: vec!["access_as_user".to_owned()],
            clock_skew: std::time::Duration::from_mins(1),
        };
        let keys = KeySet::new(Box::new(self.clone()), Arc::new(clock.clone()));
        Verifier::new(expectations, Arc::new(keys))
    }
}

#[async_trait]
impl KeySource for Provider {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        *self.fetches.lock().unwrap() += 1;
        let keys = self.keys.lock().unwrap().clone();
        parse(&keys, None).map_err(|source| FetchError::Keys { url: "https://idp/keys".to_owned(), source })
    }
}

/// A clock at the time of the tokens.
pub(crate) fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_secs(NOW))
}
