//! Connections to Redis: one server, the primary that sentinels name, or a cluster; pooled, and each act within a deadline.
//!
//! A connection that failed is not used again: after a failover it may lead to a server that only reads. Neither an
//! address nor an error that is shown holds a password.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deadpool::managed;
use deadpool_redis::redis::cluster::ClusterClientBuilder;
use deadpool_redis::redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError,
    ScriptInvocation, TlsCertificates, TlsMode,
};
use deadpool_redis::{PoolConfig, Runtime, Timeouts};

use super::managers::{ClusterManager, ServerManager};
use crate::config::Secret;
use crate::store::StoreError;

/// A server that has not answered by then is down. A slow one, of half a second, is not.
const DEADLINE: Duration = Duration::from_secs(2);
/// To connect, or to get a free connection.
const CONNECT: Duration = Duration::from_secs(1);

/// Where Redis is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// One server, or several sentinels or nodes of a cluster: `redis://` or `rediss://`. A password may stand in them.
    pub urls: Vec<Secret>,
    /// How they belong together.
    pub kind: Kind,
    /// The name of the user (ACL) at the servers that hold data.
    pub username: Option<String>,
    /// Its password there.
    pub password: Option<Secret>,
    /// The authority of the servers' certificates, PEM, in place of those of the system.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with.
    pub prefix: String,
    /// How many replicas must have a change before it counts as made.
    pub wait_replicas: usize,
    /// Connections at most.
    pub connections: usize,
}

/// How the servers belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single,
    /// Sentinels that name the primary of this name.
    Sentinel(String),
    /// Nodes of a cluster.
    Cluster,
}

pub(super) enum Pool {
    Server(managed::Pool<ServerManager>),
    Cluster(managed::Pool<ClusterManager>),
}

impl Pool {
    /// A pool; nothing is connected yet. The error says what is wrong with the settings.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let certificates = settings.ca_file.as_deref().map(certificates).transpose()?;
        Ok(match &settings.kind {
            Kind::Single => {
                let server = servers(settings)?.swap_remove(0);
                let server = match certificates {
                    Some(certificates) => Client::build_with_tls(server, certificates).map_err(said)?,
                    None => Client::open(server).map_err(said)?,
                };
                let server = server.get_connection_info().clone();
                let manager = deadpool_redis::Manager::new_with_config(server, patience()).map_err(said)?;
                Self::Server(built(ServerManager::Single(manager), settings)?)
            }
            Kind::Sentinel(master) => Self::Server(built(sentinels(settings, master, certificates)?, settings)?),
            Kind::Cluster => {
                let builder = ClusterClientBuilder::new(servers(settings)?);
                let builder = builder.connection_timeout(CONNECT).response_timeout(DEADLINE);
                let builder = certificates.into_iter().fold(builder, ClusterClientBuilder::certs);
                Self::Cluster(built(ClusterManager::new(builder.build().map_err(said)?), settings)?)
            }
        })
    }

    /// Runs a script. A change that needs replicas waits for them on the same connection.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        replicas: usize,
    ) -> Result<T, StoreError> {
        within(Box::pin(async {
            match self {
                Self::Server(pool) => {
                    let mut held = pool.get().await.map_err(gone)?;
                    let answer = script.invoke_async(&mut held.connection).await.map_err(StoreError::from);
                    kept(pool, acknowledged(answer, &mut held.connection, replicas).await, held)
                }
                // A cluster has no order between a change on one node and a question to another: no replicas.
                Self::Cluster(pool) => {
                    let mut held = pool.get().await.map_err(gone)?;
                    kept(pool, script.invoke_async(&mut held.connection).await.map_err(StoreError::from), held)
                }
            }
        }))
        .await
    }

    /// Asks something that concerns the servers as such.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        within(Box::pin(async {
            match self {
                Self::Server(pool) => {
                    let mut held = pool.get().await.map_err(gone)?;
                    kept(pool, command.query_async(&mut held.connection).await.map_err(StoreError::from), held)
                }
                Self::Cluster(pool) => {
                    let mut held = pool.get().await.map_err(gone)?;
                    kept(pool, command.query_async(&mut held.connection).await.map_err(StoreError::from), held)
                }
            }
        }))
        .await
    }
}

/// Whether the connection ended, and not the act.
pub(super) fn is_broken(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_io_error()
}

/// Keeps a connection for the next act if this one succeeded. When it broke, the others have broken, too.
fn kept<T, M: managed::Manager>(
    pool: &managed::Pool<M>,
    done: Result<T, StoreError>,
    held: managed::Object<M>,
) -> Result<T, StoreError> {
    done.inspect_err(|error| {
        drop(managed::Object::take(held));
        if matches!(error, StoreError::Redis(error) if is_broken(error)) {
            pool.retain(|_held, _metrics| false);
        }
    })
}

/// Runs an act within the deadline. A cluster's future is large: it comes boxed.
async fn within<T>(act: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_elapsed| StoreError::Unreachable("Redis does not answer".to_owned());
    tokio::time::timeout(DEADLINE + CONNECT, act).await.map_err(late)?
}

/// Passes an answer on when enough replicas have what was changed before it.
async fn acknowledged<T>(
    answer: Result<T, StoreError>,
    connection: &mut impl deadpool_redis::redis::aio::ConnectionLike,
    replicas: usize,
) -> Result<T, StoreError> {
    if replicas == 0 || answer.is_err() {
        return answer;
    }
    let milliseconds = u64::try_from(CONNECT.as_millis()).unwrap_or(u64::MAX);
    let mut wait = Cmd::new();
    wait.arg("WAIT").arg(replicas).arg(milliseconds);
    let count: usize = wait.query_async(connection).await?;
    if count < replicas {
        let what = format!("{count} of {replicas} replicas of Redis have the change; see `state.redis.wait_replicas`");
        return Err(StoreError::Unreachable(what));
    }
    answer
}

fn sentinels(
    settings: &Settings,
    master: &str,
    certificates: Option<TlsCertificates>,
) -> Result<ServerManager, String> {
    // Who we are at the sentinels stands in their URLs; the user and password of the settings are those of the data.
    let servers: Vec<ConnectionInfo> = settings.urls.iter().map(parsed).collect::<Result<_, _>>()?;
    let first = servers.first().ok_or("no sentinel is named")?;
    let addresses = servers.iter().map(|server| server.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master).map_err(said)?;
    let (at_sentinel, is_tls) = (first.redis_settings(), matches!(first.addr(), ConnectionAddr::TcpTls { .. }));
    builder = at_sentinel.username().into_iter().fold(builder, SentinelClientBuilder::set_client_to_sentinel_username);
    builder = at_sentinel.password().into_iter().fold(builder, SentinelClientBuilder::set_client_to_sentinel_password);
    builder = settings.username.iter().fold(builder, SentinelClientBuilder::set_client_to_redis_username);
    let password = settings.password.iter().map(Secret::expose);
    builder = password.fold(builder, SentinelClientBuilder::set_client_to_redis_password);
    builder = builder.set_client_to_redis_db(at_sentinel.db());
    if is_tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder.set_client_to_sentinel_certificates(certificates.clone());
        builder = builder.set_client_to_redis_certificates(certificates);
    }
    let client = builder.build().map_err(said)?.into();
    Ok(ServerManager::Sentinel { client, patience: patience() })
}

/// The servers that hold data, each with the user of the settings; at least one.
fn servers(settings: &Settings) -> Result<Vec<ConnectionInfo>, String> {
    let with_user = |url: &Secret| {
        let server = parsed(url)?;
        let mut user = server.redis_settings().clone();
        user = settings.username.iter().fold(user, deadpool_redis::redis::RedisConnectionInfo::set_username);
        let password = settings.password.iter().map(Secret::expose);
        user = password.fold(user, deadpool_redis::redis::RedisConnectionInfo::set_password);
        Ok(server.set_redis_settings(user))
    };
    let servers: Vec<_> = settings.urls.iter().map(with_user).collect::<Result<_, String>>()?;
    if servers.is_empty() { Err("no server is named".to_owned()) } else { Ok(servers) }
}

fn parsed(url: &Secret) -> Result<ConnectionInfo, String> {
    url.expose().into_connection_info().map_err(said)
}

fn certificates(file: &Path) -> Result<TlsCertificates, String> {
    let pem = std::fs::read(file).map_err(|error| format!("`{}` cannot be read: {error}", file.display()))?;
    Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
}

fn patience() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(DEADLINE))
}

fn sizes(settings: &Settings) -> PoolConfig {
    let timeouts = Timeouts { wait: Some(CONNECT), create: Some(CONNECT), recycle: Some(CONNECT) };
    PoolConfig { timeouts, ..PoolConfig::new(settings.connections) }
}

fn built<M: managed::Manager>(manager: M, settings: &Settings) -> Result<managed::Pool<M>, String> {
    let pool = managed::Pool::builder(manager).config(sizes(settings)).runtime(Runtime::Tokio1);
    pool.build().map_err(|error| error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn said(error: RedisError) -> String {
    error.to_string()
}

fn gone(error: managed::PoolError<RedisError>) -> StoreError {
    match error {
        managed::PoolError::Backend(error) => StoreError::Redis(error),
        other => StoreError::Unreachable(format!("no connection to Redis: {other}")),
    }
}

/// The servers, without what is secret.
pub(super) fn shown(settings: &Settings) -> String {
    let address = |url: &Secret| parsed(url).map_or_else(|_error| "?".to_owned(), |server| server.addr().to_string());
    settings.urls.iter().map(address).collect::<Vec<_>>().join(", ")
}
