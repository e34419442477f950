//! Tokens for a backend's own API in a person's name (Microsoft identity platform, on-behalf-of flow).
//!
//! What is exchanged is an access token for this gateway, which the grant's sealed refresh token gives; the client's own
//! token has no part in it. Entra's old refresh token stays good after use, so nothing has to be stored.

use std::time::Duration;

use super::{Entra, EntraError};

/// RFC 7523 section 2.1.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token for another API. Does not print.
pub struct Exchanged {
    /// The access token.
    pub access_token: String,
    /// How long it is good.
    pub lifetime: Duration,
}

impl Entra {
    /// A token for the API of `scope`, in the name of whoever this refresh token is of.
    ///
    /// # Errors
    ///
    /// Returns an [`EntraError`]; there is no token then.
    pub async fn on_behalf_of(&self, refresh_token: &str, tenant: &str, scope: &str) -> Result<Exchanged, EntraError> {
        let own = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("scope", &self.scopes)];
        let tokens = self.endpoint.ask(Some(tenant), &own).await?;
        let missing = || EntraError::Unacceptable("there is no access token".to_owned());
        let assertion = tokens.access_token.ok_or_else(missing)?;
        let exchange = [
            ("grant_type", GRANT_TYPE),
            ("assertion", &assertion),
            ("scope", scope),
            ("requested_token_use", "on_behalf_of"),
        ];
        let tokens = self.endpoint.ask(Some(tenant), &exchange).await?;
        let access_token = tokens.access_token.filter(|token| is_plain(token)).ok_or_else(missing)?;
        Ok(Exchanged { access_token, lifetime: Duration::from_secs(tokens.expires_in) })
    }
}

/// Whether it can stand in an `Authorization` field (RFC 6750 section 2.1).
fn is_plain(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}
