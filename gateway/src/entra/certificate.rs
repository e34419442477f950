//! A certificate as the gateway's credential (Microsoft identity platform, certificate credentials; RFC 7523).
//!
//! An assertion is signed with PS256 and names the certificate by `x5t#S256`. Key and certificate are PEM files, looked at
//! for each assertion: a renewed pair is used at once, and one that does not fit together leaves the last good one in use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::failure::EntraError;
use crate::clock::Timestamp;

/// Entra takes assertions of up to ten minutes.
const LIFETIME: Duration = Duration::from_secs(300);

/// A certificate and its key. Does not print.
pub struct Certificate {
    key_file: PathBuf,
    chain: PathBuf,
    last: Mutex<Option<Arc<Pair>>>,
}

/// A pair that fits together, and what its files held.
struct Pair {
    content: [u8; 32],
    key: CertifiedKey,
    thumbprint: String,
}

impl Certificate {
    /// The pair in these PEM files; one file may hold both.
    ///
    /// # Errors
    ///
    /// Returns [`EntraError::Credential`] when there is no RSA key, no certificate, or they do not belong together.
    pub fn open(key_file: &Path, certificate_file: &Path) -> Result<Self, EntraError> {
        let certificate =
            Self { key_file: key_file.to_owned(), chain: certificate_file.to_owned(), last: Mutex::new(None) };
        certificate.pair()?;
        Ok(certificate)
    }

    /// An assertion that proves to the token endpoint at `audience` who asks.
    pub(super) fn assertion(&self, client_id: &str, audience: &str, now: Timestamp) -> Result<String, EntraError> {
        let pair = self.pair()?;
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": pair.thumbprint });
        let claims = json!({
            "aud": audience, "iss": client_id, "sub": client_id, "jti": uuid::Uuid::new_v4().to_string(),
            "nbf": now.as_secs(), "iat": now.as_secs(), "exp": now.plus(LIFETIME).as_secs(),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signer = pair.key.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]);
        let signer = signer.ok_or_else(|| self.fault("the key is not an RSA key"))?;
        let signature = signer.sign(message.as_bytes()).map_err(|error| self.fault(&error.to_string()))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The pair as it is in the files, or the last good one.
    fn pair(&self) -> Result<Arc<Pair>, EntraError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.load(last.as_ref()) {
            Ok(pair) => Ok(Arc::clone(last.insert(pair))),
            Err(error) => match last.as_ref() {
                Some(pair) => {
                    tracing::error!(%error, "the renewed certificate is not usable; the last good one stays in use");
                    Ok(Arc::clone(pair))
                }
                None => Err(error),
            },
        }
    }

    fn load(&self, last: Option<&Arc<Pair>>) -> Result<Arc<Pair>, EntraError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                EntraError::Credential(format!("`{}` cannot be read ({error}); check the name", path.display()))
            })
        };
        let (key, certificate) = (read(&self.key_file)?, read(&self.chain)?);
        let content = Sha256::new().chain_update(Sha256::digest(&key)).chain_update(&certificate).finalize().into();
        if let Some(last) = last.filter(|last| last.content == content) {
            return Ok(Arc::clone(last));
        }
        let no_key = |_error| self.fault("there is no private key in PEM in the key's file");
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(no_key)?;
        let no_certificate = |_error| self.fault("there is no certificate in PEM in the certificate's file");
        let certificate = CertificateDer::from_pem_slice(&certificate).map_err(no_certificate)?.into_owned();
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate));
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(vec![certificate], key, &provider)
            .map_err(|error| self.fault(&format!("key and certificate do not belong together ({error})")))?;
        if key.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).is_none() {
            return Err(self.fault("the key is not an RSA key, which Entra asks for"));
        }
        Ok(Arc::new(Pair { content, key, thumbprint }))
    }

    fn fault(&self, what: &str) -> EntraError {
        let (key, certificate) = (self.key_file.display(), self.chain.display());
        EntraError::Credential(format!("{what}; see `{key}` and `{certificate}`"))
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({})", self.chain.display())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const AUDIENCE: &str = "https://login.example/t/oauth2/v2.0/token";

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    /// A key, and a certificate over it, in PEM.
    fn renewed() -> (KeyPair, String, String) {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let key_pem = pem("PRIVATE KEY", pkcs8.as_ref());
        let signer = rcgen::KeyPair::from_pem(&key_pem).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap().self_signed(&signer);
        (pair, key_pem, certificate.unwrap().pem())
    }

    fn part(assertion: &str, index: usize) -> Value {
        let part = assertion.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_is_signed_with_ps256_and_names_the_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let both = directory.path().join("both.pem");
        let (pair, key, certificate) = renewed();
        std::fs::write(&both, format!("{certificate}{key}")).unwrap();
        let assertion = Certificate::open(&both, &both).unwrap().assertion("client", AUDIENCE, NOW).unwrap();
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&der));
        assert_eq!(part(&assertion, 0), json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint }));
        let claims = part(&assertion, 1);
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("client"), &json!("client"), &json!(AUDIENCE))
        );
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
        let (message, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, pair.public_key().as_ref());
        public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn a_renewed_pair_is_used_at_once_and_a_broken_one_never() {
        let directory = tempfile::tempdir().unwrap();
        let (key_file, certificate_file) = (directory.path().join("key.pem"), directory.path().join("certificate.pem"));
        let write = |key: &str, certificate: &str| {
            std::fs::write(&key_file, key).unwrap();
            std::fs::write(&certificate_file, certificate).unwrap();
        };
        let (_, first_key, first) = renewed();
        let (_, second_key, second) = renewed();
        write(&first_key, &second);
        let error = Certificate::open(&key_file, &certificate_file).unwrap_err().to_string();
        assert!(error.contains("do not belong together"), "{error}");
        write(&first_key, &first);
        let certificate = Certificate::open(&key_file, &certificate_file).unwrap();
        let thumbprint = || part(&certificate.assertion("c", AUDIENCE, NOW).unwrap(), 0)["x5t#S256"].clone();
        let before = thumbprint();
        // Between the two writes of a renewal the files do not fit together.
        write(&second_key, &first);
        assert_eq!(thumbprint(), before);
        write("", "");
        assert_eq!(thumbprint(), before);
        write(&second_key, &second);
        assert_ne!(thumbprint(), before);
    }

    #[test]
    fn what_is_no_rsa_pair_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("both.pem");
        let elliptic = rcgen::generate_simple_self_signed(vec!["gateway".to_owned()]).unwrap();
        let elliptic = format!("{}{}", elliptic.cert.pem(), elliptic.signing_key.serialize_pem());
        for content in [elliptic.as_str(), "", "nonsense"] {
            std::fs::write(&file, content).unwrap();
            assert!(Certificate::open(&file, &file).is_err(), "{content}");
        }
        assert!(Certificate::open(&directory.path().join("none"), &file).is_err());
    }
}
