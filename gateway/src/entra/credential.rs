//! How the gateway proves to Entra that it is the app registration: a secret, a certificate, or a token of a platform
//! that the registration trusts (federated identity credential).
//!
//! What may change while the gateway runs is read from its file for each request: a platform renews its token about
//! hourly, and nobody restarts a gateway for that.

use std::path::PathBuf;

use super::certificate::Certificate;
use super::failure::EntraError;
use crate::clock::Timestamp;

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Longer than any honest token of a platform.
const MAX_TOKEN: usize = 16 * 1024;

/// The app registration's credential. Does not print.
pub enum Credential {
    /// A client secret.
    Secret(String),
    /// A certificate whose key signs an assertion (`private_key_jwt`).
    Certificate(Certificate),
    /// The file in which a platform keeps a token for this workload.
    FederatedToken(PathBuf),
}

impl Credential {
    /// The fields that a request to the token endpoint at `audience` carries.
    ///
    /// # Errors
    ///
    /// Returns [`EntraError::Credential`] when there is nothing usable to send.
    pub(super) fn fields(
        &self,
        client_id: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Vec<(&'static str, String)>, EntraError> {
        let assertion = match self {
            Self::Secret(secret) => return Ok(vec![("client_secret", secret.clone())]),
            Self::Certificate(certificate) => certificate.assertion(client_id, audience, now)?,
            Self::FederatedToken(path) => federated_token(path)?,
        };
        Ok(vec![("client_assertion_type", ASSERTION_TYPE.to_owned()), ("client_assertion", assertion)])
    }

    /// What it is, for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Certificate(_) => "certificate",
            Self::FederatedToken(_) => "federated token",
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({})", self.kind())
    }
}

fn federated_token(path: &std::path::Path) -> Result<String, EntraError> {
    let fault = |what: &str| EntraError::Credential(format!("`{}` {what}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| fault(&format!("cannot be read ({error}); see how the platform mounts it")))?;
    let token = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if token.len() > MAX_TOKEN || token.split('.').count() != 3 || !token.bytes().all(plain) {
        return Err(fault("holds no token; see how the platform fills it"));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_federated_token_is_read_anew_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let credential = Credential::FederatedToken(path.clone());
        let sent = || credential.fields("client", "https://login.example/token", NOW);
        assert!(matches!(sent(), Err(EntraError::Credential(text)) if text.contains("token")));
        for token in ["a.b.c", "d.e-_.f"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            let fields = sent().unwrap();
            assert!(fields.contains(&("client_assertion", token.to_owned())));
            assert!(fields.contains(&("client_assertion_type", ASSERTION_TYPE.to_owned())));
        }
        for bad in ["", "a.b", "a.b.c.d", "a b.c.d", "a.b.ü", &format!("{}.b.c", "x".repeat(MAX_TOKEN))] {
            std::fs::write(&path, bad).unwrap();
            assert!(sent().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_credential_does_not_print() {
        let shown = format!("{:?}", Credential::Secret("hush".to_owned()));
        assert_eq!(shown, "Credential(secret)");
    }
}
