//! The certificate for clients, read anew when its files change, whatever becomes of the rest of the configuration.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::lasting::Lasting;
use super::{StartError, start};
use crate::audit::{Auditor, CertificateReload, Kind};
use crate::clock::Clock;
use crate::config::{Config, Files};
use crate::metrics::Metrics;
use crate::tls::{Live, dev};

/// Renewed weeks before they end; a second is soon enough, and needs no watching.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The certificate, if there is one.
pub(super) struct Certificates {
    live: Option<Arc<Live>>,
    /// What its files said before it was made of them.
    seen: Files,
    auditor: Arc<Auditor>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    fault: Mutex<Option<String>>,
}

impl Certificates {
    /// The configured certificate, or one for a laptop.
    pub(super) fn open(config: &Config, lasting: &Lasting, dev_tls: bool) -> Result<Self, StartError> {
        let (metrics, clock) = (Arc::clone(&lasting.metrics), Arc::clone(&lasting.clock));
        let files = match &config.server.tls {
            Some(files) => Some(files.clone()),
            None if dev_tls && config.server.public_url.starts_with("https:") => {
                let made = dev::certificate(&config.state.directory, clock.now());
                let (files, fingerprint) = made.map_err(start("the certificate of --dev-tls"))?;
                let file = files.certificate.display();
                tracing::warn!(%file, %fingerprint, "TLS with a certificate that nobody has signed; for a laptop only");
                Some(files)
            }
            None if dev_tls => {
                let what = "`server.public_url` is not https; with --dev-tls it is, such as `https://localhost:8080`";
                return Err(start("--dev-tls")(what));
            }
            None => None,
        };
        let seen = files.iter().flat_map(crate::tls::Files::all).collect::<Vec<_>>();
        let seen = Files::of(seen);
        let open = |files| Live::open(files, clock.now()).map(Arc::new).map_err(start("`server.tls`"));
        let live = files.map(open).transpose()?;
        metrics.configuration.certificate_is_valid(live.as_ref().map_or((0, 0), |live| live.validity()));
        let auditor = Arc::clone(&lasting.auditor);
        Ok(Self { live, seen, auditor, metrics, clock, fault: Mutex::default() })
    }

    /// What connections are made with.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.live.clone()
    }

    /// Why the files are not what counts, in words for the operator.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files as long as the process lives.
    pub(super) async fn watch_forever(self: Arc<Self>) {
        let Some(live) = self.live.clone() else { return };
        let mut seen = self.seen.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = seen.now();
            // What was refused for its time or its mode may be good by now, with the same bytes.
            if now.digest() != seen.digest() || self.fault().is_some() {
                seen = now;
                self.reload(&live);
            }
        }
    }

    fn reload(&self, live: &Live) {
        let before = live.fingerprint();
        let outcome = live.reload(self.clock.now());
        let fault = outcome.as_ref().err().map(ToString::to_string);
        // What is refused for the same reason as a second ago was said then.
        if fault.is_some() && fault == self.fault() {
            return;
        }
        // Before the series: who sees that asks why.
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&fault);
        self.record(live, before, fault);
        self.metrics.configuration.certificate_reloaded(outcome.is_ok());
        match &outcome {
            Ok(()) => {
                self.metrics.configuration.certificate_is_valid(live.validity());
                tracing::info!(ends = live.ends(), "the certificate is read anew");
            }
            Err(error) => tracing::error!(%error, "the certificate is refused; the one before stays"),
        }
    }

    /// It counts whether that is recorded or not: the one before may be out of date, or known to others.
    fn record(&self, live: &Live, before: String, reason: Option<String>) {
        let event = if reason.is_some() { "certificate_refused" } else { "certificate_reloaded" };
        let (certificate, ends) = (live.fingerprint(), live.ends());
        let before = Some(before).filter(|before| *before != certificate);
        let reload = CertificateReload { event, certificate, before, ends, reason };
        self.auditor.note(self.clock.moment(), Kind::Certificate(Box::new(reload)));
    }
}
