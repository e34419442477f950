//! The signing keys: RSA, as Entra's are, made anew at every start. The last one signs; all of them are published.

use std::sync::{PoisonError, RwLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The keys, the oldest first; there is always one.
#[derive(Debug)]
pub(crate) struct Keys {
    all: RwLock<Vec<Key>>,
}

/// A key and its name.
#[derive(Debug)]
struct Key {
    pair: KeyPair,
    kid: String,
}

impl Keys {
    pub(crate) fn generate() -> std::io::Result<Self> {
        Ok(Self { all: RwLock::new(vec![Key::generate()?]) })
    }

    /// Signs with another key from now on.
    pub(crate) fn roll(&self) -> std::io::Result<()> {
        let key = Key::generate()?;
        self.all.write().unwrap_or_else(PoisonError::into_inner).push(key);
        Ok(())
    }

    fn each<T>(&self, ask: impl Fn(&Key) -> T) -> Vec<T> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).iter().map(ask).collect()
    }

    /// The public halves.
    pub(crate) fn public(&self, issuer: &str) -> Vec<Value> {
        self.each(|key| key.public(issuer))
    }

    /// A compact JWS over these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as("JWT", claims)
    }

    /// As [`Keys::sign`], of another type.
    pub(crate) fn sign_as(&self, typ: &str, claims: &Value) -> String {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.last().map(|key| key.sign(typ, claims)).unwrap_or_default()
    }

    /// The claims of a compact JWS that one of them signed.
    pub(crate) fn open(&self, token: &str) -> Option<Value> {
        self.each(|key| key.open(token)).into_iter().flatten().next()
    }
}

impl Key {
    fn generate() -> std::io::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|error| std::io::Error::other(error.to_string()))?;
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.public_key().as_ref())).chars().take(27).collect();
        Ok(Self { pair, kid })
    }

    /// The public half as Entra shows it: no `alg`, but an `issuer`.
    fn public(&self, issuer: &str) -> Value {
        let key = self.pair.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (n, e) = (key.modulus(), key.exponent());
        json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "issuer": issuer,
            "n": number(n.big_endian_without_leading_zero()),
            "e": number(e.big_endian_without_leading_zero()),
        })
    }

    /// A compact JWS over these claims.
    fn sign(&self, typ: &str, claims: &Value) -> String {
        let header = json!({ "typ": typ, "alg": "RS256", "kid": self.kid });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
        if signed.is_err() {
            tracing::error!("a token could not be signed");
        }
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a compact JWS that this key signed.
    fn open(&self, token: &str) -> Option<Value> {
        let (message, signature) = token.rsplit_once('.')?;
        let (_, claims) = message.split_once('.')?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        key.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}
