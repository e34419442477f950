//! The MCP servers behind the gateway: where they are, how they are reached, which connections are idle.
//!
//! An [`Upstream`] hands out connections and takes them back; what is said on one is `proxy::forward`'s affair. It
//! speaks HTTP/1.1 over TCP or TLS; a certificate is always verified, against the operator's authority when one is
//! named. [`Replicas`] are the servers of one backend, and which of them gets a request.

mod address;
pub mod caller;
pub mod care;
pub mod catalogue;
mod circuit;
mod gate;
mod health;
pub mod pinning;
mod pool;
mod probe;
mod replicas;
mod trust;

use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use portcullis_policy::BackendName;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;

use address::Address;
use care::Care;
use catalogue::FetchError;
use circuit::Circuit;
pub use circuit::Passage;
pub use gate::{Full, Gate, Slot};
use health::Health;
pub use pool::Pool;
pub use probe::probe_forever;
pub use replicas::{Candidates, Replicas};

/// How long a connection may lie idle: below the five seconds after which common Python servers close it, because a
/// connection that is just being closed is a failed call.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// More idle connections than this are closed.
const MAX_IDLE: usize = 256;

/// One backend, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in the policy.
    pub name: BackendName,
    /// Its Streamable HTTP endpoint, `http` or `https`.
    pub url: Url,
    /// A PEM file with the authority that signed its certificate; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin, and an answer that is no event stream to end.
    pub timeout: Duration,
    /// How long an event stream may be silent.
    pub idle_timeout: Duration,
    /// Probes, circuit and limits.
    pub care: Care,
}

/// Why a backend cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not the address of an MCP server.
    #[error("backend url `{0}` cannot be used; write http:// or https://, a host and a path")]
    Url(Url),
    /// The authority cannot be read.
    #[error("`ca_file` of backend `{0}` cannot be used; name a file with certificates in PEM form")]
    Authority(BackendName),
}

/// Why a backend cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name has no address.
    #[error("the address of backend `{0}` cannot be found")]
    Name(BackendName, #[source] std::io::Error),
    /// No connection, or none in time.
    #[error("backend `{0}` cannot be connected to: {1}")]
    Connection(BackendName, #[source] Box<pingora_core::Error>),
}

/// A backend that can be reached.
pub struct Upstream {
    settings: Settings,
    address: Address,
    host_header: String,
    target: String,
    connector: TransportConnector,
    pool: Pool<Stream>,
    health: Health,
    circuit: Circuit,
    mark: String,
}

impl Upstream {
    /// Sets a backend up; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// Returns a [`SetupError`] for settings that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let url = &settings.url;
        let usable = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        let (Some(host), Some(port), true) = (url.host_str(), url.port_or_known_default(), usable) else {
            return Err(SetupError::Url(settings.url));
        };
        let mut options = ConnectorOptions::new(1);
        options.ca_file = trust::authority(&settings)?;
        Ok(Self {
            address: Address::new(host.trim_matches(['[', ']']), port),
            host_header: url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            target: url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())),
            connector: TransportConnector::new(Some(options)),
            pool: Pool::new(MAX_IDLE, KEEP_ALIVE),
            health: Health::new(settings.care.health.as_ref().map_or(1, |check| check.failures)),
            circuit: Circuit::new(settings.care.circuit),
            mark: mark(url),
            settings,
        })
    }

    /// Its name in the policy.
    #[must_use]
    pub fn name(&self) -> &BackendName {
        &self.settings.name
    }

    /// Its host, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.address.host()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What sessions that it began say of it: the same on every instance and after every restart.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Whether it is in use: it takes connections, and answers probes well where it is asked.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.health.takes_connections() && self.health.is_sound()
    }

    /// Whether it answers probes well, as far as it is asked: one that does not gets no request at all.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.health.is_sound()
    }

    /// Whether it is left alone for a while, by anybody.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.circuit.is_open()
    }

    /// The leave to send one request of this caller.
    ///
    /// # Errors
    ///
    /// Returns how long to wait when exchanges have failed and the server is left alone.
    pub fn enter(&self, caller: impl Hash) -> Result<Passage<'_>, Duration> {
        self.circuit.enter(self, caller, Instant::now())
    }

    /// Keeps what a probe brought.
    fn probed(&self, answer: Result<(), FetchError>) {
        let (backend, server) = (&self.settings.name, self.host_header.as_str());
        match answer {
            Ok(()) if self.health.answered() => {
                tracing::info!(%backend, server, "a server answers its health check again");
            }
            Err(error) if self.health.answered_badly() => {
                tracing::warn!(%backend, server, %error, "a server fails its health check; it gets no requests until it passes");
            }
            _ => {}
        }
    }

    /// What it was set up with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What `Host` says to it.
    #[must_use]
    pub fn host_header(&self) -> &str {
        &self.host_header
    }

    /// The request target of its endpoint, in origin form.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.settings.url.scheme() == "https"
    }

    /// An idle connection, if one is still open.
    #[must_use]
    pub fn pooled(&self) -> Option<Stream> {
        self.pool.take(Instant::now())
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// Returns a [`ConnectError`]; the last address's when there are several.
    pub async fn connect(&self) -> Result<Stream, ConnectError> {
        let connected = self.try_connect().await;
        let server = self.host_header.as_str();
        match &connected {
            Ok(_) if self.health.connected() => {
                tracing::info!(backend = %self.settings.name, server, "a server takes connections again");
            }
            Err(error) if self.health.failed() => {
                tracing::warn!(backend = %self.settings.name, server, %error, "a server takes no connections; it is left out until it does");
            }
            _ => {}
        }
        connected
    }

    async fn try_connect(&self) -> Result<Stream, ConnectError> {
        let name = || self.settings.name.clone();
        let addresses = self.address.resolve().await.map_err(|error| ConnectError::Name(name(), error))?;
        let mut failure = Error::new(ErrorType::ConnectNoRoute);
        for address in addresses {
            match self.connector.new_stream(&self.peer(address)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(ConnectError::Connection(name(), failure))
    }

    /// Keeps a connection on which a whole exchange has ended.
    pub fn keep(&self, stream: Stream) {
        self.pool.put(stream, Instant::now());
    }

    /// Closes idle connections that are aged or dead; call it every second.
    pub fn sweep(&self) {
        self.pool.sweep(Instant::now());
    }

    /// How many connections lie idle.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.pool.len()
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        // INVARIANT: over TLS the server name is never empty, for an IP address neither: Pingora takes an empty one as
        // leave to accept any certificate.
        let server_name = if self.is_tls() { self.settings.url.host_str().unwrap_or("invalid") } else { "" };
        let mut peer = HttpPeer::new(address, self.is_tls(), server_name.trim_matches(['[', ']']).to_owned());
        peer.options.connection_timeout = Some(self.settings.connect_timeout);
        peer.options.total_connection_timeout = Some(self.settings.connect_timeout);
        peer
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.settings.name).field(&self.host_header).finish()
    }
}

/// A server's name in sealed session ids: eight characters (base64url) of its address's SHA-256.
fn mark(url: &Url) -> String {
    let digest = Sha256::digest(url.as_str());
    URL_SAFE_NO_PAD.encode(digest.get(..6).unwrap_or_default())
}

/// Sweeps the pool of every backend once a second.
pub async fn sweep_forever(upstreams: Vec<Arc<Upstream>>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        for upstream in &upstreams {
            upstream.sweep();
        }
    }
}

#[cfg(test)]
mod tests;
