//! Why a token does not verify: one closed enum for every issuer. For logs and metrics; the caller is told nothing.

use super::claims::ClaimsError;
use super::jwt::JwtError;

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Its form, its header or its signature.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// What it says.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// It names a key that its issuer does not have.
    #[error("the issuer has no key of this `kid`")]
    UnknownKey,
    /// The issuer's keys are not to be had at the moment: nothing can be said of the token.
    #[error("the issuer's keys are not available")]
    Unavailable,
}

impl VerifyError {
    /// Its label in metrics, of a closed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Jwt(JwtError::Signature | JwtError::ForeignKey) => "signature",
            Self::Jwt(_) => "form",
            Self::Claims(ClaimsError::Expired) => "expired",
            Self::Claims(ClaimsError::NotYet) => "not_yet",
            Self::Claims(ClaimsError::Audience) => "audience",
            Self::Claims(ClaimsError::Issuer) => "issuer",
            Self::Claims(ClaimsError::Tenant) => "tenant",
            Self::Claims(_) => "claims",
            Self::UnknownKey => "unknown_key",
            Self::Unavailable => "unavailable",
        }
    }
}
