//! The gateway's signing key: ES256, a P-256 key pair in PKCS#8, named by its thumbprint (RFC 7638).
//!
//! Owns making, keeping and using the pair. Where it is kept, and when it is replaced, is for others to say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::Value;

/// RFC 7468 section 2 wraps at 64 characters; each of these is 48 bytes.
const PEM_LINE: usize = 48;

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

impl SigningKeyError {
    fn because(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl SigningKey {
    /// A new key pair.
    ///
    /// # Errors
    ///
    /// Returns an error when the system has no randomness.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(SigningKeyError::because)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// The key pair in this PKCS#8 document (PEM, `PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// Returns an error when it is no PEM, or no P-256 key pair.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, SigningKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(SigningKeyError::because)?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    /// The key pair in this PKCS#8 document (DER).
    ///
    /// # Errors
    ///
    /// Returns an error when it is no P-256 key pair.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SigningKeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(SigningKeyError::because)?;
        let encoding = EncodingKey::from_ec_der(pkcs8);
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::ES256).map_err(SigningKeyError::because)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(SigningKeyError::because)?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(SigningKeyError::because)?;
        let mut jwk = serde_json::to_value(&jwk).map_err(SigningKeyError::because)?;
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

    /// The private key as PKCS#8 (PEM); to be sealed, not shown.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let lines: Vec<String> = self.pkcs8.chunks(PEM_LINE).map(|line| STANDARD.encode(line)).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
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
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(SigningKeyError::because)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_key_survives_storage_and_shows_only_its_public_half() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(key.kid(), SigningKey::from_pkcs8(key.pkcs8()).unwrap().kid());
        assert_eq!(key.kid(), SigningKey::from_pkcs8_pem(&key.to_pem()).unwrap().kid());
        assert!(key.to_pem().lines().all(|line| line.len() <= 64));
        let members = key.public_jwk().as_object().unwrap();
        assert!(members.contains_key("x") && members.contains_key("y") && !members.contains_key("d"));
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.kid()));
    }

    #[test]
    fn the_name_is_the_thumbprint_of_rfc_7638() {
        let key = SigningKey::generate().unwrap();
        let jwk = key.public_jwk();
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        let thumbprint = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        assert_eq!(key.kid(), thumbprint);
    }

    #[test]
    fn what_is_no_p_256_key_is_refused() {
        let key = SigningKey::generate().unwrap();
        let cut = &key.pkcs8()[..key.pkcs8().len() - 1];
        assert!(SigningKey::from_pkcs8(cut).is_err());
        let p384 =
            EcdsaKeyPair::generate_pkcs8(&ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new());
        assert!(SigningKey::from_pkcs8(p384.unwrap().as_ref()).is_err());
        for pem in ["", "nonsense", &key.to_pem().replace("PRIVATE", "PUBLIC"), &key.to_pem().replace('A', "!")] {
            assert!(SigningKey::from_pkcs8_pem(pem).is_err());
        }
    }
}
