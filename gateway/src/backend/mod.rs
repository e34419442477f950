//! Backends: where they are, and the connections to them.
//!
//! One pool for each backend: connections are never shared between two, and one slow backend does not use up what
//! another needs. Speaks TCP and TLS; what goes over a connection is `proxy`'s business.

mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use url::Url;

use pool::Pool;

use crate::clock::Stopwatch;

/// Below the 5 s after which common servers close: taking a connection that is just being closed is a failed call.
const POOL_IDLE: Duration = Duration::from_secs(4);
const POOL_SIZE: usize = 256;
/// How long an address is used before its name is looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// Where a backend is and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its endpoint.
    pub url: Url,
    /// The authority that signed its certificate, as a PEM file; the system's when absent.
    pub ca_file: Option<String>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin, and a JSON answer to end.
    pub timeout: Duration,
    /// How long an event stream may be silent.
    pub idle_timeout: Duration,
}

/// A backend.
pub struct Upstream {
    settings: Settings,
    host_header: String,
    target: String,
    connector: TransportConnector,
    pool: Pool,
    resolved: tokio::sync::Mutex<Option<(SocketAddr, Stopwatch)>>,
}

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the backend at `{0}` cannot be reached: {1}")]
pub struct ConnectError(String, String);

impl Upstream {
    /// A backend; nothing is connected yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let host = settings.url.host_str().unwrap_or_default();
        let host_header = settings.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut options = ConnectorOptions::new(1);
        options.ca_file.clone_from(&settings.ca_file);
        Self {
            host_header,
            target: settings.url.path().to_owned(),
            connector: TransportConnector::new(Some(options)),
            pool: Pool::new(POOL_SIZE, POOL_IDLE),
            resolved: tokio::sync::Mutex::new(None),
            settings,
        }
    }

    /// What the `Host` header says.
    #[must_use]
    pub fn host_header(&self) -> &str {
        &self.host_header
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Its deadlines and the rest.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A connection that was used before and is still open.
    #[must_use]
    pub fn pooled(&self) -> Option<Stream> {
        self.pool.take()
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, stream: Stream) {
        self.pool.put(stream);
    }

    /// Closes connections that were idle too long or were closed by the backend; to be called every second.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// Returns a [`ConnectError`] when the name, the address or the certificate is not good.
    pub async fn connect(&self) -> Result<Stream, ConnectError> {
        let fault = |what: String| ConnectError(self.host_header.clone(), what);
        let deadline = self.settings.connect_timeout;
        let connect = async {
            let address = self.resolve().await?;
            let tls = self.settings.url.scheme() == "https";
            let sni = if tls { self.settings.url.host_str().unwrap_or_default().to_owned() } else { String::new() };
            let mut peer = HttpPeer::new(address, tls, sni);
            peer.options.connection_timeout = Some(deadline);
            peer.options.total_connection_timeout = Some(deadline);
            self.connector.new_stream(&peer).await.map_err(|error| fault(error.to_string()))
        };
        tokio::time::timeout(deadline, connect).await.map_err(|_elapsed| fault("it took too long".to_owned()))?
    }
    async fn resolve(&self) -> Result<SocketAddr, ConnectError> {
        let fault = |what: String| ConnectError(self.host_header.clone(), what);
        let mut resolved = self.resolved.lock().await;
        if let Some((address, at)) = *resolved
            && at.elapsed() < RESOLVE_EVERY
        {
            return Ok(address);
        }
        let host = self.settings.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.settings.url.port_or_known_default().unwrap_or(80);
        let found = tokio::net::lookup_host((host, port)).await.map_err(|error| fault(error.to_string()))?;
        let address = found.into_iter().next().ok_or_else(|| fault("its name has no address".to_owned()))?;
        *resolved = Some((address, Stopwatch::start()));
        Ok(address)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({})", self.settings.url)
    }
}

/// Sweeps the pools of every backend once a second.
pub async fn sweep_forever(upstreams: Vec<Arc<Upstream>>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        upstreams.iter().for_each(|upstream| upstream.sweep());
    }
}
