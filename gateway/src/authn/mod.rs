//! Who is calling: a bearer token becomes a [`VerifiedIdentity`] here and nowhere else (RFC 6750, RFC 9068).
//!
//! The issuer that a token names chooses the verifier, and nothing else about the token does. Verified tokens are
//! remembered by their SHA-256 for a minute, never past their end. Any doubt is a refusal; the caller is not told
//! which.

mod bearer;
mod cache;
pub mod challenge;
mod disbelieved;
mod identity;
mod revocations;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, header};
use portcullis_policy::{Kind, Scopes, Subject};

use cache::Tokens;
pub use disbelieved::Disbelieved;
pub use identity::VerifiedIdentity;
use identity::{Issuer, Verified};
use revocations::Revocable;
pub use revocations::{Ended, Revocations, Standing};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::jose::VerifyError;
use crate::jose::access_token::{self, AccessTokenClaims, IdType};
use crate::jose::claims::{ClaimsError, EntraIdentity};
use crate::jose::entra_token;
use crate::jose::jwt::{self, Jws, JwtError, Unverified};
use crate::limit::ClientAddress;
use crate::subject;

/// Whose tokens to believe, and how long.
#[derive(Debug)]
pub struct Settings {
    /// Our own tokens.
    pub own: access_token::Verifier,
    /// Entra's, where a backend takes them.
    pub entra: Option<entra_token::Verifier>,
    /// How many verified tokens are remembered.
    pub cache_capacity: u64,
    /// What is over before its time.
    pub revocations: Arc<Revocations>,
    /// How long each is, which is how long a withdrawn key still works; 60 s at most, whatever is set.
    pub cache_for: Duration,
}

impl Settings {
    /// Our own tokens, a hundred thousand of them remembered for a minute.
    #[must_use]
    pub fn new(own: access_token::Verifier) -> Self {
        let revocations = Arc::new(Revocations::new(None, Arc::new(SystemClock)));
        Self { own, entra: None, cache_capacity: 100_000, revocations, cache_for: cache::LONGEST }
    }
}

/// Whose tokens are good at one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// The backend's resource identifier: the exact `aud` of our own tokens.
    pub resource: String,
    /// Whether Entra's access tokens for the app registration are taken too.
    pub accept_entra_tokens: bool,
    /// Whether who brings no token is let in, as nobody in particular.
    pub public: bool,
}

/// Why nobody was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// No bearer token was sent: no credentials, or those of another scheme.
    #[error("no bearer token")]
    Missing,
    /// The `Authorization` header is not one bearer token.
    #[error("the Authorization header is malformed")]
    Malformed,
    /// The token is not to be believed; the reason is for the log.
    #[error("{0}")]
    Invalid(Reason),
    /// The token cannot be judged at the moment.
    #[error("the identity provider's keys are not available, or it is not known what was revoked lately")]
    Unavailable,
}

impl AuthnError {
    /// Its label in metrics, of a closed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unavailable => "unavailable",
            Self::Invalid(Reason::Token(error)) => error.label(),
            Self::Invalid(Reason::UnknownIssuer) => "issuer",
            Self::Invalid(Reason::NotAcceptedHere) => "not_accepted",
            Self::Invalid(Reason::Revoked) => "revoked",
        }
    }
}

/// Why a token is not believed; for logs and metrics, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its form, its key, its signature or what it says.
    #[error(transparent)]
    Token(VerifyError),
    /// It names an issuer that is not known here.
    #[error("the issuer is not known here")]
    UnknownIssuer,
    /// It is Entra's, and this backend takes only our own.
    #[error("this backend takes no tokens of the identity provider; set `accept_entra_tokens` if it should")]
    NotAcceptedHere,
    /// It was ended before its time.
    #[error("it was revoked")]
    Revoked,
}

impl From<VerifyError> for AuthnError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Unavailable => Self::Unavailable,
            error => Self::Invalid(Reason::Token(error)),
        }
    }
}

impl From<JwtError> for AuthnError {
    fn from(error: JwtError) -> Self {
        VerifyError::Jwt(error).into()
    }
}

impl From<ClaimsError> for AuthnError {
    fn from(error: ClaimsError) -> Self {
        VerifyError::Claims(error).into()
    }
}

impl From<Reason> for AuthnError {
    fn from(reason: Reason) -> Self {
        Self::Invalid(reason)
    }
}

/// Verifies bearer tokens.
#[derive(Debug)]
pub struct Authenticator {
    own: access_token::Verifier,
    entra: Option<entra_token::Verifier>,
    cache: Tokens,
    revocations: Arc<Revocations>,
    clock: Arc<dyn Clock>,
    /// Whether it was said that somebody is in too many groups.
    overage: AtomicBool,
}

impl Authenticator {
    /// Believes our own tokens, and, where a backend opts in, Entra's.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let cache = Tokens::new(settings.cache_capacity, settings.cache_for);
        let overage = AtomicBool::new(false);
        Self { own: settings.own, entra: settings.entra, cache, revocations: settings.revocations, clock, overage }
    }

    /// As [`Authenticator::authenticate`], where a backend with public access lets in who brings no token. A token that
    /// is brought is verified as everywhere: a bad one does not become none.
    ///
    /// # Errors
    ///
    /// As [`Authenticator::authenticate`].
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        audience: &Audience,
        address: ClientAddress,
    ) -> Result<Arc<VerifiedIdentity>, AuthnError> {
        if audience.public && !headers.contains_key(header::AUTHORIZATION) {
            return Ok(Arc::new(VerifiedIdentity::of_nobody(address)));
        }
        self.authenticate(headers, audience).await
    }

    /// Verifies the caller of a request to the backend of this audience.
    ///
    /// # Errors
    ///
    /// Returns an [`AuthnError`]; what of it the caller may learn is up to [`challenge`].
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        audience: &Audience,
    ) -> Result<Arc<VerifiedIdentity>, AuthnError> {
        let token = bearer::token(headers)?;
        if token.len() > jwt::MAX_TOKEN {
            return Err(JwtError::TooLong.into());
        }
        let now = self.clock.now();
        let hash = cache::hash(token);
        let verified = if let Some(known) = self.cache.get(&hash, now) {
            known
        } else {
            if !bearer::is_b64token(token) {
                return Err(AuthnError::Malformed);
            }
            let verified = Arc::new(self.verify(token, audience, now).await?);
            self.cache.insert(hash, &verified);
            verified
        };
        // Asked anew each time: what is remembered is the token, not where it was sent.
        check_audience(&verified.issuer, audience)?;
        match self.standing(&verified.identity) {
            Standing::Good => Ok(Arc::clone(&verified.identity)),
            Standing::Ended => Err(Reason::Revoked.into()),
            Standing::Unknown => Err(AuthnError::Unavailable),
        }
    }

    /// Whether tokens can be judged: the identity provider's keys are there, and what was revoked is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.entra.as_ref().is_none_or(|entra| entra.keys().is_ready()) && !self.revocations.is_stale()
    }

    /// Whether the token of a caller would not be taken any more for its age: our own at its end, Entra's a moment later.
    #[must_use]
    pub fn has_expired(&self, identity: &VerifiedIdentity) -> bool {
        let of_entra = self.entra.as_ref().filter(|_| identity.revocable().is_none());
        let tolerance = of_entra.map_or(Duration::ZERO, entra_token::Verifier::tolerance);
        let (now, end) = (self.clock.now(), identity.expires_at());
        // Whoever brought no token has one without an end, to which nothing can be added.
        end <= now && end.plus(tolerance) <= now
    }

    /// How the token of a caller stands now; one that the gateway did not issue stands well until it expires.
    #[must_use]
    pub fn standing(&self, identity: &VerifiedIdentity) -> Standing {
        identity.revocable().map_or(Standing::Good, |token| self.revocations.standing(token))
    }

    /// Waits until the token of a caller is revoked, or nobody knows any more whether it is, and says which; forever for
    /// one that the gateway did not issue.
    pub async fn until_over(&self, identity: &VerifiedIdentity) -> Standing {
        match identity.revocable() {
            Some(token) => self.revocations.until_over(token).await,
            None => std::future::pending().await,
        }
    }

    /// Forgets every verified token, so that each is verified again.
    pub fn purge(&self) {
        self.cache.purge();
    }

    async fn verify(&self, token: &str, audience: &Audience, now: Timestamp) -> Result<Verified, AuthnError> {
        let jws = jwt::parse(token)?;
        let claimed = jws.unverified().ok_or(ClaimsError::Unreadable)?;
        if claimed.iss == self.own.issuer() {
            return Ok(own(self.own.verify(&jws, now)?, now));
        }
        let Some(entra) = self.entra.as_ref().filter(|entra| entra.is_issuer(&claimed.iss)) else {
            return Err(self.foreign(&claimed));
        };
        // Before its key is looked for: whom nobody believes here must not make us ask the identity provider.
        check_audience(&Issuer::Entra, audience)?;
        self.verify_entra(entra, &jws, now).await
    }

    async fn verify_entra(
        &self,
        entra: &entra_token::Verifier,
        jws: &Jws<'_>,
        now: Timestamp,
    ) -> Result<Verified, AuthnError> {
        let identity = entra.access_token(jws, now).await?;
        if identity.groups_overage {
            self.too_many_groups(&identity.oid);
        }
        Ok(entras(identity, now))
    }

    /// Said once for everybody: the operator has to act, and each token of such a person would say it again.
    fn too_many_groups(&self, oid: &str) {
        if !self.overage.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                subject = oid,
                "a person is in too many groups for a token to list them, and none of them counts; use app roles"
            );
        }
    }

    /// A token of nobody we know; for the log, the commonest first-run mistake is told apart.
    fn foreign(&self, claimed: &Unverified) -> AuthnError {
        match &self.entra {
            Some(entra) if entra.is_version_one(claimed) => ClaimsError::VersionOne.into(),
            _ => Reason::UnknownIssuer.into(),
        }
    }
}

fn check_audience(issuer: &Issuer, audience: &Audience) -> Result<(), AuthnError> {
    match issuer {
        Issuer::Own { resource } if *resource == audience.resource => Ok(()),
        Issuer::Own { .. } => Err(ClaimsError::Audience.into()),
        Issuer::Entra if audience.accept_entra_tokens => Ok(()),
        Issuer::Entra => Err(Reason::NotAcceptedHere.into()),
    }
}

fn own(claims: AccessTokenClaims, since: Timestamp) -> Verified {
    let expires_at = Timestamp::from_secs(claims.exp);
    let AccessTokenClaims { aud, sub, client_id, jti, iat, scope, tid, oid, idtyp, grant_id, roles, groups, .. } =
        claims.clone();
    // As `store::Whose::key` writes them.
    let keys =
        [format!("grant:{grant_id}"), format!("user:{sub}"), format!("client:{client_id}"), format!("tenant:{tid}")];
    // A grant that somebody signed in for is stored, and ends by its name. Of what programs and issuers' people have, the time
    // alone says what an end is of, and the clock of the gateway that issued it may have been ahead.
    let is_stored = idtyp == IdType::User && !subject::is_issuer(&tid);
    let ahead = if is_stored { Duration::ZERO } else { access_token::CLOCK_SKEW };
    let revocable = Revocable { keys, issued_at: Timestamp::from_secs(iat.saturating_sub(ahead.as_secs())) };
    let kind = match idtyp {
        IdType::User => Kind::User,
        IdType::App => Kind::App,
    };
    let scopes = Scopes::Granted(scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect());
    let subject =
        Subject::new(kind, tid, oid).with_roles(roles).with_groups(groups).with_scopes(scopes).with_client(client_id);
    let subject =
        subject.with_guest(claims.guest).with_sign_in(claims.acrs, claims.auth_time).with_claims(claims.claims);
    let identity = VerifiedIdentity::new(subject, expires_at, Some(jti), Some(revocable)).of_grant(grant_id);
    let identity = Arc::new(identity);
    Verified { identity, issuer: Issuer::Own { resource: aud }, since }
}

fn entras(identity: EntraIdentity, since: Timestamp) -> Verified {
    let kind = if identity.is_app { Kind::App } else { Kind::User };
    let mut subject =
        Subject::new(kind, identity.tid, identity.oid).with_roles(identity.roles).with_groups(identity.groups);
    subject = subject
        .with_guest(Some(identity.is_guest))
        .with_sign_in(identity.acrs, identity.auth_time.map(Timestamp::as_secs))
        .with_claims(identity.claims);
    if let Some(client) = identity.client {
        subject = subject.with_client(client);
    }
    let identity = Arc::new(VerifiedIdentity::new(subject, identity.exp, identity.token_id, None));
    Verified { identity, issuer: Issuer::Entra, since }
}

#[cfg(test)]
mod tests;
