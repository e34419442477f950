//! The configuration as used: validated, with every default filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_policy::{BackendName, Policy};
use url::Url;

use super::Secret;
use crate::audit::{Destination, OnFailure};
use crate::backend::caller::Wanted;
use crate::backend::care::Care;
use crate::backend::pinning::Rule;
use crate::entra::cloud::Authority;
use crate::limit::{Rates, TrustedProxies};
use crate::mcp::Features;
use crate::oauth::{Configured, Hosts};
use crate::outbound::guarded::Double;
use crate::proxy::budget;
use crate::proxy::listener::Deadlines;
use crate::store::RedisSettings;
use crate::tls::Files;
use crate::trace::{Collector, Sampling};

/// Everything the gateway was told.
#[derive(Debug)]
pub struct Config {
    /// Addresses.
    pub server: Server,
    /// What survives a restart.
    pub state: State,
    /// The identity provider.
    pub entra: Entra,
    /// The gateway's own tokens.
    pub oauth: OAuth,
    /// Who may be a client.
    pub clients: Clients,
    /// Issuers whose word on a person is taken.
    pub identity_assertions: Vec<IdentityAssertions>,
    /// The MCP servers, by name.
    pub backends: Vec<Backend>,
    /// Sizes.
    pub limits: Limits,
    /// Where audit lines go, and when they count as written.
    pub audit: Audit,
    /// Where traces go, if anywhere.
    pub traces: Option<Traces>,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// The policy as written, for its tests and its lint.
    pub policy_document: portcullis_policy::Document,
    /// Every file that was read: a change in one is a change of the configuration.
    pub files: super::Files,
    /// What is allowed but deserves a word at start.
    pub warnings: Vec<String>,
}

impl Config {
    /// The backend of a login that names none, where the operator named one.
    #[must_use]
    pub fn default_backend(&self) -> Option<&Backend> {
        let name = self.server.default_backend.as_ref()?;
        self.backends.iter().find(|backend| backend.name == *name)
    }
}

/// Where what survives a restart is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// A directory of this machine: the store, where it is embedded, and what is this gateway's alone.
    pub directory: PathBuf,
    /// The store, where a fleet shares it.
    pub redis: Option<RedisSettings>,
    /// Files of the keys that seal what is stored, the newest first; none for the one of the embedded store.
    pub seal_keys: Vec<PathBuf>,
}

/// Traces.
#[derive(Debug, PartialEq)]
pub struct Traces {
    /// Who takes them.
    pub collector: Collector,
    /// Which requests are traced.
    pub sampling: Sampling,
}

/// The audit trail.
#[derive(Debug, PartialEq, Eq)]
pub struct Audit {
    /// Where it goes; at least one place.
    pub destinations: Vec<Destination>,
    /// Whether a decision is on the disk before it is acted upon.
    pub durable: bool,
    /// What becomes of requests while it cannot be written.
    pub on_failure: OnFailure,
    /// What is recorded of arguments.
    pub arguments: Arguments,
}

/// What is recorded of arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Whether a keyed digest of them is.
    pub digest: bool,
    /// Tags: the values themselves are recorded for tools that carry one.
    pub values_of: BTreeSet<String>,
    /// JSON Pointers (RFC 6901) to values that are blacked out.
    pub redact: Vec<String>,
}

/// Addresses.
#[derive(Debug)]
pub struct Server {
    /// For clients.
    pub listen: SocketAddr,
    /// The issuer: scheme, host and port, without a trailing slash.
    pub public_url: String,
    /// For probes and metrics.
    pub admin_listen: SocketAddr,
    /// Worker threads.
    pub threads: usize,
    /// From the last accepted connection to the end of what is still open.
    pub shutdown_grace: Duration,
    /// Names it is reached by beside the public one: `name` or `name:port`.
    pub hosts: Vec<String>,
    /// Names that its operators' listener is reached by.
    pub admin_hosts: Vec<String>,
    /// How long it says that it is not ready before it accepts nothing more.
    pub drain_delay: Duration,
    /// The certificate for clients; without one they speak plain HTTP.
    pub tls: Option<Files>,
    /// Origins whose browsers may call, the gateway's own included.
    pub allowed_origins: Vec<String>,
    /// Proxies whose word on a client's address counts.
    pub trusted_proxies: TrustedProxies,
    /// Whether there are endpoints for scripts and for people without an MCP client.
    pub auth_endpoints: bool,
    /// The backend of a login there that names none.
    pub default_backend: Option<BackendName>,
}

/// How the gateway proves to the identity provider that it is the app registration.
#[derive(Debug)]
pub enum Credential {
    /// A client secret.
    Secret(Secret),
    /// PEM files with a private key and its certificate.
    Certificate {
        /// The key's.
        key_file: PathBuf,
        /// The certificate's.
        certificate_file: PathBuf,
    },
    /// The file of a platform's token.
    FederatedToken(PathBuf),
}

/// The identity provider.
#[derive(Debug)]
pub struct Entra {
    /// The home directory's GUID.
    pub tenant_id: String,
    /// Further directories whose members sign in.
    pub tenants: Vec<String>,
    /// The app registration's GUID.
    pub client_id: String,
    /// Its credential.
    pub credential: Credential,
    /// The cloud.
    pub authority: Authority,
    /// The registration's Application ID URI.
    pub app_id_uri: String,
    /// Whether version 1.0 access tokens are taken where Entra's are.
    pub accept_v1_tokens: bool,
    /// The delegated permissions to ask for, in full form.
    pub scopes: Vec<String>,
    /// Tolerance for clocks that differ; at most 300 s.
    pub clock_skew: Duration,
    /// Further claims that policies may ask for.
    pub claims: BTreeSet<String>,
}

/// The gateway's own tokens.
#[derive(Debug)]
pub struct OAuth {
    /// How long an access token is good; at most 15 minutes.
    pub access_token_lifetime: Duration,
    /// How long a refresh token may lie unused.
    pub refresh_token_lifetime: Duration,
    /// How long a consent is remembered; never when absent.
    pub remember_consent: Option<Duration>,
    /// Whether programs without a browser may ask to be let in.
    pub device_authorization: bool,
    /// How long tokens are believed while it cannot be read what was revoked; for ever when absent.
    pub revocation_staleness: Option<Duration>,
    /// How long a signing key signs before the next one does.
    pub key_lifetime: Duration,
}

/// Who may be a client.
#[derive(Debug)]
pub struct Clients {
    /// Where answers may go.
    pub redirect_hosts: Hosts,
    /// Whose documents are read.
    pub domains: Hosts,
    /// Those that are known beforehand.
    pub configured: Vec<Configured>,
    /// What plays every host of documents, in tests.
    pub double: Option<Double>,
}

/// An issuer whose word on a person is taken.
#[derive(Clone, Debug)]
pub struct IdentityAssertions {
    /// Its identifier.
    pub issuer: String,
    /// Where its keys are; its metadata says when absent.
    pub jwks_uri: Option<String>,
    /// The one tenant whose people are let in, of an issuer that has several.
    pub tenant: Option<String>,
    /// The claim that roles follow from.
    pub claim: String,
    /// App-role values, by the claim's values.
    pub roles: BTreeMap<String, Vec<String>>,
    /// The clients that may bring its assertions; every one with the grant type when absent.
    pub clients: Option<BTreeSet<String>>,
}

/// One MCP server.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its name in the policy.
    pub name: BackendName,
    /// The Streamable HTTP endpoint of its first server.
    pub url: Url,
    /// Those of its other servers.
    pub replicas: Vec<Url>,
    /// The path under the public URL, with a leading and without a trailing slash.
    pub path: String,
    /// The resource identifier (RFC 8707): public URL and path.
    pub resource: String,
    /// Whether Entra's own access tokens are taken as bearers here.
    pub accept_entra_tokens: bool,
    /// Whether who brings no token is let in, to what the policy opens to anybody.
    pub public: bool,
    /// What its server is told of who calls.
    pub identity: Wanted,
    /// The scope of the API of its own that its server wants a token for.
    pub on_behalf_of: Option<String>,
    /// What may pass between its server and clients.
    pub features: Features,
    /// Whether tools that are new or described anew pass; not looked at when absent.
    pub drift: Option<Drift>,
    /// How often the gateway reads its tools at least, where it keeps a catalogue of them.
    pub catalogue_refresh: Duration,
    /// A PEM file with the authority that signed its certificate; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// Probes, circuit and limits.
    pub care: Care,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin, and a JSON answer to end.
    pub timeout: Duration,
    /// How long an event stream may be silent.
    pub idle_timeout: Duration,
}

/// What is compared with what, and what is done about a difference.
#[derive(Clone, Debug)]
pub struct Drift {
    /// The file of the tools that were approved.
    pub lock: PathBuf,
    /// What is done.
    pub rule: Rule,
}

/// Sizes, in bytes, rates, budgets and deadlines.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A request's body.
    pub request_body: usize,
    /// A JSON answer, and one event of a stream.
    pub answer_body: usize,
    /// Memory for filtered lists.
    pub list_cache: usize,
    /// How long a verified token is remembered; at most a minute.
    pub token_cache: Duration,
    /// How often somebody may ask.
    pub rates: Rates,
    /// What the process holds at once.
    pub budgets: budget::Limits,
    /// How long a client may take.
    pub deadlines: Deadlines,
}
