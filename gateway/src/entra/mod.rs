//! Signing in at Microsoft Entra ID, with one confidential app registration (OpenID Connect Core section 3.1).
//!
//! Every login has a state, a nonce and a PKCE verifier of our own. Nothing that a client sent goes to Entra but a few
//! hints; above all no `resource`, which Entra refuses. What comes back is judged by the strict claim layer.

mod certificate;
pub mod cloud;
mod credential;
pub mod errors;
mod failure;
mod login;
mod on_behalf_of;
mod refresh;
mod step_up;
mod token_endpoint;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::jose::VerifyError;
use crate::jose::claims::EntraIdentity;
use crate::jose::entra_token::Verifier;
use crate::jose::jwt;
use crate::metrics::Metrics;
pub use certificate::Certificate;
use cloud::Authority;
pub use credential::Credential;
pub use failure::EntraError;
pub use login::{Departure, HINTS};
pub use on_behalf_of::Exchanged;
pub use step_up::StepUp;
use token_endpoint::{TokenEndpoint, Tokens};

/// What the sign-in needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The cloud.
    pub authority: Authority,
    /// The home directory's GUID.
    pub tenant_id: String,
    /// Whether members of other directories sign in too.
    pub several_tenants: bool,
    /// The app registration's GUID.
    pub client_id: String,
    /// Its credential.
    pub credential: Credential,
    /// Delegated permissions in full form.
    pub scopes: Vec<String>,
    /// The one registered redirect URI.
    pub redirect_uri: String,
    /// Tolerance for clocks that differ.
    pub clock_skew: Duration,
}

/// The sign-in with one app registration.
#[derive(Debug)]
pub struct Entra {
    authority: Authority,
    tenant_id: String,
    several_tenants: bool,
    client_id: String,
    redirect_uri: String,
    scopes: String,
    clock_skew: Duration,
    endpoint: TokenEndpoint,
    verifier: Verifier,
    clock: Arc<dyn Clock>,
}

/// Somebody who signed in. Does not print.
pub struct SignedIn {
    /// Who.
    pub identity: EntraIdentity,
    /// What to refresh with.
    pub refresh_token: Option<String>,
}

impl Entra {
    /// Sets the sign-in up; nothing is fetched.
    #[must_use]
    pub fn new(settings: Settings, http: reqwest::Client, verifier: Verifier, clock: Arc<dyn Clock>) -> Self {
        let Settings { authority, tenant_id, several_tenants, client_id, credential, redirect_uri, .. } = settings;
        let scopes = format!("{} profile offline_access", settings.scopes.join(" "));
        let endpoint = TokenEndpoint::new(authority.clone(), client_id.clone(), credential, http, Arc::clone(&clock));
        let clock_skew = settings.clock_skew;
        Self {
            authority,
            tenant_id,
            several_tenants,
            client_id,
            redirect_uri,
            scopes,
            clock_skew,
            endpoint,
            verifier,
            clock,
        }
    }

    /// The same, counting what the token endpoint answers.
    #[must_use]
    pub fn observed(mut self, metrics: Arc<Metrics>) -> Self {
        self.endpoint.observe(metrics);
        self
    }

    /// Whether this is the issuer of a directory whose members sign in here.
    #[must_use]
    pub fn is_issuer(&self, issuer: &str) -> bool {
        self.verifier.is_issuer(issuer)
    }

    /// Whether members of this directory sign in here.
    #[must_use]
    pub fn takes_directory(&self, tenant: &str) -> bool {
        self.verifier.takes_directory(tenant)
    }

    /// Tolerance for clocks that differ.
    #[must_use]
    pub fn clock_skew(&self) -> Duration {
        self.clock_skew
    }

    /// The directory that people are sent to; `None` when they may be of several.
    fn directory(&self) -> Option<&str> {
        (!self.several_tenants).then_some(self.tenant_id.as_str())
    }

    /// The directory of this authority that a token which is not believed says it is of, if nobody of it signs in here:
    /// only the words of the refusal follow from it.
    fn elsewhere(&self, token: &str) -> Option<String> {
        let claimed = jwt::parse(token).ok()?.unverified()?;
        let tenant = claimed.tid.filter(|tid| uuid::Uuid::try_parse(tid).is_ok())?;
        (claimed.iss == self.authority.issuer(&tenant) && !self.verifier.is_issuer(&claimed.iss)).then_some(tenant)
    }

    async fn signed_in(&self, tokens: Tokens, nonce: Option<&str>) -> Result<SignedIn, EntraError> {
        let unacceptable = |what: String| EntraError::Unacceptable(what);
        let id_token = tokens.id_token.ok_or_else(|| unacceptable("there is no ID token".to_owned()))?;
        let now = self.clock.now();
        let verified = match nonce {
            Some(nonce) => self.verifier.id_token(&id_token, nonce, now).await,
            None => self.verifier.refreshed_id_token(&id_token, now).await,
        };
        let identity = verified.map_err(|error| match error {
            VerifyError::Unavailable => EntraError::Unavailable("its keys are not available".to_owned()),
            error => match self.elsewhere(&id_token) {
                Some(tenant) => EntraError::OtherDirectory { tenant },
                None => unacceptable(error.to_string()),
            },
        })?;
        if identity.groups_overage {
            tracing::warn!(
                subject = identity.oid,
                "the person is in too many groups for a token to list them, and none of them counts; use app roles"
            );
        }
        Ok(SignedIn { identity, refresh_token: tokens.refresh_token })
    }
}
