//! An identity provider in the shape of Microsoft Entra ID, for a laptop and for tests.
//!
//! Tenant paths, discovery, keys without `alg`, authorization code with PKCE, refresh tokens that stay good after use,
//! app-only tokens, `roles` absent when there are none, `resource` refused, errors with AADSTS codes. People are signed
//! in without a password, so it listens on loopback addresses only. Beside it, issuers of identity assertions (`assertion`).

mod assertion;
mod authorize;
mod client;
mod directory;
mod exchange;
mod fault;
mod keys;
mod token;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

pub use client::Certificate;
use directory::Directory;
pub use directory::User;
pub use fault::{Endpoint, Fault};
use keys::Keys;

/// What the provider is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The directory's GUID.
    pub tenant_id: String,
    /// The one app registration's GUID.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Its certificate.
    pub certificate: Option<Certificate>,
    /// Whether people of other directories can sign in, at `organizations`.
    pub several_tenants: bool,
    /// Its redirect URIs.
    pub redirect_uris: Vec<String>,
    /// Who there is.
    pub users: Vec<User>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9400)),
            tenant_id: "11111111-2222-4333-8444-555555555555".to_owned(),
            client_id: "aaaaaaaa-0000-4000-8000-00000000c1d1".to_owned(),
            client_secret: "a-secret-for-a-laptop-only".to_owned(),
            certificate: None,
            several_tenants: false,
            redirect_uris: vec!["http://127.0.0.1:8080/auth/callback".to_owned()],
            users: User::examples(),
        }
    }
}

/// A provider that is running; dropping it stops it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

/// What the endpoints share.
#[derive(Debug)]
struct Shared {
    options: Options,
    origin: String,
    keys: Keys,
    /// The keys of issuers of assertions, by name.
    issuers: Mutex<HashMap<String, Arc<Keys>>>,
    directory: Mutex<Directory>,
}

impl Shared {
    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issuer(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.origin)
    }

    fn version_one_issuer(&self, tenant: &str) -> String {
        format!("{}/sts/{tenant}/", self.origin)
    }

    fn is_tenant(&self, tenant: &str) -> bool {
        let home = tenant == self.options.tenant_id;
        home || self.options.users.iter().any(|user| user.tenant.as_deref() == Some(tenant))
    }
}

impl Running {
    /// Starts a provider.
    ///
    /// # Errors
    ///
    /// Returns an error when the address is not a loopback one or cannot be bound, or a key cannot be made.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            return Err(std::io::Error::other("only loopback addresses are accepted: nobody is asked for a password"));
        }
        let listener = tokio::net::TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let directory = Mutex::new(Directory::new(options.users.clone()));
        let keys = Keys::generate()?;
        let shared = Arc::new(Shared {
            options,
            origin: format!("http://{address}"),
            keys,
            issuers: Mutex::default(),
            directory,
        });
        let router = router(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the identity provider stopped");
            }
        });
        Ok(Self { address, shared, task })
    }

    /// The origin of every endpoint: what Entra's `authority_host` is.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives a person other roles; the next token has them.
    pub fn set_roles(&self, user: &str, roles: &[&str]) {
        self.shared.directory().set_roles(user, roles);
    }

    /// Ends a person's refresh tokens.
    pub fn revoke(&self, user: &str) {
        self.shared.directory().revoke(user);
    }

    /// Makes the token endpoint answer 503 from now on, or no longer.
    pub fn set_down(&self, down: bool) {
        self.set_fault(Endpoint::Token, down.then_some(Fault::Status(503)));
    }

    /// Makes an endpoint fail from now on, or no longer.
    pub fn set_fault(&self, endpoint: Endpoint, fault: impl Into<Option<Fault>>) {
        let mut directory = self.shared.directory();
        match fault.into() {
            Some(fault) => directory.faults.insert(endpoint, fault),
            None => directory.faults.remove(&endpoint),
        };
    }

    /// Signs with another key from now on; the one before stays published.
    ///
    /// # Errors
    ///
    /// Returns an error when a key cannot be made.
    pub fn roll_key(&self) -> std::io::Result<()> {
        self.shared.keys.roll()
    }

    /// Makes sign-ins come back with this error and AADSTS code, or no longer.
    pub fn set_refusal(&self, refusal: Option<(&'static str, u32)>) {
        self.shared.directory().refusal = refusal;
    }

    /// Makes on-behalf-of exchanges end in this error and AADSTS code, or no longer.
    pub fn set_exchange_refusal(&self, refusal: Option<(&'static str, u32)>) {
        self.shared.directory().exchange_refusal = refusal;
    }

    /// Takes this token of a platform as the client's credential.
    pub fn set_federated_token(&self, token: &str) {
        self.shared.directory().federated = Some(token.to_owned());
    }

    /// Sets whether a person cannot satisfy an authentication context.
    pub fn set_weak(&self, user: &str, weak: bool) {
        self.shared.directory().set_weak(user, weak);
    }

    /// Sets how many seconds ago a person's session began; `None` ends it.
    pub fn set_session(&self, user: &str, age: Option<u64>) {
        self.shared.directory().set_session(user, age.map(|age| token::now() - age));
    }

    /// The parameters of every request so far, as sent.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.directory().requests.clone()
    }

    /// An access token for a person, with some claims replaced (`null` takes one away).
    ///
    /// # Panics
    ///
    /// Never; an unknown person has no roles.
    #[must_use]
    pub fn mint(&self, user: &str, replace: &Value) -> String {
        token::access_token(&self.shared, user, replace)
    }

    /// Waits until the provider stops.
    pub async fn wait(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery))
        .route("/{tenant}/discovery/v2.0/keys", get(published_keys))
        .route("/{tenant}/.well-known/openid-configuration", get(version_one_discovery))
        .route("/{tenant}/discovery/keys", get(version_one_keys))
        .route("/assertions/{name}/.well-known/openid-configuration", get(assertion::metadata))
        .route("/assertions/{name}/keys", get(assertion::keys))
        .route("/assertions/{name}/token", post(assertion::token))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize::authorize))
        .route("/{tenant}/oauth2/v2.0/token", post(token::token))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), fault::apply))
        .with_state(shared)
}

async fn discovery(State(shared): State<Arc<Shared>>, Path(tenant): Path<String>) -> Response {
    if !shared.is_tenant(&tenant) {
        return token::fault("invalid_tenant", 90002, "Tenant not found.").into_response();
    }
    let base = format!("{}/{tenant}", shared.origin);
    Json(json!({
        "issuer": shared.issuer(&tenant),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "cloud_instance_name": "microsoftonline.com",
    }))
    .into_response()
}

async fn published_keys(State(shared): State<Arc<Shared>>, Path(tenant): Path<String>) -> Json<Value> {
    Json(json!({ "keys": shared.keys.public(&shared.issuer(&tenant)) }))
}

async fn version_one_discovery(State(shared): State<Arc<Shared>>, Path(tenant): Path<String>) -> Response {
    if !shared.is_tenant(&tenant) {
        return token::fault("invalid_tenant", 90002, "Tenant not found.").into_response();
    }
    let jwks_uri = format!("{}/{tenant}/discovery/keys", shared.origin);
    Json(json!({ "issuer": shared.version_one_issuer(&tenant), "jwks_uri": jwks_uri })).into_response()
}

/// The same keys, which name the issuer of version 2.0.
async fn version_one_keys(state: State<Arc<Shared>>, tenant: Path<String>) -> Json<Value> {
    published_keys(state, tenant).await
}
