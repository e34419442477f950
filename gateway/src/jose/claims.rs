//! The claim layer: what a verified token must say to be believed, per kind of token.
//!
//! Every claim has one type; a list where a text belongs is a fault, not something to be lenient about. Sources:
//! RFC 9068 for our own tokens; Microsoft's claims reference and validators for Entra's.

mod entra;

pub use entra::{EntraExpectations, EntraIdentity};

use super::access_token::AccessTokenClaims;
use super::jwt::{self, JwtError};
use crate::clock::Timestamp;

/// Longer than any honest identifier.
const MAX_TEXT: usize = 256;
const MAX_ROLES: usize = 200;

/// Why a token's claims are not believed. For logs; the caller is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// A claim is missing, of the wrong type, or there twice.
    #[error("a claim is missing, mistyped or there twice")]
    Shape,
    /// Another issuer.
    #[error("the issuer is another")]
    Issuer,
    /// Another audience.
    #[error("the token is for another resource")]
    Audience,
    /// Past its end.
    #[error("the token has expired")]
    Expired,
    /// Before its beginning.
    #[error("the token is not valid yet; compare the clocks")]
    NotYet,
    /// Another directory.
    #[error("the token is from another tenant")]
    Tenant,
    /// An Entra v1 token.
    #[error("the token is of version 1; set `requestedAccessTokenVersion` to 2 in the app registration's manifest")]
    VersionOne,
    /// A Microsoft Graph token.
    #[error("the token is for Microsoft Graph; ask for a scope with the `api://` prefix")]
    Graph,
    /// An ID token where an access token belongs.
    #[error("the token is an ID token")]
    IdToken,
    /// Neither a person's token for this API nor provably an application's.
    #[error("the token is neither a delegated one with the right scope nor provably an application's (`idtyp`)")]
    Kind,
    /// The answer to another login.
    #[error("the nonce is another login's")]
    Nonce,
}

/// Checks the claims of one of the gateway's own access tokens.
///
/// # Errors
///
/// Returns the [`ClaimsError`] that says which claim is not as it must be.
pub fn own_access_token(payload: &[u8], issuer: &str, now: Timestamp) -> Result<AccessTokenClaims, ClaimsError> {
    let claims: AccessTokenClaims = jwt::object(payload).map_err(|_error: JwtError| ClaimsError::Shape)?;
    let texts = [&claims.sub, &claims.client_id, &claims.jti, &claims.tid, &claims.oid];
    if texts.iter().any(|text| text.is_empty() || text.len() > 2048) || claims.roles.len() > MAX_ROLES {
        return Err(ClaimsError::Shape);
    }
    if claims.iss != issuer {
        return Err(ClaimsError::Issuer);
    }
    if claims.exp <= now.as_secs() {
        return Err(ClaimsError::Expired);
    }
    Ok(claims)
}
