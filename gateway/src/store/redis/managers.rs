//! How the pool makes connections, with our deadlines and certificates, and when it looks whether one is still good.
//!
//! A look costs a way to Redis and back, as much as the act itself: a connection that was looked at within the last second
//! is taken as it is. One that broke meanwhile fails its act and is dropped, and a primary that is none any more refuses
//! every change.

use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster::ClusterClient;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::sentinel::SentinelClient;
use deadpool_redis::redis::{AsyncConnectionConfig, Cmd, RedisError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a look holds.
const HOLDS: Duration = Duration::from_secs(1);

/// A connection, and when it was looked at.
pub(super) struct Checked<C> {
    pub(super) connection: C,
    at: Instant,
}

impl<C> Checked<C> {
    fn new(connection: C) -> Self {
        Self { connection, at: Instant::now() }
    }

    /// Looks, unless somebody has just looked.
    async fn look(&mut self, look: impl AsyncFnOnce(&mut C) -> RecycleResult<RedisError>) -> RecycleResult<RedisError> {
        if self.at.elapsed() >= HOLDS {
            look(&mut self.connection).await?;
            self.at = Instant::now();
        }
        Ok(())
    }
}

/// Connections to one server.
pub(super) enum ServerManager {
    /// The one of this address.
    Single(deadpool_redis::Manager),
    /// The primary that sentinels name when the connection is made.
    Sentinel {
        /// Whom to ask.
        client: Mutex<SentinelClient>,
        /// How long.
        patience: AsyncConnectionConfig,
    },
}

impl Manager for ServerManager {
    type Type = Checked<MultiplexedConnection>;
    type Error = RedisError;

    async fn create(&self) -> Result<Self::Type, RedisError> {
        Ok(Checked::new(match self {
            Self::Single(manager) => manager.create().await?,
            Self::Sentinel { client, patience } => {
                client.lock().await.get_async_connection_with_config(patience).await?
            }
        }))
    }

    async fn recycle(&self, held: &mut Self::Type, metrics: &Metrics) -> RecycleResult<RedisError> {
        held.look(async |connection| match self {
            Self::Single(manager) => manager.recycle(connection, metrics).await,
            Self::Sentinel { .. } => is_primary(connection).await,
        })
        .await
    }
}

/// Connections to all nodes of a cluster.
pub(super) struct ClusterManager(ClusterClient);

impl ClusterManager {
    pub(super) fn new(client: ClusterClient) -> Self {
        Self(client)
    }
}

impl Manager for ClusterManager {
    type Type = Checked<ClusterConnection>;
    type Error = RedisError;

    async fn create(&self) -> Result<Self::Type, RedisError> {
        self.0.get_async_connection().await.map(Checked::new)
    }

    async fn recycle(&self, held: &mut Self::Type, _: &Metrics) -> RecycleResult<RedisError> {
        held.look(async |connection| ping(connection).await).await
    }
}

/// One that was the primary and is none any more answers as well as ever.
async fn is_primary(connection: &mut MultiplexedConnection) -> RecycleResult<RedisError> {
    let role: Vec<deadpool_redis::redis::Value> = Cmd::new().arg("ROLE").query_async(connection).await?;
    let name: Option<String> =
        role.into_iter().next().and_then(|name| deadpool_redis::redis::from_redis_value(name).ok());
    if name.as_deref() == Some("master") { Ok(()) } else { Err(RecycleError::message("not the primary any more")) }
}

async fn ping(connection: &mut impl ConnectionLike) -> RecycleResult<RedisError> {
    let answer: String = Cmd::new().arg("PING").query_async(connection).await?;
    if answer == "PONG" { Ok(()) } else { Err(RecycleError::message("no PONG")) }
}
