//! The composition root: from a configuration to a running gateway. The only place where concrete parts meet.

mod catalogues;
mod mounts;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalogues::Catalogues;
pub(crate) use catalogues::client_of;
use mounts::{mount, scopes};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::listening::Service;
use tokio::runtime::Runtime;

use crate::admin::{Admin, Readiness};
use crate::audit::{self, Auditor, Digester, Signer};
use crate::authn::{self, Authenticator};
use crate::backend::caller::Asserter;
use crate::backend::{self, Replicas};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::entra::{self, Entra};
use crate::jose::access_token;
use crate::jose::claims::EntraExpectations;
use crate::jose::entra_token;
use crate::jose::key_set::{EntraKeys, KeySet};
use crate::jose::signing_key::SigningKey;
use crate::metrics::Metrics;
use crate::oauth;
use crate::outbound::{self, Outbound};
use crate::proxy::listener::Listener;
use crate::proxy::{self, Door, Mount, RouteTable};
use crate::store::{Sealer, SqliteStore, Store};

/// The names of the keys that the store keeps, and what they are sealed for.
const SIGNING_KEY: &str = "signing-key";
const ASSERTION_KEY: &str = "assertion-key";
/// A listener on this machine answers at once or not at all.
const PROBE: Duration = Duration::from_millis(200);
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// Why the gateway does not start; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct StartError {
    what: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn start<E: Into<Box<dyn std::error::Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> StartError {
    move |source| StartError { what, source: source.into() }
}

/// Runs the gateway until it is told to stop (SIGTERM, SIGINT, SIGQUIT).
///
/// # Errors
///
/// Returns a [`StartError`] when a part cannot be made.
pub fn run(config: &Config) -> Result<(), StartError> {
    // One runtime for what is not a request: the store, key sets, sweeping. It lives as long as the process.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(start("the runtime"))?;
    let gateway = runtime.block_on(Gateway::build(config))?;
    gateway.start_background(&runtime);
    let admin = Admin::new(Arc::clone(&gateway.metrics), Arc::new(gateway.readiness(config.server.listen)));
    let mut server = Server::new_with_opt_and_conf(None, server_conf(config));
    server.bootstrap();
    let mut public = Service::new("public".to_owned(), Listener::new(gateway.door));
    public.threads = Some(config.server.threads);
    public.add_tcp(&config.server.listen.to_string());
    server.add_service(public);
    let mut private = Service::new("admin".to_owned(), admin);
    private.threads = Some(1);
    private.add_tcp(&config.server.admin_listen.to_string());
    server.add_service(private);
    tracing::info!(listen = %config.server.listen, public_url = %config.server.public_url, admin = %config.server.admin_listen, policy = %config.policy.hash(), "the gateway is up");
    server.run(RunArgs::default());
    tracing::info!("the gateway has stopped");
    Ok(())
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.server.threads,
        // A connection stays on its thread: nothing on the data path blocks, and stealing costs more than it evens out.
        work_stealing: false,
        upgrade_sock: config.state.join("upgrade.sock").display().to_string(),
        pid_file: config.state.join("portcullis.pid").display().to_string(),
        grace_period_seconds: Some(config.server.shutdown_grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(5),
        ..ServerConf::default()
    }
}

/// The parts of a gateway, wired.
struct Gateway {
    door: Door,
    metrics: Arc<Metrics>,
    entra_keys: Arc<KeySet>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    backends: Vec<Arc<Replicas>>,
    catalogues: Arc<Catalogues>,
}

impl Gateway {
    async fn build(config: &Config) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().map_err(start("the metrics"))?);
        let (store, sealer) = open_state(&config.state).await?;
        let signing_key = kept_key(SIGNING_KEY, &*store, &sealer).await?;
        let assertion_key = kept_key(ASSERTION_KEY, &*store, &sealer).await?;
        let outbound = Outbound::new(&outbound::Settings::default()).map_err(start("the HTTP client"))?;
        let http = outbound.client().clone();
        let keys = EntraKeys::new(outbound, &config.entra.authority_host, &config.entra.tenant_id);
        let expectations = expectations(config, keys.issuer());
        let entra_keys = Arc::new(KeySet::new(Box::new(keys), Arc::clone(&clock)));
        let entra = Entra::new(
            entra_settings(config),
            http,
            entra_token::Verifier::new(expectations.clone(), Arc::clone(&entra_keys)),
            Arc::clone(&clock),
        );
        let auditor = auditor(config, &signing_key, (&*store, &sealer), &metrics, &clock).await?;
        let auditor = Arc::new(auditor);
        let state = oauth::State::new(
            oauth_settings(config),
            Arc::clone(&store),
            sealer.clone(),
            signing_key.clone(),
            entra.map_err(start("the sign-in"))?,
            Arc::clone(&clock),
        );
        let issuer = config.server.public_url.clone();
        let mut trusted = authn::Settings::new(access_token::Verifier::new(issuer, [&signing_key]));
        trusted.entra = Some(entra_token::Verifier::new(expectations, Arc::clone(&entra_keys)));
        trusted.cache_for = config.limits.token_cache;
        let authenticator = Authenticator::new(trusted, Arc::clone(&clock));
        let (issuer, key) = (config.server.public_url.clone(), assertion_key.clone());
        let asserter = Arc::new(Asserter::new(key, issuer, Arc::clone(&clock)));
        let mounts = config.backends.iter().map(|backend| mount(config, backend, &asserter).map(Arc::new));
        let mounts = mounts.collect::<Result<Vec<Arc<Mount>>, StartError>>()?;
        let backends: Vec<_> = mounts.iter().map(|mount| Arc::clone(&mount.replicas)).collect();
        let catalogues = Catalogues::new(config, &backends, Arc::clone(&auditor), Arc::clone(&clock))?;
        let door = Door::new(proxy::Parts {
            routes: RouteTable::new(mounts, &config.server.public_url),
            authenticator,
            standing: catalogues.current(),
            sealer,
            auditor: Arc::clone(&auditor),
            metrics: Arc::clone(&metrics),
            local: oauth::router(
                Arc::new(state.with_auditor(auditor).with_assertion_key(&assertion_key)),
                oauth::Limits::new(&config.limits.rates, metrics.limited.clone()),
            ),
            clock: Arc::clone(&clock),
            settings: door_settings(config),
        });
        Ok(Self { door, metrics, entra_keys, store, clock, backends, catalogues })
    }

    fn start_background(&self, runtime: &Runtime) {
        let keys = Arc::clone(&self.entra_keys);
        runtime.spawn(async move { keys.refresh_forever().await });
        let servers = self.backends.iter().flat_map(|replicas| replicas.iter().cloned());
        runtime.spawn(backend::sweep_forever(servers.collect()));
        self.catalogues.work().for_each(|work| drop(runtime.spawn(work)));
        for replicas in &self.backends {
            runtime.spawn(backend::probe_forever(Arc::clone(replicas)));
        }
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(PURGE_EVERY).await;
                if let Err(error) = store.purge(clock.now()).await {
                    tracing::error!(%error, "expired state cannot be removed");
                }
            }
        });
    }

    fn readiness(&self, listen: SocketAddr) -> Ready {
        Ready {
            entra_keys: Arc::clone(&self.entra_keys),
            listen: reachable(listen),
            backends: self.backends.clone(),
            catalogues: Arc::clone(&self.catalogues),
        }
    }
}

/// Where a probe on this machine reaches a listener: the loopback address for one that listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback = match listen {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    if listen.ip().is_unspecified() { SocketAddr::new(loopback, listen.port()) } else { listen }
}

/// Whether the gateway can serve.
struct Ready {
    entra_keys: Arc<KeySet>,
    listen: SocketAddr,
    backends: Vec<Arc<Replicas>>,
    catalogues: Arc<Catalogues>,
}

impl Readiness for Ready {
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.entra_keys.is_ready() {
            missing.push("the identity provider's keys have not been fetched; see the log".to_owned());
        }
        // A listener that cannot bind ends its thread and nothing else: only a connection proves that it is there.
        if std::net::TcpStream::connect_timeout(&self.listen, PROBE).is_err() {
            missing.push(format!("nothing listens on `{}`; see whether the port is taken", self.listen));
        }
        missing
    }

    /// INVARIANT: a backend that is down does not make the gateway unready: the others are served all the same.
    fn notes(&self) -> Vec<String> {
        let hurt = self.backends.iter().filter(|replicas| replicas.in_use() < replicas.count());
        let note = |replicas: &Arc<Replicas>| {
            let (name, up, all) = (replicas.any().name(), replicas.in_use(), replicas.count());
            format!("backend `{name}`: {up} of {all} servers take connections; see the log")
        };
        hurt.map(note).chain(self.catalogues.notes()).collect()
    }

    fn observe(&self, metrics: &Metrics) {
        for server in self.backends.iter().flat_map(|replicas| replicas.iter()) {
            let labels = [server.name().as_ref(), server.host_header()];
            metrics.backend_up.with_label_values(&labels).set(i64::from(server.is_up()));
        }
        self.catalogues.observe(metrics);
        if let Some(age) = self.entra_keys.age() {
            metrics.jwks_age.with_label_values(&["entra"]).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        }
    }
}

async fn open_state(directory: &Path) -> Result<(Arc<dyn Store>, Sealer), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(directory).map_err(start("the state directory"))?;
    let database = directory.join("portcullis.db");
    // A key is made for a new database only: an old one without its key is an incident, not a fresh start.
    let sealer =
        Sealer::from_file(&directory.join("seal.key"), !database.exists()).map_err(start("the sealing key"))?;
    let store = SqliteStore::open(&database).await.map_err(start("the store"))?;
    Ok((Arc::new(store), sealer))
}

/// The key of this name: the one that is kept, or a new one.
async fn kept_key(name: &'static str, store: &dyn Store, sealer: &Sealer) -> Result<SigningKey, StartError> {
    let fresh = SigningKey::generate().map_err(start(name))?;
    let pkcs8 = kept(name, fresh.pkcs8(), store, sealer).await?;
    SigningKey::from_pkcs8(&pkcs8).map_err(start(name))
}

/// What is kept under this name, or else `fresh` from now on.
async fn kept(name: &'static str, fresh: &[u8], store: &dyn Store, sealer: &Sealer) -> Result<Vec<u8>, StartError> {
    let sealed = sealer.seal(name.as_bytes(), fresh).map_err(start(name))?;
    let kept = store.key(name, sealed.into_bytes()).await.map_err(start(name))?;
    let kept = String::from_utf8(kept).map_err(start(name))?;
    sealer.open(name.as_bytes(), &kept).map_err(start(name))
}

/// The name of the key that arguments are digested under; one for all runs, so that digests can be compared.
const DIGEST_KEY: &str = "audit-digest-key";

async fn auditor(
    config: &Config,
    key: &SigningKey,
    (store, sealer): (&dyn Store, &Sealer),
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) -> Result<Auditor, StartError> {
    let arguments = &config.audit.arguments;
    let digester = if arguments.digest {
        let key = kept(DIGEST_KEY, &rand::random::<[u8; 32]>(), store, sealer).await?;
        Digester::new(&key, arguments.values_of.clone(), arguments.redact.clone())
    } else {
        Digester::none()
    };
    let issuer = config.server.public_url.clone();
    let signer = Signer { key: key.clone(), issuer, clock: Arc::clone(clock) };
    let (durable, on_failure, metrics) = (config.audit.durable, config.audit.on_failure, Some(Arc::clone(metrics)));
    let options = audit::Options { durable, on_failure, digester, metrics };
    Auditor::start(config.audit.destinations.clone(), signer, options).map_err(start("the audit trail"))
}

fn expectations(config: &Config, issuer: String) -> EntraExpectations {
    let short = |scope: &String| scope.rsplit('/').next().unwrap_or_default().to_owned();
    EntraExpectations {
        issuer,
        tenant_id: config.entra.tenant_id.clone(),
        client_id: config.entra.client_id.clone(),
        allowed_tenants: Vec::new(),
        scopes: config.entra.scopes.iter().map(short).collect(),
        clock_skew: config.entra.clock_skew,
    }
}

fn entra_settings(config: &Config) -> entra::Settings {
    entra::Settings {
        authority_host: config.entra.authority_host.clone(),
        tenant_id: config.entra.tenant_id.clone(),
        client_id: config.entra.client_id.clone(),
        client_secret: config.entra.client_secret.expose().to_owned(),
        scopes: config.entra.scopes.clone(),
        redirect_uri: format!("{}/auth/callback", config.server.public_url),
    }
}

fn door_settings(config: &Config) -> proxy::Settings {
    proxy::Settings {
        request_body: config.limits.request_body,
        answer_body: config.limits.answer_body,
        list_cache: config.limits.list_cache,
        allowed_origins: config.server.allowed_origins.clone(),
        calls: config.limits.rates.calls,
        trusted_proxies: config.server.trusted_proxies.clone(),
    }
}

fn oauth_settings(config: &Config) -> oauth::Settings {
    let resource = |backend: &crate::config::settings::Backend| oauth::Resource {
        url: backend.resource.clone(),
        path: backend.path.clone(),
        name: backend.name.to_string(),
        scopes: scopes(config, backend),
    };
    oauth::Settings {
        issuer: config.server.public_url.clone(),
        resources: config.backends.iter().map(resource).collect(),
        access_token_lifetime: config.oauth.access_token_lifetime,
        refresh_token_lifetime: config.oauth.refresh_token_lifetime,
    }
}
