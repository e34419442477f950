//! What lives as long as the process, and the door that it makes of a configuration. A reload makes the door anew
//! and nothing else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::identity_provider::IdentityProvider;
use super::mounts::{mount, scopes};
use super::revocations::{Fault, Feed};
use super::{StartError, budgets, keys, start, state};
use crate::audit::{self, Auditor, Digester, Signer};
use crate::authn::{self, Authenticator, Revocations};
use crate::backend::Replicas;
use crate::backend::caller::Asserter;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::jose::access_token;
use crate::jose::signing_key::SigningKey;
use crate::jose::signing_keys::SigningKeys;
use crate::metrics::Metrics;
use crate::oauth;
use crate::outbound::{self, Outbound};
use crate::proxy::budget::Budgets;
use crate::proxy::host::Hosts;
use crate::proxy::standing::Current;
use crate::proxy::{self, Door, Exchanger, Lifecycle, Mount, RouteTable};
use crate::store::{Observed, Sealer, Store};
use crate::trace::Tracer;

const PURGE_EVERY: Duration = Duration::from_secs(600);
/// The name of the key that arguments are digested under; one for all runs, so that digests can be compared.
const DIGEST_KEY: &str = "audit-digest-key";
/// The name of the key that the trail's digests of the configuration are made under.
const CONFIG_KEY: &str = "config-digest-key";

/// The key of the arguments' digests, for a command.
///
/// # Errors
///
/// Returns a [`StartError`] when no gateway has made one, or it cannot be read.
pub(crate) async fn digest_key(store: &dyn Store, sealer: &Sealer) -> Result<Vec<u8>, StartError> {
    let kept = store.known_key(DIGEST_KEY).await.map_err(start(DIGEST_KEY))?;
    let kept =
        kept.ok_or_else(|| start(DIGEST_KEY)("there is none; no gateway has digested arguments in this store"))?;
    let kept = String::from_utf8(kept).map_err(start(DIGEST_KEY))?;
    sealer.open(DIGEST_KEY.as_bytes(), &kept).map_err(start(DIGEST_KEY))
}

/// The parts that outlive every configuration.
pub(super) struct Lasting {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) provider: IdentityProvider,
    pub(super) auditor: Arc<Auditor>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) budgets: Arc<Budgets>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) replaced: Arc<Fault>,
    /// Whether the store may be trusted still.
    pub(super) untrusted: Arc<Fault>,
    store: Arc<dyn Store>,
    sealer: Sealer,
    keys: Mutex<Keys>,
    trail_key: SigningKey,
    config_key: hmac::Key,
    key_lifetime: Duration,
    issuer: String,
    outbound: Outbound,
    pub(super) tracer: Option<Arc<Tracer>>,
}

/// The keys as they are now.
#[derive(Clone)]
struct Keys {
    tokens: SigningKeys,
    assertions: SigningKeys,
    asserter: Arc<Asserter>,
}

impl Keys {
    fn names(&self) -> Vec<&str> {
        self.tokens.iter().chain(self.assertions.iter()).map(SigningKey::kid).collect()
    }
}

impl Lasting {
    /// Opens state and trail as the configuration at start says, and reads what was revoked.
    pub(super) async fn open(config: &Config) -> Result<(Self, Feed), StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().map_err(start("the metrics"))?);
        let (store, sealer) = state::open(&config.state).await?;
        let store: Arc<dyn Store> = Arc::new(Observed::new(store, metrics.store.clone()));
        let (at, issuer) = ((&*store, &sealer), config.server.public_url.clone());
        let trail_key = keys::read(keys::TRAIL, at, clock.now(), keys::Turn::Never).await?.signer().clone();
        let config_key = state::kept(CONFIG_KEY, &rand::random::<[u8; 32]>(), at.0, at.1).await?;
        let config_key = hmac::Key::new(hmac::HMAC_SHA256, &config_key);
        let key_lifetime = config.oauth.key_lifetime;
        let keys = read_keys(at, &issuer, &clock, key_lifetime).await?;
        let outbound = Outbound::new(&outbound::Settings::default()).map_err(start("the HTTP client"))?;
        let provider = IdentityProvider::new(config, &outbound, &clock);
        let auditor = Arc::new(auditor(config, &trail_key, (&*store, &sealer), &metrics, &clock).await?);
        let revocations = Arc::new(Revocations::new(config.oauth.revocation_staleness, Arc::clone(&clock)));
        let (log, read) = (Arc::clone(&store), Arc::clone(&revocations));
        let mut feed = Feed::new(log, read, Arc::clone(&auditor), Arc::clone(&clock));
        feed.read().await.map_err(start("the log of revocations"))?;
        let budgets = Arc::new(budgets::of_clients(config, &metrics));
        let tracer = tracer(config, &metrics);
        let lasting = Self {
            clock,
            metrics,
            budgets,
            provider,
            auditor,
            lifecycle: Arc::default(),
            revocations,
            replaced: feed.replaced(),
            untrusted: feed.untrusted(),
            store,
            sealer,
            keys: Mutex::new(keys),
            trail_key,
            config_key,
            key_lifetime,
            issuer,
            outbound,
            tracer,
        };
        Ok((lasting, feed))
    }

    /// The door of a configuration and its servers; questions and counts go on from the one before.
    pub(super) fn door(
        &self,
        config: &Config,
        (servers, standing): (&[Arc<Replicas>], Current),
        before: Option<&Door>,
    ) -> Result<Door, StartError> {
        let keys = self.keys().clone();
        let entra = self.provider.sign_in(config, &self.outbound, &self.clock)?;
        let entra = Arc::new(entra.observed(Arc::clone(&self.metrics)));
        let (store, sealer) = (Arc::clone(&self.store), self.sealer.clone());
        let exchanger = Arc::new(Exchanger::new(Arc::clone(&entra), store, sealer, Arc::clone(&self.clock)));
        let state = oauth::State::new(
            oauth_settings(config),
            Arc::clone(&self.store),
            self.sealer.clone(),
            keys.tokens.clone(),
            entra,
            Arc::clone(&self.clock),
        );
        let state = state.with_clients(super::mounts::clients(&config.clients, &self.clock, &self.metrics)?);
        let state = state.with_issuers(self.provider.trusted(config));
        let state = state.with_auditor(Arc::clone(&self.auditor)).with_published(&self.trail_key, &keys.assertions);
        let state = state.with_metrics(Arc::clone(&self.metrics));
        let issuer = config.server.public_url.clone();
        let mut trusted = authn::Settings::new(access_token::Verifier::new(issuer, keys.tokens.iter()));
        trusted.entra = Some(self.provider.verifier(config));
        trusted.revocations = Arc::clone(&self.revocations);
        trusted.cache_for = config.limits.token_cache;
        let mounts = config.backends.iter().zip(servers);
        let mounts = mounts.map(|(backend, replicas)| {
            Arc::new(mount(config, backend, replicas, (&keys.asserter, &exchanger), &self.metrics))
        });
        let mounts: Vec<Arc<Mount>> = mounts.collect();
        let parts = proxy::Parts {
            routes: RouteTable::new(mounts, Hosts::public(&config.server.public_url, &config.server.hosts)),
            authenticator: Authenticator::new(trusted, Arc::clone(&self.clock)),
            standing,
            sealer: self.sealer.clone(),
            auditor: Arc::clone(&self.auditor),
            metrics: Arc::clone(&self.metrics),
            local: oauth::router(
                Arc::new(state),
                oauth::Limits::new(&config.limits.rates, &self.metrics.identity)
                    .with_fleet(config.state.redis.is_some().then(|| Arc::clone(&self.store))),
            ),
            clock: Arc::clone(&self.clock),
            lifecycle: Arc::clone(&self.lifecycle),
            settings: data_plane(config),
            budgets: Arc::clone(&self.budgets),
            tracer: self.tracer.clone(),
        };
        Ok(Door::new(parts, before))
    }

    /// What the trail has of a digest of the configuration's files. Under a key, for secrets are among them, and who reads the
    /// trail and knows the rest could find a short one by trying.
    pub(super) fn config_hash(&self, files: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.config_key, files))
    }

    /// Looks which keys there are now; whether they are others than before, so that a new door is needed.
    pub(super) async fn look_for_keys(&self) -> Result<bool, StartError> {
        let at = (&*self.store, &self.sealer);
        let now = read_keys(at, &self.issuer, &self.clock, self.key_lifetime).await?;
        let mut known = self.keys();
        let changed = now.names() != known.names();
        if changed {
            *known = now;
        }
        Ok(changed)
    }

    /// The names (`kid`) of the keys as they are now; the one that signs is the first of its purpose.
    pub(super) fn key_names(&self) -> Vec<String> {
        self.keys().names().into_iter().map(str::to_owned).collect()
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done beside requests, for as long as the process lives.
    pub(super) fn start_background(&self, runtime: &tokio::runtime::Handle) {
        let of_issuers = self.provider.assertion_keys.iter().map(|(_, keys)| keys);
        for keys in self.provider.all_keys().chain(of_issuers) {
            let keys = Arc::clone(keys);
            runtime.spawn(async move { keys.refresh_forever().await });
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
}

async fn read_keys(
    at: (&dyn Store, &Sealer),
    issuer: &str,
    clock: &Arc<dyn Clock>,
    lifetime: Duration,
) -> Result<Keys, StartError> {
    let now = clock.now();
    let tokens = keys::read(keys::TOKENS, at, now, keys::Turn::Every(lifetime)).await?;
    let assertions = keys::read(keys::ASSERTIONS, at, now, keys::Turn::Every(lifetime)).await?;
    let asserter = Arc::new(Asserter::new(assertions.signer().clone(), issuer.to_owned(), Arc::clone(clock)));
    Ok(Keys { tokens, assertions, asserter })
}

async fn auditor(
    config: &Config,
    key: &SigningKey,
    (store, sealer): (&dyn Store, &Sealer),
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) -> Result<Auditor, StartError> {
    let arguments = &config.audit.arguments;
    let digester = if arguments.digest {
        let key = state::kept(DIGEST_KEY, &rand::random::<[u8; 32]>(), store, sealer).await?;
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

/// The tracer, where traces are wanted, with its exporter at work.
fn tracer(config: &Config, metrics: &Metrics) -> Option<Arc<Tracer>> {
    let settings = config.traces.as_ref()?;
    let (tracer, exporter) = Tracer::new(settings.collector.clone(), settings.sampling, metrics.spans.clone());
    tokio::runtime::Handle::current().spawn(async move {
        if let Err(error) = exporter.run().await {
            tracing::error!(%error, "spans cannot be sent");
        }
    });
    Some(tracer)
}

/// What the data plane is told.
fn data_plane(config: &Config) -> proxy::Settings {
    proxy::Settings {
        request_body: config.limits.request_body,
        answer_body: config.limits.answer_body,
        list_cache: config.limits.list_cache,
        allowed_origins: config.server.allowed_origins.clone(),
        calls: config.limits.rates.calls,
        trusted_proxies: config.server.trusted_proxies.clone(),
        // On a laptop the public URL is one of this machine, and whoever forwards ports there has any address.
        plain_network: config.server.tls.is_none()
            && config.server.public_url.starts_with("https:")
            && !config.server.listen.ip().is_loopback(),
        auth_endpoints: config.server.auth_endpoints,
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
        hosts: config.server.hosts.clone(),
        resources: config.backends.iter().map(resource).collect(),
        access_token_lifetime: config.oauth.access_token_lifetime,
        refresh_token_lifetime: config.oauth.refresh_token_lifetime,
        remember_consent: config.oauth.remember_consent,
        device_authorization: config.oauth.device_authorization,
        auth_endpoints: config.server.auth_endpoints,
        default_resource: config.default_backend().map(|backend| backend.resource.clone()),
    }
}
