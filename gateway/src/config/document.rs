//! The configuration file as written: names, texts and places, nothing checked but the shape.
//!
//! Texts keep their position so that [`super::resolve`] can point at them. Every key is known or an error. Longer than
//! other files here because it is one list of keys, and each says what it is.

mod assertions;
mod audit;
mod care;
mod state;
mod traces;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_saphyr::Spanned;

use super::Fault;
pub use assertions::IdentityAssertions;
pub use audit::{Arguments, Audit, Otlp, Postgres};
pub use care::{Circuit, Health};
pub use state::{Redis, Sentinel, State};
pub use traces::Traces;

/// A text of the file, before `${NAME}` is expanded.
pub type Text = Spanned<String>;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Addresses.
    #[serde(default)]
    pub server: Server,
    /// What survives a restart.
    #[serde(default)]
    pub state: State,
    /// The identity provider.
    #[serde(default)]
    pub entra: Entra,
    /// The gateway's own tokens.
    #[serde(default)]
    pub oauth: OAuth,
    /// The MCP servers, by name.
    pub backends: BTreeMap<String, Backend>,
    /// Sizes and deadlines.
    #[serde(default)]
    pub limits: Limits,
    /// Logs and audit.
    #[serde(default)]
    pub audit: Audit,
    /// Traces of requests.
    #[serde(default)]
    pub traces: Traces,
    /// Who may do what: a file name, or the policy itself.
    pub policy: PolicySource,
}

/// Addresses.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `address:port` for clients.
    pub listen: Option<Text>,
    /// The origin that clients use; also `MCP_BASE_URL`.
    pub public_url: Option<Text>,
    /// `address:port` for probes and metrics.
    pub admin_listen: Option<Text>,
    /// Worker threads.
    pub threads: Option<Spanned<usize>>,
    /// From the last accepted connection to the end of what is still open.
    pub shutdown_grace: Option<Text>,
    /// Names it is reached by beside that of `public_url`: `name` or `name:port`.
    #[serde(default)]
    pub hosts: Vec<Text>,
    /// DNS names of the listener for probes and metrics.
    #[serde(default)]
    pub admin_hosts: Vec<Text>,
    /// From SIGTERM, at which it is not ready any more, to the last accepted connection.
    pub drain_delay: Option<Text>,
    /// The certificate for clients.
    pub tls: Option<Tls>,
    /// Origins of browser clients, beside the gateway's own.
    #[serde(default)]
    pub allowed_origins: Vec<Text>,
    /// Networks of proxies whose `X-Forwarded-For` or `Forwarded` counts.
    #[serde(default)]
    pub trusted_proxies: Vec<Text>,
    /// Whether a policy may be `mode: shadow` as a whole.
    #[serde(default)]
    pub allow_shadow_policy: bool,
    /// Whether there are endpoints for scripts and for people without an MCP client.
    #[serde(default)]
    pub auth_endpoints: bool,
    /// Whether a backend may have `access: public`.
    #[serde(default)]
    pub allow_public: bool,
    /// The backend of a login there that names none.
    pub default_backend: Option<Text>,
}

/// TLS towards clients.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the certificate and its chain.
    pub certificate_file: Text,
    /// A PEM file with its key, readable by the gateway alone.
    pub key_file: Text,
    /// A PEM file with the authorities that sign clients' certificates; then every client needs one.
    pub client_ca_file: Option<Text>,
}

/// The identity provider.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entra {
    /// The home directory's GUID; also `AZURE_TENANT_ID`.
    pub tenant_id: Option<Text>,
    /// GUIDs of further directories whose members sign in.
    #[serde(default)]
    pub tenants: Vec<Text>,
    /// The app registration's GUID; also `AZURE_CLIENT_ID`.
    pub client_id: Option<Text>,
    /// Its secret; also `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Text>,
    /// A file that holds its secret.
    pub client_secret_file: Option<Text>,
    /// A certificate as the credential; also `AZURE_CLIENT_CERTIFICATE_PATH`.
    pub certificate: Option<Certificate>,
    /// The file of a platform's token as the credential; also `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated_token_file: Option<Text>,
    /// The cloud; also `AZURE_AUTHORITY_HOST`.
    pub authority_host: Option<Text>,
    /// Whether the authority may be one that is no cloud of Microsoft's.
    #[serde(default)]
    pub allow_unlisted_authority: bool,
    /// Whether Entra's version 1.0 access tokens are taken where Entra's tokens are.
    #[serde(default)]
    pub accept_v1_tokens: bool,
    /// The registration's Application ID URI.
    pub app_id_uri: Option<Text>,
    /// Short names of the delegated permissions to ask for.
    pub scopes: Option<Vec<Text>>,
    /// Tolerance for clocks that differ.
    pub clock_skew: Option<Text>,
    /// Further claims that policies may ask for (`caller.claims`); carried in the gateway's own tokens.
    #[serde(default)]
    pub claims: Vec<Text>,
}

/// A certificate as the credential.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A PEM file with the private key.
    pub key_file: Text,
    /// A PEM file with the certificate; the key's file when left out.
    pub certificate_file: Option<Text>,
}

/// The gateway's own tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// How long an access token is good.
    pub access_token_lifetime: Option<Text>,
    /// How long a refresh token may lie unused.
    pub refresh_token_lifetime: Option<Text>,
    /// How long a browser is not asked again for the consent that a person gave in it; never remembered when left out.
    pub remember_consent: Option<Text>,
    /// How long tokens are believed while it cannot be read what was revoked; a duration, or `unbounded`.
    pub revocation_staleness: Option<Text>,
    /// Whether programs without a browser may ask to be let in (RFC 8628).
    #[serde(default)]
    pub device_authorization: bool,
    /// How long a signing key signs before the next one does.
    pub key_lifetime: Option<Text>,
    /// Issuers whose word on a person is taken (ID-JAG).
    #[serde(default)]
    pub identity_assertions: Vec<IdentityAssertions>,
    /// Hosts and applications that answers may go to.
    pub redirect_hosts: Option<Vec<Text>>,
    /// Hosts whose metadata documents may name a client.
    pub client_domains: Option<Vec<Text>>,
    /// Clients that are known beforehand.
    #[serde(default)]
    pub clients: Vec<OAuthClient>,
    /// A server on this machine that plays every host of documents; for tests.
    pub document_double: Option<DocumentDouble>,
}

/// A client that is known beforehand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthClient {
    /// Its id.
    pub id: Text,
    /// Its name on the consent page.
    pub name: Option<Text>,
    /// A file that holds its secret.
    pub secret_file: Option<Text>,
    /// A file that holds its public keys, a JWK set.
    pub jwks_file: Option<Text>,
    /// Where answers may go.
    #[serde(default)]
    pub redirect_uris: Vec<Text>,
    /// What it may ask for.
    pub grant_types: Option<Vec<Text>>,
    /// App-role values of what it does on its own behalf.
    #[serde(default)]
    pub roles: Vec<Text>,
}

/// A server that plays every host of documents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentDouble {
    /// `address:port` on this machine.
    pub address: Text,
    /// A PEM file with the authority that signed its certificate.
    pub ca_file: Text,
}

/// One MCP server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its Streamable HTTP endpoint.
    pub url: Option<Text>,
    /// The endpoints of its servers, where there are several.
    pub urls: Option<Vec<Text>>,
    /// The path under `public_url`.
    pub path: Option<Text>,
    /// Whether Entra's own access tokens are taken as bearers here.
    #[serde(default)]
    pub accept_entra_tokens: bool,
    /// `token`, or `public`: who brings no token is let in, to what the policy opens to anybody.
    pub access: Option<Text>,
    /// What its server is told of who calls.
    #[serde(default)]
    pub identity: Identity,
    /// The API of its own that its server wants a token for.
    pub on_behalf_of: Option<OnBehalfOf>,
    /// What may pass between its server and clients, beside calls and lists.
    pub client_features: Option<Vec<Text>>,
    /// Whether tools that are new or described anew pass.
    pub drift: Option<Drift>,
    /// How often the gateway reads its tools, where it keeps a catalogue of them.
    pub catalogue_refresh: Option<Text>,
    /// What each of its servers is asked now and then.
    pub health: Option<Health>,
    /// When a server is left alone, and for how long.
    #[serde(default)]
    pub circuit: Circuit,
    /// How many requests may wait for its answers at once.
    pub max_concurrent: Option<Spanned<usize>>,
    /// How many more may wait to be among them.
    pub max_queued: Option<Spanned<usize>>,
    /// A PEM file with the authority that signed its certificate.
    pub ca_file: Option<Text>,
    /// How long a connection may take.
    pub connect_timeout: Option<Text>,
    /// How long an answer may take to begin, and a JSON answer to end.
    pub timeout: Option<Text>,
    /// How long an event stream may be silent.
    pub idle_timeout: Option<Text>,
}

/// The API of its own that a server wants a token for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnBehalfOf {
    /// As in `api://its-id/.default`.
    pub scope: Text,
}

/// What a server is told of who calls.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `X-Portcullis-Tenant`, `-Subject`, `-Client` and `-Roles`.
    #[serde(default)]
    pub headers: bool,
    /// `X-Portcullis-Assertion`, a JWT of the key at `/jwks/assertion`.
    #[serde(default)]
    pub assertion: bool,
}

/// Whether tools that are new or described anew pass.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// The file of the tools that were approved.
    pub lock: Text,
    /// `quarantine`, `report` or `pass`.
    pub mode: Option<Text>,
}

/// Sizes and deadlines.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's body.
    pub request_body: Option<Spanned<usize>>,
    /// Bytes of a JSON answer, and of one event of a stream.
    pub answer_body: Option<Spanned<usize>>,
    /// Bytes of memory for filtered lists; 0 turns it off.
    pub list_cache: Option<Spanned<usize>>,
    /// Connections of clients.
    pub connections: Option<Spanned<usize>>,
    /// Those of one address; 0 is no limit.
    pub connections_per_address: Option<Spanned<usize>>,
    /// Requests that are being answered.
    pub requests: Option<Spanned<usize>>,
    /// Those of one backend.
    pub requests_per_backend: Option<Spanned<usize>>,
    /// Those of one address that come without a token; 0 is no limit.
    pub requests_per_address: Option<Spanned<usize>>,
    /// Those of one caller; 0 is no limit.
    pub requests_per_caller: Option<Spanned<usize>>,
    /// Bytes of all request bodies.
    pub request_bytes: Option<Spanned<usize>>,
    /// Those of one caller's large bodies; 0 is no limit.
    pub request_bytes_per_caller: Option<Spanned<usize>>,
    /// Bytes of all answers that are read whole.
    pub answer_bytes: Option<Spanned<usize>>,
    /// Event streams of GET, and subscriptions.
    pub streams: Option<Spanned<usize>>,
    /// Those of one caller.
    pub streams_per_caller: Option<Spanned<usize>>,
    /// How long a request's head may take.
    pub head_timeout: Option<Text>,
    /// How long a request's body may take.
    pub body_timeout: Option<Text>,
    /// How long 64 KiB of an answer may take.
    pub write_timeout: Option<Text>,
    /// How long a connection lies idle.
    pub keep_alive: Option<Text>,
    /// How long a verified token is remembered.
    pub token_cache: Option<Text>,
    /// Requests per minute of one caller to one backend; 0 turns it off.
    pub calls_per_minute: Option<Spanned<usize>>,
    /// How many of them may come at once.
    pub call_burst: Option<Spanned<usize>>,
    /// Requests per minute to `/authorize`.
    #[serde(default)]
    pub authorize: EndpointRates,
    /// Requests per minute to `/register`.
    #[serde(default)]
    pub register: EndpointRates,
    /// Requests per minute to `/token` and `/revoke`.
    #[serde(default)]
    pub token: EndpointRates,
    /// Requests per minute to `/device_authorization` and `/device`.
    #[serde(default)]
    pub device: EndpointRates,
}

/// Requests per minute to one endpoint; 0 is no limit.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRates {
    /// Of one address.
    pub per_address: Option<Spanned<usize>>,
    /// Of everybody together.
    pub total: Option<Spanned<usize>>,
}

/// A file name, or the policy itself.
#[derive(Debug)]
pub enum PolicySource {
    /// The name of a file beside this one.
    File(String),
    /// The policy, written here.
    Inline(Box<portcullis_policy::Document>),
}

impl<'de> Deserialize<'de> for PolicySource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FileOrMapping)
    }
}

struct FileOrMapping;

impl<'de> Visitor<'de> for FileOrMapping {
    type Value = PolicySource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a policy file, or a policy (`roles:` and `tools:`)")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PolicySource, E> {
        Ok(PolicySource::File(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PolicySource, A::Error> {
        let policy = portcullis_policy::Document::deserialize(MapAccessDeserializer::new(map))?;
        Ok(PolicySource::Inline(Box::new(policy)))
    }
}

const MAX_DEPTH: usize = 40;
const MAX_NODES: usize = 200_000;

/// Reads the shape of a file.
///
/// # Errors
///
/// Returns the first thing that is not as the shape wants it, with its place. The text of the file is not quoted,
/// for it may hold secrets.
pub fn read(text: &str) -> Result<Document, Fault> {
    read_as(text)
}

/// Reads a text as something else, as strictly.
pub(super) fn read_as<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Fault> {
    // As strict as the policy's own reader, for a policy may stand in this file.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES, max_documents: 1 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
        let message = error.without_snippet().to_string();
        Fault::at(location, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "server: { public_url: 'https://a.example' }\nstate: { path: s }\nentra: {}\nbackends: {}\npolicy: { roles: {}, tools: {} }\n";

    #[test]
    fn a_policy_in_the_file_is_read_as_strictly_as_alone() {
        assert!(read(GOOD).is_ok(), "{:?}", read(GOOD).err());
        for bad in [
            GOOD.replace("roles: {}", "roles: { a: {}, a: {} }"),
            GOOD.replace("policy: {", "x: &x { tools: {} }\npolicy: { <<: *x,"),
            GOOD.replace("roles: {}", "roles: !novel {}"),
            format!("{GOOD}---\n{GOOD}"),
            GOOD.replace("tools: {}", &format!("tools: {}{}", "[".repeat(60), "]".repeat(60))),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
