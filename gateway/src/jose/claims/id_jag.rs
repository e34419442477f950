//! Identity assertions (ID-JAG, draft-ietf-oauth-identity-assertion-authz-grant-03 section 3): what one must say to be taken,
//! and what is known of a person by it.
//!
//! Stricter than the draft where it leaves a choice: `resource` has to be there, as MCP's enterprise-managed authorization wants it, and
//! what would narrow the grant in a way that is not supported here is refused, not passed over.

use std::time::Duration;

use super::ClaimsError;
use super::claim_set::ClaimSet;
use crate::clock::Timestamp;
use crate::jose::jwt::Payload;
use crate::subject;

/// As long as an access token at most: it is used at once, or asked for anew.
const MAX_LIFETIME: Duration = Duration::from_mins(15);
/// An issuer's clock may be ahead this much.
const CLOCK_SKEW: Duration = Duration::from_mins(1);
const MAX_URL: usize = 2048;
const MAX_SCOPE: usize = 4096;
/// Proof of possession (RFC 7800) and rich authorization requests (RFC 9396).
const UNSUPPORTED: [&str; 2] = ["cnf", "authorization_details"];

/// What the assertions of one issuer say.
#[derive(Clone, Debug)]
pub struct AssertionExpectations {
    /// The exact issuer.
    pub issuer: String,
    /// The one tenant whose people are let in, of an issuer that has several; without it no assertion may name one.
    pub tenant: Option<String>,
    /// The claim that roles follow from.
    pub claim: String,
}

/// An assertion that can be believed; to be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Who it is about, unique for its issuer.
    pub sub: String,
    /// Its name, unique for its issuer.
    pub jti: String,
    /// When it ends.
    pub expires: Timestamp,
    /// What it is good for (RFC 8707); at least one.
    pub resources: Vec<String>,
    /// The scopes that it is limited to, as written.
    pub scope: Option<String>,
    /// The values that roles follow from; none when the claim is absent or not made of texts.
    pub values: Vec<String>,
}

impl AssertionExpectations {
    /// Judges an assertion that this client presents to the server of this issuer identifier.
    ///
    /// # Errors
    ///
    /// Returns the [`ClaimsError`] that says which claim is not as it must be.
    pub fn judge(
        &self,
        payload: Payload<'_>,
        audience: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Assertion, ClaimsError> {
        let claims = ClaimSet::parse(payload)?;
        if claims.text("iss")? != self.issuer {
            return Err(ClaimsError::Issuer);
        }
        if claims.optional_text("tenant")? != self.tenant.as_deref() {
            return Err(ClaimsError::Tenant);
        }
        // In a list, but alone: one that is good elsewhere too is not taken (section 4.4.1). With the slash of its empty path
        // it is the same URL (RFC 3986 section 6.2.3), and official SDKs ask for assertions by that.
        let is_ours = |aud: &str| aud == audience || aud.strip_suffix('/') == Some(audience);
        if !matches!(claims.one_or_many("aud", MAX_URL)?.as_slice(), [aud] if is_ours(aud)) {
            return Err(ClaimsError::Audience);
        }
        if claims.text("client_id")? != client_id {
            return Err(ClaimsError::Client);
        }
        if let Some(name) = UNSUPPORTED.into_iter().find(|name| claims.has(name)) {
            return Err(ClaimsError::Unsupported(name));
        }
        let expires = check_times(&claims, now)?;
        let sub = claims.text("sub")?;
        if !subject::is_sub(sub) {
            return Err(ClaimsError::Mistyped("sub"));
        }
        Ok(Assertion {
            sub: sub.to_owned(),
            jti: claims.text("jti")?.to_owned(),
            expires,
            resources: claims.one_or_many("resource", MAX_URL)?.into_iter().map(str::to_owned).collect(),
            scope: claims.optional_text_to("scope", MAX_SCOPE)?.map(str::to_owned),
            values: claims.texts_of(&self.claim),
        })
    }
}

fn check_times(claims: &ClaimSet, now: Timestamp) -> Result<Timestamp, ClaimsError> {
    let (exp, iat) = (claims.date("exp")?, claims.date("iat")?);
    if exp <= now {
        return Err(ClaimsError::Expired);
    }
    let latest = now.plus(CLOCK_SKEW);
    if iat > latest || claims.optional_date("nbf")?.is_some_and(|begins| begins > latest) {
        return Err(ClaimsError::NotYet);
    }
    if exp > iat.plus(MAX_LIFETIME) {
        return Err(ClaimsError::Lifetime);
    }
    Ok(exp)
}
