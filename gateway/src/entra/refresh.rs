//! Asking Entra again who a person is and which roles they have (OpenID Connect Core section 12).

use super::{Entra, EntraError, SignedIn, StepUp};

impl Entra {
    /// Asks the person's own directory again; `step_up` is what the sign-in proved and should be told again, if it still
    /// holds.
    ///
    /// # Errors
    ///
    /// Returns an [`EntraError`]: [`EntraError::Refused`] ends the grant, anything else does not.
    pub async fn refresh(&self, refresh_token: &str, tenant: &str, step_up: &StepUp) -> Result<SignedIn, EntraError> {
        let scope = format!("openid {}", self.scopes);
        let claims = step_up.claims(false);
        let mut fields =
            vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("scope", scope.as_str())];
        fields.extend(claims.as_deref().map(|claims| ("claims", claims)));
        let tokens = self.endpoint.ask(Some(tenant), &fields).await?;
        self.signed_in(tokens, None).await
    }
}
