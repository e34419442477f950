//! The gateway's signing key: ES256, a P-256 key pair in PKCS#8, named by its thumbprint (RFC 7638).

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde::Serialize;
use serde_json::Value;

/// A key pair that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    pkcs8: Vec<u8>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Value,
}

/// The key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[error("the signing key cannot be used: {0}; restore it from a backup, or remove it to have a new one made")]
pub struct SigningKeyError(String);

impl SigningKey {
    /// A new key pair.
    ///
    /// # Errors
    ///
    /// Returns an error when the system has no randomness.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|error| SigningKeyError(error.to_string()))?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// The key pair in this PKCS#8 document (DER).
    ///
    /// # Errors
    ///
    /// Returns an error when it is no P-256 key pair.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SigningKeyError> {
        let fault = |error: jsonwebtoken::errors::Error| SigningKeyError(error.to_string());
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(|error| SigningKeyError(error.to_string()))?;
        let encoding = EncodingKey::from_ec_der(pkcs8);
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::ES256).map_err(fault)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(fault)?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(fault)?;
        let mut jwk = serde_json::to_value(&jwk).map_err(|error| SigningKeyError(error.to_string()))?;
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), Value::from(kid.clone()));
            members.insert("use".to_owned(), Value::from("sig"));
            members.insert("alg".to_owned(), Value::from("ES256"));
        }
        Ok(Self { kid, pkcs8: pkcs8.to_vec(), encoding, decoding, jwk })
    }

    /// The private key as PKCS#8 (DER); to be sealed, not shown.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, as a JWK.
    #[must_use]
    pub fn public_jwk(&self) -> &Value {
        &self.jwk
    }

    /// The public half, to verify with.
    #[must_use]
    pub fn verifier(&self) -> &DecodingKey {
        &self.decoding
    }

    /// Signs claims as a compact JWS of this type.
    ///
    /// # Errors
    ///
    /// Returns an error when the claims cannot be encoded.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, SigningKeyError> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|error| SigningKeyError(error.to_string()))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_storage_and_shows_only_its_public_half() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(key.kid(), again.kid());
        let members = key.public_jwk().as_object().unwrap();
        assert!(members.contains_key("x") && members.contains_key("y") && !members.contains_key("d"));
        assert!(SigningKey::from_pkcs8(b"nonsense").is_err());
    }
}
