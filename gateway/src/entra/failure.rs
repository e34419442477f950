//! Why a sign-in, a refresh or an exchange failed, and whose move it is.

use super::errors::{self, Advice, Cause};

/// Why a sign-in or a refresh failed.
#[derive(Debug, thiserror::Error)]
pub enum EntraError {
    /// Entra said no to this person or this grant.
    #[error("the identity provider refused: {error} (AADSTS{code}): {operator}", code = advice.code, operator = advice.operator)]
    Refused {
        /// The OAuth error code, when it is one that is known.
        error: &'static str,
        /// What to do.
        advice: Advice,
    },
    /// Entra said no to the gateway: nobody can sign in before the operator has acted.
    #[error("the identity provider refused the gateway: {error} (AADSTS{code}): {operator}", code = advice.code, operator = advice.operator)]
    Misconfigured {
        /// The OAuth error code, when it is one that is known.
        error: &'static str,
        /// What to do.
        advice: Advice,
    },
    /// A person of a directory that is not among the configured ones.
    #[error(
        "the person is of the directory `{tenant}`, which is not listed; invite them as a guest, or list it in \
         `entra.tenants`"
    )]
    OtherDirectory {
        /// Its GUID.
        tenant: String,
    },
    /// Entra cannot be asked at the moment.
    #[error("the identity provider does not answer: {0}")]
    Unavailable(String),
    /// Its answer is not to be believed.
    #[error("the identity provider's answer is not acceptable: {0}")]
    Unacceptable(String),
    /// The gateway's own credential cannot be used.
    #[error("the gateway's credential cannot be used: {0}")]
    Credential(String),
}

impl EntraError {
    /// Its label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused { .. } | Self::OtherDirectory { .. } => "refused",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Unavailable(_) => "unavailable",
            Self::Unacceptable(_) => "unacceptable",
            Self::Credential(_) => "credential",
        }
    }

    /// The AADSTS number, where the identity provider refused.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { advice, .. } | Self::Misconfigured { advice, .. } => Some(advice.code),
            Self::OtherDirectory { .. } | Self::Unavailable(_) | Self::Unacceptable(_) | Self::Credential(_) => None,
        }
    }

    /// What an error answer means. Nothing of its text is kept: it is not ours to log or to show.
    #[must_use]
    pub fn answered(error: &str, description: &str) -> Self {
        const KNOWN: [&str; 12] = [
            "access_denied",
            "consent_required",
            "interaction_required",
            "invalid_client",
            "invalid_grant",
            "invalid_request",
            "invalid_scope",
            "invalid_target",
            "login_required",
            "server_error",
            "temporarily_unavailable",
            "unauthorized_client",
        ];
        let error = KNOWN.into_iter().find(|known| *known == error).unwrap_or("another error");
        let advice = errors::find(errors::code(description));
        match advice.cause(error) {
            Cause::Person => Self::Refused { error, advice },
            Cause::Setup => Self::Misconfigured { error, advice },
            Cause::Passing => Self::Unavailable(format!("{error} (AADSTS{})", advice.code)),
        }
    }
}
