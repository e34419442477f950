//! The OAuth 2.1 authorization server that MCP clients see; the identity provider behind it signs people in.
//!
//! One file an endpoint. Every check of an authorization request happens before anything is redirected; every later
//! step compares with the one record that the request left, never with new input. Consent comes before the identity
//! provider, bound to the browser that gave it: the one app registration behind would otherwise let any registered
//! client ride on somebody's session (MCP security best practices, confused deputy).

mod authorize;
mod callback;
mod client_auth;
mod client_credentials;
mod client_metadata;
mod client_name;
mod clients;
mod configured;
mod consent;
mod cookie;
mod cors;
mod counted;
mod device;
mod error;
mod form;
mod hosts;
mod identity_assertion;
mod jwks;
mod limited;
mod metadata;
mod outcome;
mod page;
mod plain;
mod protected_resource;
mod redirect_uri;
mod refresh;
mod refused;
mod register;
mod remembered;
mod remote;
mod revoke;
mod scope;
mod step_up;
mod token;
mod turn;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, header};
use moka::sync::Cache;

pub use callback::upstream_binding;
pub use clients::Clients;
pub use configured::{Configured, Credential, Grants};
pub use device::GRANT as DEVICE_GRANT;
pub use hosts::{CLIENT_DOMAINS, Hosts, NotAHost, REDIRECT_HOSTS};
pub use identity_assertion::{GRANT as ASSERTION_GRANT, Trusted};
pub use limited::Limits;
#[cfg(test)]
pub(crate) use metadata::MAX_AGE;
pub use plain::CLIENT as PLAIN_CLIENT;
pub use redirect_uri::{Own, check as check_redirect_uri};

use crate::audit::{Auditor, Authorization, Event, Kind, NotRecorded, RequestId, Step};
use crate::clock::Clock;
use crate::entra::{Entra, StepUp};
use crate::jose::signing_key::SigningKey;
use crate::jose::signing_keys::SigningKeys;
use crate::metrics::Metrics;
use crate::store::{Sealer, Store};

/// Bodies of every endpoint here; nothing honest is larger.
const MAX_BODY: usize = 64 * 1024;
/// From the authorization request to the callback.
const LOGIN_LIFETIME: Duration = Duration::from_mins(10);
/// From the callback to the token endpoint.
const CODE_LIFETIME: Duration = Duration::from_mins(1);

/// What the authorization server needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The issuer: the gateway's origin, without a trailing slash, the same string everywhere.
    pub issuer: String,
    /// Further names of the gateway, each `host` or `host:port`: no answer goes there.
    pub hosts: Vec<String>,
    /// What tokens can be for.
    pub resources: Vec<Resource>,
    /// How long an access token is good.
    pub access_token_lifetime: Duration,
    /// How long a refresh token may lie unused.
    pub refresh_token_lifetime: Duration,
    /// How long a consent is remembered; never when absent.
    pub remember_consent: Option<Duration>,
    /// Whether devices may ask to be let in (RFC 8628).
    pub device_authorization: bool,
    /// Whether there are endpoints for scripts and for people without an MCP client.
    pub auth_endpoints: bool,
    /// The resource of a login that names none, by its URL; where there is one only, it is that.
    pub default_resource: Option<String>,
}

impl Settings {
    /// The gateway's own names.
    pub(crate) fn own(&self) -> Own<'_> {
        Own { issuer: &self.issuer, hosts: &self.hosts }
    }
}

/// A protected resource: one backend.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its identifier (RFC 8707): the URL that clients use.
    pub url: String,
    /// Its path under the issuer.
    pub path: String,
    /// The backend's name.
    pub name: String,
    /// Its scopes, which are tags.
    pub scopes: Vec<Scope>,
}

/// A scope and what people call it.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The scope.
    pub name: String,
    /// Its title on the consent page.
    pub title: String,
    /// What it wants of the sign-in; nothing when absent.
    pub step_up: Option<StepUp>,
}

impl Resource {
    /// The scopes that any sign-in is enough for: what a client gets that asks for none.
    pub fn usual_scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.iter().filter(|scope| scope.step_up.is_none())
    }
}

/// Everything the endpoints share.
#[derive(Debug)]
pub struct State {
    /// What it was told.
    pub settings: Settings,
    /// What survives a restart.
    pub store: Arc<dyn Store>,
    /// Seals upstream tokens.
    pub sealer: Sealer,
    /// Sign access tokens.
    pub signing_keys: SigningKeys,
    /// Signs people in.
    pub entra: Arc<Entra>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// One refresh at a time for each grant.
    pub refreshing: Cache<String, Arc<tokio::sync::Mutex<()>>>,
    /// Records what is agreed to, issued and ended.
    pub auditor: Option<Arc<Auditor>>,
    /// Who may be a client, beside those that register.
    pub clients: Clients,
    /// Issuers whose word on a person is taken, by their identifier.
    pub issuers: HashMap<String, Trusted>,
    /// Counts what is answered, and the steps.
    pub metrics: Option<Arc<Metrics>>,
    /// The public half of the key that signs the audit trail.
    pub trail_key: Option<serde_json::Value>,
    /// The public halves of the keys that sign assertions for backends.
    pub assertion_keys: Vec<serde_json::Value>,
}

impl State {
    /// The state of a server; see the fields.
    #[must_use]
    pub fn new(
        settings: Settings,
        store: Arc<dyn Store>,
        sealer: Sealer,
        signing_keys: impl Into<SigningKeys>,
        entra: Arc<Entra>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let refreshing = Cache::builder().max_capacity(10_000).time_to_idle(Duration::from_mins(1)).build();
        let clients = Clients::usual();
        Self {
            settings,
            store,
            sealer,
            signing_keys: signing_keys.into(),
            entra,
            clock,
            refreshing,
            auditor: None,
            clients,
            issuers: HashMap::new(),
            metrics: None,
            trail_key: None,
            assertion_keys: Vec::new(),
        }
    }

    /// With a trail that every step is recorded in.
    #[must_use]
    pub fn with_auditor(self, auditor: Arc<Auditor>) -> Self {
        Self { auditor: Some(auditor), ..self }
    }

    /// Counting here.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// With these rules for clients, in place of the usual ones.
    #[must_use]
    pub fn with_clients(self, clients: Clients) -> Self {
        Self { clients, ..self }
    }

    /// Taking the word of these issuers on who a person is.
    #[must_use]
    pub fn with_issuers(self, issuers: impl IntoIterator<Item = Trusted>) -> Self {
        let issuers = issuers.into_iter().map(|trusted| (trusted.verifier.issuer().to_owned(), trusted)).collect();
        Self { issuers, ..self }
    }

    /// With the key of the trail and those of assertions, to be published.
    #[must_use]
    pub fn with_published(self, trail: &SigningKey, assertions: &SigningKeys) -> Self {
        Self { trail_key: Some(trail.public_jwk().clone()), assertion_keys: assertions.public_jwks(), ..self }
    }

    /// Records a step; false when it could not be, and nothing must come of it.
    #[must_use]
    fn record(&self, step: Authorization) -> bool {
        if step.event == Step::SignInFailed {
            refused::told();
        }
        if let Some(metrics) = &self.metrics {
            metrics.identity.step(&step.event.name());
        }
        let Some(auditor) = &self.auditor else { return true };
        self.taken(auditor.record(self.event(step)))
    }

    /// Records that somebody was refused whom nobody knows: as a line, or as one of many.
    fn record_refusal(&self, step: Authorization) {
        if let Some(metrics) = &self.metrics {
            metrics.identity.step(&step.event.name());
        }
        let Some(auditor) = &self.auditor else { return };
        // It is refused either way; that the trail did not take it is logged and counted.
        let _ = self.taken(auditor.refused(self.event(step)).map(|_| ()));
    }

    fn event(&self, step: Authorization) -> Event {
        Event {
            time: self.clock.moment(),
            request_id: RequestId::current(),
            trace_id: None,
            kind: Kind::OAuth(Box::new(Authorization { source: RequestId::current_source(), ..step })),
        }
    }

    fn taken(&self, taken: Result<(), NotRecorded>) -> bool {
        if let Err(error) = taken {
            if let Some(metrics) = &self.metrics {
                metrics.audit_refused();
            }
            tracing::error!(%error, "an audit event of the authorization server was not taken");
        }
        taken.is_ok()
    }

    fn resource(&self, url: &str) -> Option<&Resource> {
        let url = url.strip_suffix('/').unwrap_or(url);
        self.settings.resources.iter().find(|resource| resource.url == url)
    }

    fn default_resource(&self) -> Option<&Resource> {
        match (&self.settings.default_resource, self.settings.resources.as_slice()) {
            (Some(url), _) => self.resource(url),
            (None, [single]) => Some(single),
            (None, _) => None,
        }
    }

    fn is_secure(&self) -> bool {
        self.settings.issuer.starts_with("https://")
    }
}

/// The endpoints, ready to be called in process.
pub fn router(state: Arc<State>, limits: Limits) -> Router {
    let limits = middleware::from_fn_with_state(Arc::new(limits), limited::check);
    let count = middleware::from_fn_with_state(Arc::clone(&state), counted::count);
    let tell = middleware::from_fn_with_state(Arc::clone(&state), refused::tell);
    let plain = if state.settings.auth_endpoints { plain::routes().layer(limits.clone()) } else { Router::new() };
    let (page, endpoint) = if state.settings.device_authorization {
        (device::page().layer(limits.clone()), device::endpoint())
    } else {
        (Router::new(), Router::new())
    };
    let open = Router::new()
        .route("/.well-known/oauth-protected-resource", get(protected_resource::root))
        .route("/.well-known/oauth-protected-resource/{*path}", get(protected_resource::of_path))
        .route("/.well-known/oauth-authorization-server", get(metadata::document))
        .route("/.well-known/openid-configuration", get(metadata::document))
        .route("/jwks", get(jwks::document))
        .route("/jwks/assertion", get(jwks::of_assertions))
        .route("/register", post(register::register))
        .route("/token", post(token::token))
        .route("/revoke", post(revoke::revoke))
        .merge(endpoint)
        .layer(limits.clone())
        .layer(middleware::from_fn(cors::open));
    // A HEAD must not begin or finish a login that nobody sees: programs that preview links send it.
    Router::new()
        .route("/authorize", get(authorize::by_query).post(authorize::by_form).head(no_head))
        .route("/consent", post(consent::decide))
        .route("/auth/callback", get(callback::arrive).head(no_head))
        .layer(limits)
        .merge(open)
        .merge(plain)
        .merge(page)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(tell)
        .layer(count)
        .with_state(state)
}

async fn no_head() -> impl IntoResponse {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")])
}

/// 256 bits that nobody can guess, as base64url.
fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests;
