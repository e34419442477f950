//! Whether the gateway can serve, and what the operator should know of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::certificates::Certificates;
use super::disks::Disks;
use super::reload::Reloader;
use super::revocations::NOTABLE;
use super::running::Running;
use crate::admin::Readiness;
use crate::backend::Replicas;
use crate::config::settings::Credential;
use crate::jose::key_set::KeySet;
use crate::metrics::{KeySetFigures, Metrics};
use crate::proxy::Stage;
use crate::tls;

/// A listener on this machine answers at once or not at all.
const PROBE: Duration = Duration::from_millis(200);

/// Whether the gateway can serve.
pub(super) struct Ready {
    pub(super) entra_keys: Arc<KeySet>,
    pub(super) listen: SocketAddr,
    pub(super) running: Arc<Running>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) lost_lines: Arc<AtomicU64>,
    pub(super) disks: Disks,
}

impl Readiness for Ready {
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.running.lasting().lifecycle.stage() != Stage::Serving {
            missing.push("the gateway is shutting down".to_owned());
        }
        if !self.entra_keys.is_ready() {
            missing.push("the identity provider's keys have not been fetched; see the log".to_owned());
        }
        let lasting = self.running.lasting();
        if lasting.revocations.is_stale() {
            let what = "the store has not said for too long what was revoked, so that no token is believed";
            missing.push(format!("{what}; see the log and `oauth.revocation_staleness`"));
        }
        // Another gateway may have room for its trail.
        let refusing = lasting.auditor.fault().filter(|(_, refuses)| *refuses);
        missing.extend(refusing.map(|(fault, _)| format!("{fault}; calls are refused until then")));
        // The others serve from what is there now; this one knows nothing of what they end.
        missing.extend(lasting.replaced.told().map(|fault| format!("the store {fault}")));
        // A listener that cannot bind ends its thread and nothing else: only a connection proves that it is there.
        if std::net::TcpStream::connect_timeout(&reachable(self.listen), PROBE).is_err() {
            missing.push(format!("nothing listens on `{}`; see whether the port is taken", self.listen));
        }
        missing
    }

    /// INVARIANT: a backend that is down does not make the gateway unready: the others are served all the same.
    fn notes(&self) -> Vec<String> {
        let note = |replicas: &Arc<Replicas>| {
            let (name, up, all) = (replicas.any().name(), replicas.in_use(), replicas.count());
            format!("backend `{name}`: {up} of {all} servers are in use; see the log")
        };
        let backends = self.running.backends();
        let hurt = backends.iter().filter(|replicas| replicas.in_use() < replicas.count()).map(note);
        let lasting = self.running.lasting();
        let age = lasting.revocations.age();
        let unread = (age > NOTABLE).then(|| format!("the log of revocations was last read {} s ago", age.as_secs()));
        let unwritten = lasting.auditor.fault().filter(|(_, refuses)| !refuses).map(|(fault, _)| fault);
        let untrusted = lasting.untrusted.told().map(|what| format!("the store {what}"));
        let refused = self.reloader.fault().map(|fault| {
            let first = fault.lines().next().unwrap_or_default();
            format!("the configuration on the disk is refused, and what ran before goes on: {first}")
        });
        let certificate =
            self.certificates.fault().map(|fault| format!("the certificate on the disk is refused: {fault}"));
        let keyless = lasting.provider.assertion_keys.iter().filter(|(_, keys)| !keys.is_ready());
        let keyless = keyless.map(|(issuer, _)| {
            format!("the keys of `{issuer}` are not there, and its assertions are not taken; see the log")
        });
        let further = lasting.provider.other_keys.iter().filter(|(_, keys)| !keys.is_ready());
        let further = further.map(|(issuer, _)| {
            format!("the keys of `{issuer}` are not there, and its people are not let in; check `entra.tenants`, see the log")
        });
        hurt.chain(keyless)
            .chain(further)
            .chain(self.running.catalogues().notes())
            .chain(unread)
            .chain(unwritten)
            .chain(untrusted)
            .chain(refused)
            .chain(certificate)
            .collect()
    }

    fn observe(&self, metrics: &Metrics) {
        self.running.lasting().budgets.observe(metrics);
        observe_backends(metrics, &self.running.backends());
        self.running.catalogues().observe(metrics);
        let lasting = self.running.lasting();
        let age = lasting.revocations.age();
        metrics.identity.revocations_age.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        for (number, keys) in lasting.provider.all_keys().enumerate() {
            let (fetched, failed) = keys.fetches();
            let issuer = if number == 0 { "entra".to_owned() } else { format!("entra-{}", number + 1) };
            metrics.identity.observe_keys(&issuer, &KeySetFigures { age: keys.age(), fetched, failed });
        }
        for (number, (_, keys)) in lasting.provider.assertion_keys.iter().enumerate() {
            let (fetched, failed) = keys.fetches();
            let issuer = format!("assertions-{}", number + 1);
            metrics.identity.observe_keys(&issuer, &KeySetFigures { age: keys.age(), fetched, failed });
        }
        metrics.trail.observe(lasting.auditor.waiting());
        self.disks.observe(metrics);
        if let Some(config) = self.reloader.config() {
            observe_credential(metrics, &config.entra.credential);
        }
        metrics.observe_log(self.lost_lines.load(Ordering::Relaxed));
    }
}

/// When the gateway's own certificate at the identity provider ends, after which nobody can sign in. It is renewed by its file.
fn observe_credential(metrics: &Metrics, credential: &Credential) {
    match credential {
        // One that cannot be read now leaves the last good one in use.
        Credential::Certificate { certificate_file, .. } => {
            if let Some(validity) = tls::validity_of(certificate_file) {
                metrics.configuration.credential_is_valid(validity);
            }
        }
        Credential::Secret(_) | Credential::FederatedToken(_) => metrics.configuration.credential_is_valid((0, 0)),
    }
}

/// The state of every server. One that is no longer configured has no series.
fn observe_backends(metrics: &Metrics, backends: &[Arc<Replicas>]) {
    metrics.servers.up.reset();
    metrics.servers.left_alone.reset();
    metrics.servers.waiting.reset();
    for replicas in backends {
        let waiting = i64::try_from(replicas.waiting()).unwrap_or(i64::MAX);
        metrics.servers.waiting.with_label_values(&[replicas.any().name().as_ref()]).set(waiting);
        for server in replicas.iter() {
            let labels = [server.name().as_ref(), server.host_header()];
            metrics.servers.up.with_label_values(&labels).set(i64::from(server.is_up()));
            metrics.servers.left_alone.with_label_values(&labels).set(i64::from(server.is_left_alone()));
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
