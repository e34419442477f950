//! How the pool makes and keeps connections to what sentinels name and to clusters, with our deadlines and certificates,
//! which the pool's own managers do not take.

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster::ClusterClient;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::sentinel::SentinelClient;
use deadpool_redis::redis::{AsyncConnectionConfig, Cmd, RedisError};
use tokio::sync::Mutex;

/// Connections to the primary that sentinels name when they are made.
pub(super) struct SentinelManager {
    client: Mutex<SentinelClient>,
    patience: AsyncConnectionConfig,
}

impl SentinelManager {
    pub(super) fn new(client: SentinelClient, patience: AsyncConnectionConfig) -> Self {
        Self { client: Mutex::new(client), patience }
    }
}

impl Manager for SentinelManager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<MultiplexedConnection, RedisError> {
        self.client.lock().await.get_async_connection_with_config(&self.patience).await
    }

    async fn recycle(&self, connection: &mut MultiplexedConnection, _: &Metrics) -> RecycleResult<RedisError> {
        // One that was the primary and is none any more answers as well as ever.
        let role: Vec<deadpool_redis::redis::Value> = Cmd::new().arg("ROLE").query_async(connection).await?;
        let name: Option<String> =
            role.into_iter().next().and_then(|name| deadpool_redis::redis::from_redis_value(name).ok());
        if name.as_deref() == Some("master") { Ok(()) } else { Err(RecycleError::message("not the primary any more")) }
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
    type Type = ClusterConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<ClusterConnection, RedisError> {
        self.0.get_async_connection().await
    }

    async fn recycle(&self, connection: &mut ClusterConnection, _: &Metrics) -> RecycleResult<RedisError> {
        ping(connection).await
    }
}

async fn ping(connection: &mut impl ConnectionLike) -> RecycleResult<RedisError> {
    let answer: String = Cmd::new().arg("PING").query_async(connection).await?;
    if answer == "PONG" { Ok(()) } else { Err(RecycleError::message("no PONG")) }
}
