//! The composition root: from a configuration to a running gateway. The only place where concrete parts meet.

mod addresses;
mod backends;
mod backup;
mod budgets;
mod catalogues;
mod certificates;
mod disks;
mod fixed;
mod identity_provider;
mod keys;
mod lasting;
mod mounts;
mod readiness;
mod reload;
mod revocations;
mod running;
mod shutdown;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(crate) use backup::backup;
pub(crate) use catalogues::{client_of, lock_path};
use certificates::Certificates;
use disks::Disks;
pub(crate) use keys::{LEAD as KEY_LEAD, Turn, replace as replace_keys};
use lasting::Lasting;
pub(crate) use lasting::digest_key;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::listening::Service;
use readiness::Ready;
use reload::Reloader;
pub use reload::Source;
use running::Running;
use shutdown::{Signals, drained};
pub(crate) use state::{
    existing as existing_store, existing_and_sealer as existing_store_and_sealer, name as store_name,
};

use crate::admin::Admin;
use crate::audit::NotClosed;
use crate::config::Config;
use crate::proxy::host::Hosts;
use crate::proxy::listener::Listener;

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

/// The directory that a file is in.
fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// How this start is special.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Take the sockets over from the process that runs.
    pub upgrade: bool,
    /// Speak TLS with a certificate of its own.
    pub dev_tls: bool,
    /// Lines of the log that nobody took, for the metrics.
    pub lost_lines: Arc<AtomicU64>,
}

/// Runs the gateway until it is told to stop (SIGTERM, SIGINT), or has handed its sockets on (SIGQUIT). Says how its audit
/// trail ended.
///
/// # Errors
///
/// Returns a [`StartError`] when a part cannot be made.
pub fn run(config: Config, source: Source, options: Options) -> Result<Result<(), NotClosed>, StartError> {
    let addresses = [config.server.listen, config.server.admin_listen];
    if options.upgrade {
        addresses::taken(&addresses)?;
    }
    // One runtime for what is not a request: the store, key sets, sweeping. It lives as long as the process.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(start("the runtime"))?;
    let entered = runtime.enter();
    let (lasting, feed) = runtime.block_on(Lasting::open(&config))?;
    runtime.spawn(feed.follow());
    let (lifecycle, auditor) = (Arc::clone(&lasting.lifecycle), Arc::clone(&lasting.auditor));
    let tracer = lasting.tracer.clone();
    lasting.metrics.configuration.taken(config.policy.hash(), lasting.clock.now().as_secs());
    lasting.start_background(runtime.handle());
    let certificates = Arc::new(Certificates::open(&config, &lasting, options.dev_tls)?);
    let running = Arc::new(Running::start(lasting, &config, runtime.handle().clone())?);
    let signals = Signals::listen(Arc::clone(&lifecycle), config.server.drain_delay, handover(&config))?;
    let config = Arc::new(config);
    let reloader = Arc::new(Reloader::new(Arc::clone(&running), source, Arc::clone(&config)));
    runtime.spawn(reloader.watch()?);
    runtime.spawn(Arc::clone(&reloader).follow_keys());
    runtime.spawn(Arc::clone(&certificates).watch_forever());
    if options.upgrade {
        tracing::info!("the sockets of the gateway that runs are waited for, for five seconds; send it SIGQUIT now");
    } else {
        runtime.block_on(addresses::free(&addresses))?;
    }
    let server = server(&config, &running, (reloader, certificates), options)?;
    let phases = server.watch_execution_phase();
    tracing::info!(listen = %config.server.listen, public_url = %config.server.public_url, admin = %config.server.admin_listen, policy = %config.policy.hash(), "the gateway is up");
    // It sleeps through all of the grace; the process ends when the last request is out.
    let serving = std::thread::Builder::new().name("server".to_owned()).spawn(move || {
        server.run(RunArgs { shutdown_signal: Box::new(signals) });
    });
    serving.map_err(start("the server"))?;
    let closed = runtime.block_on(async {
        drained(&lifecycle, phases, config.server.shutdown_grace).await;
        let closed = auditor.close().await.inspect_err(|error| tracing::error!(%error, "lines are lost"));
        if let Some(tracer) = tracer {
            tracer.close().await;
        }
        closed
    });
    tracing::info!("the gateway has stopped");
    drop(entered);
    runtime.shutdown_background();
    Ok(closed)
}

/// The two listeners; with `upgrade` their sockets come from the process that runs.
fn server(
    config: &Config,
    running: &Arc<Running>,
    (reloader, certificates): (Arc<Reloader>, Arc<Certificates>),
    Options { upgrade, lost_lines, .. }: Options,
) -> Result<Server, StartError> {
    let lasting = running.lasting();
    let (listen, entra_keys, tls) = (config.server.listen, Arc::clone(&lasting.provider.keys), certificates.live());
    let (running_now, disks) = (Arc::clone(running), Disks::of(config));
    let ready = Ready { entra_keys, listen, running: running_now, reloader, certificates, lost_lines, disks };
    let hosts = Hosts::operators(&config.server.admin_hosts);
    let admin = Admin::new(Arc::clone(&lasting.metrics), Arc::new(ready), hosts);
    let admin = Listener::new(admin, config.limits.deadlines, Arc::new(budgets::of_operators()?));
    let clients = Listener::new(running.door(), config.limits.deadlines, Arc::clone(&lasting.budgets)).with_tls(tls);
    let mut server = Server::new_with_opt_and_conf(Opt { upgrade, ..Opt::default() }, server_conf(config));
    server.bootstrap();
    let mut public = Service::new("public".to_owned(), clients);
    public.threads = Some(config.server.threads);
    public.add_tcp(&config.server.listen.to_string());
    server.add_service(public);
    let mut private = Service::new("admin".to_owned(), admin);
    private.threads = Some(1);
    private.add_tcp(&config.server.admin_listen.to_string());
    server.add_service(private);
    Ok(server)
}

/// Where a process that is to take over waits for the sockets.
fn handover(config: &Config) -> PathBuf {
    config.state.directory.join("upgrade.sock")
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.server.threads,
        // A connection stays on its thread: nothing on the data path blocks, and stealing costs more than it evens out.
        work_stealing: false,
        upgrade_sock: handover(config).display().to_string(),
        pid_file: config.state.directory.join("portcullis.pid").display().to_string(),
        grace_period_seconds: Some(config.server.shutdown_grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(5),
        ..ServerConf::default()
    }
}
