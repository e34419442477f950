//! Whose a token was that is believed no more: the gateway signed it, and it has ended or was ended.
//!
//! For the trail alone, where the further tries of a thief are looked for by name. It is no [`super::VerifiedIdentity`] and
//! cannot become one: nothing is let through, or counted, by it.

use http::HeaderMap;

use super::{Authenticator, AuthnError, Reason, bearer};
use crate::jose::VerifyError;
use crate::jose::access_token::AccessTokenClaims;
use crate::jose::claims::ClaimsError;
use crate::jose::jwt;

/// What a token says that was believed once.
#[derive(Debug)]
pub struct Disbelieved {
    /// Its claims.
    pub claims: AccessTokenClaims,
    /// Why it is not believed: `revoked` or `expired`.
    pub why: &'static str,
}

impl Authenticator {
    /// Whose token was refused, where it is one of the gateway's own that was good before; nobody's in any other case.
    #[must_use]
    pub fn disbelieved(&self, headers: &HeaderMap, failure: AuthnError) -> Option<Disbelieved> {
        let why = match failure {
            AuthnError::Invalid(Reason::Revoked) => "revoked",
            AuthnError::Invalid(Reason::Token(VerifyError::Claims(ClaimsError::Expired))) => "expired",
            _ => return None,
        };
        let token = bearer::token(headers).ok().filter(|token| token.len() <= jwt::MAX_TOKEN)?;
        let claims = self.own.signed(&jwt::parse(token).ok()?).ok()?;
        Some(Disbelieved { claims, why })
    }
}
