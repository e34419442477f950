//! The claim layer: what a verified token must say to be believed, per kind of token.
//!
//! Every claim has one type; a list where a text belongs is a fault, not something to be lenient about. Sources:
//! RFC 9068 for our own tokens; Microsoft's claims reference and validators for Entra's; the draft of
//! identity assertions (ID-JAG). What is judged is a
//! [`Payload`], which exists only behind a good signature.

mod claim_set;
mod entra;
mod id_jag;

pub use entra::{EntraExpectations, EntraIdentity, Tenant, VersionOne};
pub use id_jag::{Assertion, AssertionExpectations};

use super::access_token::AccessTokenClaims;
use super::jwt::{self, JwtError, Payload};
use crate::subject::{self, is_guid};
use claim_set::{MAX_LIST, MAX_TEXT};

/// A client may be named by the URL of its metadata document, and a resource is a URL.
const MAX_URL: usize = 2048;

/// Why a token's claims are not believed. For logs; the caller is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// The claims are no JSON object that can be read in one way only.
    #[error("the claims are no plain JSON object, or one of them is there twice")]
    Unreadable,
    /// A claim is not there.
    #[error("the claim `{0}` is missing")]
    Missing(&'static str),
    /// A claim is of another type, or out of bounds.
    #[error("the claim `{0}` is mistyped or out of bounds")]
    Mistyped(&'static str),
    /// A claim of one of our own tokens is not as we write it.
    #[error("a claim is missing, unknown or mistyped")]
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
    /// Good for longer than such a token ever is.
    #[error("the token lives longer than any token of this kind")]
    Lifetime,
    /// Another directory.
    #[error("the token is from another tenant")]
    Tenant,
    /// An Entra v1 token.
    #[error(
        "the token is of version 1; set `requestedAccessTokenVersion` to 2 in the app registration's manifest, or accept it with `entra.accept_v1_tokens`"
    )]
    VersionOne,
    /// A version that does not exist yet.
    #[error("the token is of an unknown version")]
    Version,
    /// A Microsoft Graph token.
    #[error("the token is for Microsoft Graph; ask for a scope with the `api://` prefix")]
    Graph,
    /// An ID token where an access token belongs.
    #[error("the token is an ID token; send an access token")]
    IdToken,
    /// An access token where an ID token belongs.
    #[error("the token is an access token where an ID token belongs")]
    NotAnIdToken,
    /// Neither a person's token for this API nor provably an application's.
    #[error("the token is neither a delegated one nor provably an application's; add the optional claim `idtyp`")]
    Kind,
    /// A person's token without any of the scopes of this API.
    #[error("the token has no scope of this gateway (`scp`)")]
    Scope,
    /// An application's token that no app role was assigned to.
    #[error("the application has no app role; assign one to it (`roles`)")]
    NoRole,
    /// An assertion that another client was given.
    #[error("the assertion is for another client (`client_id`)")]
    Client,
    /// A claim that narrows what a token is good for in a way that is not supported here, so that it must not be passed over.
    #[error("the claim `{0}` asks for what is not supported here")]
    Unsupported(&'static str),
    /// The answer to another login.
    #[error("the nonce is another login's")]
    Nonce,
}

/// Reads the claims of one of the gateway's own access tokens.
pub(super) fn own_access_token(payload: Payload<'_>) -> Result<AccessTokenClaims, ClaimsError> {
    let claims: AccessTokenClaims = jwt::object(payload.bytes()).map_err(|_error: JwtError| ClaimsError::Shape)?;
    let sound = subject::is_account(&claims.tid, &claims.oid)
        && claims.sub == subject::name(&claims.tid, &claims.oid)
        && is_text(&claims.jti, MAX_TEXT)
        && is_text(&claims.client_id, MAX_URL)
        && is_guid(&claims.grant_id)
        && [&claims.roles, &claims.groups, &claims.acrs].into_iter().all(|list| is_list(list));
    if sound { Ok(claims) } else { Err(ClaimsError::Shape) }
}

fn is_text(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}

fn is_list(list: &[String]) -> bool {
    list.len() <= MAX_LIST && list.iter().all(|item| item.len() <= MAX_TEXT)
}
