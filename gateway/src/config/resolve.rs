//! From the file as written to the configuration as used: the one conversion.
//!
//! Every fault is collected before any is reported. Defaults live here and in `gateway.yaml`, which a test holds
//! against each other.

mod assertions;
mod audit;
mod backends;
mod budgets;
mod callers;
mod care;
mod clients;
mod credential;
mod entra;
mod imports;
mod limits;
mod listeners;
mod places;
mod revocation;
mod state;
mod tls;
mod traces;
mod values;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_policy::{BackendName, Policy, Setting, Severity};

use super::document::{self, Document, PolicySource};
use super::settings::{Config, OAuth, Server, State};
use super::{ConfigError, Environment, Files, Pair, names};
use crate::audit::Destination;
use crate::oauth::Own;
use values::Resolver;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer, and a role taken away at Entra would stay usable too long.
const MAX_ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);
const MIB: usize = 1 << 20;
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Resolves the section `state` and nothing else; `path` is the file that it stands in.
pub(super) fn resolve_state(
    mut written: document::State,
    path: &Path,
    environment: &Environment,
) -> Result<State, ConfigError> {
    let mut resolver = Resolver::new(path, environment, Files::default());
    let names::Found { faults, warnings } = names::apply_to_state(&mut written, environment);
    resolver.report(faults, warnings);
    let state = state::resolve(&mut resolver, &written);
    let (faults, ..) = resolver.finish();
    if faults.is_empty() { Ok(state) } else { Err(ConfigError::new(path, faults)) }
}

/// Resolves the sections `state` and `audit` and nothing else.
pub(super) fn resolve_places(
    (mut state, mut audit): (document::State, document::Audit),
    path: &Path,
    environment: &Environment,
) -> Result<(State, Vec<Destination>), ConfigError> {
    let mut resolver = Resolver::new(path, environment, Files::default());
    for names::Found { faults, warnings } in
        [names::apply_to_state(&mut state, environment), names::apply_to_audit(&mut audit, environment)]
    {
        resolver.report(faults, warnings);
    }
    let state = state::resolve(&mut resolver, &state);
    let audit = audit::resolve(&mut resolver, &audit, &state.directory);
    let (faults, ..) = resolver.finish();
    if faults.is_empty() { Ok((state, audit.destinations)) } else { Err(ConfigError::new(path, faults)) }
}

/// Resolves a document; `path` is the file it came from, and `files` what was read so far.
pub(super) fn resolve(
    mut document: Document,
    path: &Path,
    environment: &Environment,
    pair: Pair,
    files: Files,
) -> Result<Config, ConfigError> {
    let mut resolver = Resolver::new(path, environment, files);
    let names::Found { faults, warnings } = names::apply(&mut document, environment);
    resolver.report(faults, warnings);
    let server = server(&mut resolver, &document.server, &document.backends, pair);
    let entra = entra::resolve(&mut resolver, &document.entra);
    let oauth = oauth(&mut resolver, &document.oauth);
    let public_url = server.as_ref().map_or("", |server| server.public_url.as_str());
    let tenant = entra.as_ref().map_or("", |entra| entra.tenant_id.as_str());
    let hosts = server.as_ref().map_or(&[][..], |server| server.hosts.as_slice());
    let own = Own { issuer: public_url, hosts };
    let clients = clients::resolve(&mut resolver, &document.oauth, &own, tenant);
    let identity_assertions = assertions::resolve(&mut resolver, &document.oauth, public_url, &clients);
    let backends = backends::resolve(&mut resolver, &document, public_url);
    let state = state::resolve(&mut resolver, &document.state);
    let audit = audit::resolve(&mut resolver, &document.audit, &state.directory);
    let traces = traces::resolve(&mut resolver, &document.traces);
    let limits = limits::resolve(&mut resolver, &document.limits);
    // Also of backends with faults: one fault must not hide or make another.
    let names = document.backends.keys().filter_map(|name| BackendName::try_from(name.as_str()).ok());
    let names: Vec<BackendName> = names.collect();
    let claims = entra.as_ref().map(|entra| entra.claims.clone()).unwrap_or_default();
    let setting = Setting { claims: Some(claims), refuse_shadow: !document.server.allow_shadow_policy };
    let policy = policy(&mut resolver, document.policy, &names, &setting);
    if let Some((_, policy)) = &policy {
        imports::check(&mut resolver, policy, &backends, &state);
    }
    let (faults, warnings, files) = resolver.finish();
    match (server, entra, policy) {
        (Some(server), Some(entra), Some((policy_document, policy))) if faults.is_empty() => Ok(Config {
            server,
            state,
            entra,
            oauth,
            clients,
            identity_assertions,
            backends,
            limits,
            audit,
            traces,
            policy: Arc::new(policy),
            policy_document,
            files,
            warnings,
        }),
        _ => Err(ConfigError::new(path, faults).with_files(files)),
    }
}

fn server(
    resolver: &mut Resolver<'_>,
    written: &document::Server,
    backends: &BTreeMap<String, document::Backend>,
    pair: Pair,
) -> Option<Server> {
    let (listen, admin_listen) = listeners::resolve(resolver, written);
    let threads = written.threads.as_ref().map_or_else(cores, |threads| threads.value.max(1));
    let public_url = resolver.text_or_env(
        written.public_url.as_ref(),
        "MCP_BASE_URL",
        "`server.public_url` is missing; write the origin that clients use, such as `https://mcp.example.com`",
    )?;
    let public_url = resolver.origin(written.public_url.as_ref(), &public_url)?;
    let mut allowed_origins = vec![public_url.clone()];
    allowed_origins.extend(callers::origins(resolver, &written.allowed_origins));
    let hosts = callers::hosts(resolver, &written.hosts);
    let admin_hosts = callers::names(resolver, &written.admin_hosts);
    let shutdown_grace = resolver.duration(written.shutdown_grace.as_ref(), SHUTDOWN_GRACE);
    let drain_delay = resolver.duration(written.drain_delay.as_ref(), Duration::ZERO);
    let trusted_proxies = limits::trusted_proxies(resolver, written, &public_url);
    let tls = tls::resolve(resolver, written, (listen, &trusted_proxies), &public_url, pair);
    let default_backend = backends::default(resolver, written.default_backend.as_ref(), backends);
    Some(Server {
        listen,
        public_url,
        admin_listen,
        threads,
        shutdown_grace,
        hosts,
        admin_hosts,
        drain_delay,
        tls,
        allowed_origins,
        trusted_proxies,
        auth_endpoints: written.auth_endpoints,
        default_backend,
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn oauth(resolver: &mut Resolver<'_>, written: &document::OAuth) -> OAuth {
    let access = resolver.duration(written.access_token_lifetime.as_ref(), MAX_ACCESS_TOKEN_LIFETIME);
    if access > MAX_ACCESS_TOKEN_LIFETIME || access.is_zero() {
        resolver.fault(
            written.access_token_lifetime.as_ref(),
            "an access token lives between `1s` and `15m`; roles are read again when it is refreshed",
        );
    }
    let refresh = resolver.duration(written.refresh_token_lifetime.as_ref(), 30 * DAY);
    if refresh < MINUTE || refresh > 90 * DAY {
        resolver.fault(
            written.refresh_token_lifetime.as_ref(),
            "a refresh token lives between `1m` and `90d`, which is as long as Entra's own",
        );
    }
    let remember = written.remember_consent.as_ref().map(|text| resolver.duration(Some(text), DAY));
    if remember.is_some_and(|remember| remember < MINUTE || remember > 90 * DAY) {
        resolver.fault(
            written.remember_consent.as_ref(),
            "a consent is remembered between `1m` and `90d`; leave the key out to ask each time",
        );
    }
    let revocation_staleness = revocation::staleness(resolver, written.revocation_staleness.as_ref());
    let key_lifetime = resolver.duration(written.key_lifetime.as_ref(), 90 * DAY);
    if key_lifetime < DAY || key_lifetime > 730 * DAY {
        resolver.fault(
            written.key_lifetime.as_ref(),
            "a signing key signs between `1d` and `730d`; `portcullis keys rotate` replaces it at any time",
        );
    }
    OAuth {
        access_token_lifetime: access,
        refresh_token_lifetime: refresh,
        remember_consent: remember,
        device_authorization: written.device_authorization,
        revocation_staleness,
        key_lifetime,
    }
}

fn policy(
    resolver: &mut Resolver<'_>,
    source: PolicySource,
    backends: &[BackendName],
    setting: &Setting,
) -> Option<(portcullis_policy::Document, Policy)> {
    let (file, document) = match source {
        PolicySource::Inline(document) => (None, *document),
        PolicySource::File(name) => {
            let path = resolver.beside(&name);
            let text = resolver.read(&path)?;
            match portcullis_policy::Document::from_yaml(&text) {
                Ok(document) => (Some(path), document),
                Err(faults) => {
                    report(resolver, Some(&path), &faults);
                    return None;
                }
            }
        }
    };
    match Policy::compile_for(&document, backends, setting) {
        Ok(policy) => {
            warn_of_lint(resolver, file.as_deref(), &policy, &document);
            check_cases(resolver, file.as_deref(), &policy, &document).then_some((document, policy))
        }
        Err(faults) => {
            report(resolver, file.as_deref(), &faults);
            None
        }
    }
}

fn report(resolver: &mut Resolver<'_>, file: Option<&Path>, faults: &portcullis_policy::Faults) {
    for fault in faults {
        resolver.policy_fault(file, fault);
    }
}

fn warn_of_lint(
    resolver: &mut Resolver<'_>,
    file: Option<&Path>,
    policy: &Policy,
    document: &portcullis_policy::Document,
) {
    for fault in policy.lint(document) {
        match fault.severity {
            Severity::Error => resolver.policy_fault(file, &fault),
            Severity::Warning => {
                let place = file.map_or_else(|| "policy".to_owned(), |file| file.display().to_string());
                resolver.warn(format!("{place}:{}:{}: {}", fault.line, fault.column, fault.message));
            }
        }
    }
}

/// A policy whose own tests fail is not a policy to run.
fn check_cases(
    resolver: &mut Resolver<'_>,
    file: Option<&Path>,
    policy: &Policy,
    document: &portcullis_policy::Document,
) -> bool {
    let report = policy.run_cases(document);
    for failure in report.failures() {
        resolver.policy_fault(file, &failure.fault());
    }
    report.failures().is_empty()
}
