//! Signing in at Microsoft Entra ID, with one confidential app registration (OpenID Connect Core section 3.1).
//!
//! Every login has a state, a nonce and a PKCE verifier of our own. Nothing that a client sent goes to Entra but a few
//! hints; above all no `resource`, which Entra refuses. What comes back is judged by the strict claim layer.

pub mod errors;

use std::sync::Arc;

use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreTokenResponse};
use openidconnect::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet, IssuerUrl,
    JsonWebKeySet, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardErrorResponse, TokenResponse, TokenUrl,
};

use crate::clock::Clock;
use crate::jose::VerifyError;
use crate::jose::claims::EntraIdentity;
use crate::jose::entra_token::Verifier;
use errors::{Advice, Cause};

/// Hints of a client that Entra may see.
pub const HINTS: [&str; 3] = ["login_hint", "domain_hint", "prompt"];

/// What the sign-in needs to know.
pub struct Settings {
    /// The cloud, without a trailing slash.
    pub authority_host: String,
    /// The directory's GUID.
    pub tenant_id: String,
    /// The app registration's GUID.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Delegated permissions in full form.
    pub scopes: Vec<String>,
    /// The one registered redirect URI.
    pub redirect_uri: String,
}

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
    /// Entra cannot be asked at the moment.
    #[error("the identity provider does not answer: {0}")]
    Unavailable(String),
    /// Its answer is not to be believed.
    #[error("the identity provider's answer is not acceptable: {0}")]
    Unacceptable(String),
    /// The configuration cannot be used.
    #[error("the sign-in cannot be set up: {0}")]
    Setup(String),
}

impl EntraError {
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

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Settings({}/{}, client {})", self.authority_host, self.tenant_id, self.client_id)
    }
}

type Client = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet, EndpointNotSet>;

/// The sign-in at one tenant.
#[derive(Debug)]
pub struct Entra {
    client: Client,
    issuer: String,
    http: reqwest::Client,
    scopes: Vec<Scope>,
    verifier: Verifier,
    clock: Arc<dyn Clock>,
}

/// A login that is about to begin: where the browser goes, and what must be kept to finish it. Does not print.
pub struct Departure {
    /// Entra's authorization endpoint with everything in it.
    pub url: String,
    /// Our nonce.
    pub nonce: String,
    /// Our PKCE verifier.
    pub verifier: String,
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
    ///
    /// # Errors
    ///
    /// Returns [`EntraError::Setup`] when a setting is no URL.
    pub fn new(
        settings: Settings,
        http: reqwest::Client,
        verifier: Verifier,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EntraError> {
        let setup = |error: openidconnect::url::ParseError| EntraError::Setup(error.to_string());
        let base = format!("{}/{}/oauth2/v2.0", settings.authority_host, settings.tenant_id);
        let issuer = format!("{}/{}/v2.0", settings.authority_host, settings.tenant_id);
        let issuer_url = IssuerUrl::new(issuer.clone()).map_err(setup)?;
        let client = CoreClient::new(ClientId::new(settings.client_id), issuer_url, JsonWebKeySet::default())
            .set_client_secret(ClientSecret::new(settings.client_secret))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::new(format!("{base}/authorize")).map_err(setup)?)
            .set_token_uri(TokenUrl::new(format!("{base}/token")).map_err(setup)?)
            .set_redirect_uri(RedirectUrl::new(settings.redirect_uri).map_err(setup)?);
        let scopes = settings.scopes.into_iter().chain(["profile".to_owned(), "offline_access".to_owned()]);
        let scopes = scopes.map(Scope::new).collect();
        Ok(Self { client, issuer, http, scopes, verifier, clock })
    }

    /// Who issues the tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Begins a login whose answer will carry `state`.
    #[must_use]
    pub fn depart(&self, state: &str, hints: &[(String, String)]) -> Departure {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = state.to_owned();
        let mut request = self
            .client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || CsrfToken::new(state), Nonce::new_random)
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(challenge)
            .add_extra_param("response_mode", "query");
        for (name, value) in hints.iter().filter(|(name, _)| HINTS.contains(&name.as_str())) {
            request = request.add_extra_param(name.clone(), value.clone());
        }
        let (url, _, nonce) = request.url();
        Departure { url: url.into(), nonce: nonce.secret().clone(), verifier: verifier.into_secret() }
    }

    /// Finishes a login with the code that came back.
    ///
    /// # Errors
    ///
    /// Returns an [`EntraError`]; nobody is signed in then.
    pub async fn arrive(&self, code: String, nonce: &str, verifier: String) -> Result<SignedIn, EntraError> {
        let request = self.client.exchange_code(AuthorizationCode::new(code));
        let response = request.set_pkce_verifier(PkceCodeVerifier::new(verifier)).request_async(&self.http).await;
        self.signed_in(&response.map_err(failure)?, Some(nonce)).await
    }

    /// Asks again who the person is and which roles they have.
    ///
    /// # Errors
    ///
    /// Returns an [`EntraError`]: [`EntraError::Refused`] ends the grant, [`EntraError::Unavailable`] does not.
    pub async fn refresh(&self, refresh_token: String) -> Result<SignedIn, EntraError> {
        let token = RefreshToken::new(refresh_token);
        let request = self.client.exchange_refresh_token(&token).add_scope(Scope::new("openid".to_owned()));
        let response = request.add_scopes(self.scopes.iter().cloned()).request_async(&self.http).await;
        self.signed_in(&response.map_err(failure)?, None).await
    }

    async fn signed_in(&self, response: &CoreTokenResponse, nonce: Option<&str>) -> Result<SignedIn, EntraError> {
        let unacceptable = |what: String| EntraError::Unacceptable(what);
        let id_token = response.id_token().ok_or_else(|| unacceptable("there is no ID token".to_owned()))?.to_string();
        let now = self.clock.now();
        let verified = match nonce {
            Some(nonce) => self.verifier.id_token(&id_token, nonce, now).await,
            None => self.verifier.refreshed_id_token(&id_token, now).await,
        };
        let identity = verified.map_err(|error| match error {
            VerifyError::Unavailable => EntraError::Unavailable("its keys are not available".to_owned()),
            error => unacceptable(error.to_string()),
        })?;
        let refresh_token = response.refresh_token().map(|token| token.secret().clone());
        Ok(SignedIn { identity, refresh_token })
    }
}

fn failure<E: std::error::Error>(
    error: RequestTokenError<E, StandardErrorResponse<CoreErrorResponseType>>,
) -> EntraError {
    match error {
        RequestTokenError::ServerResponse(response) => {
            let description = response.error_description().map_or("", String::as_str);
            EntraError::answered(response.error().as_ref(), description)
        }
        RequestTokenError::Request(error) => EntraError::Unavailable(error.to_string()),
        // A page instead of JSON is what an overloaded front sends.
        RequestTokenError::Parse(..) => EntraError::Unavailable("the answer cannot be read".to_owned()),
        RequestTokenError::Other(what) => EntraError::Unavailable(what),
    }
}
