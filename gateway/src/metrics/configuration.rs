//! The series of what the gateway runs by: reloads, and the certificate.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Configuration {
    /// Reloads by `result` (applied, refused).
    reloads: IntCounterVec,
    /// When the configuration that counts was taken, in seconds since the Unix epoch.
    last_success: IntGauge,
    /// Certificates by `result` (applied, refused).
    certificates: IntCounterVec,
    /// When the certificate that counts ends, in seconds since the Unix epoch; 0 without TLS.
    certificate_expiry: IntGauge,
}

impl Configuration {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounterVec, prometheus::Error> {
            let counter = IntCounterVec::new(Opts::new(name, help), &["result"])?;
            registry.register(Box::new(counter.clone()))?;
            for result in ["applied", "refused"] {
                counter.with_label_values(&[result]);
            }
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            reloads: counter("portcullis_config_reloads_total", "Reloads of the configuration.")?,
            last_success: gauge(
                "portcullis_config_last_reload_success_timestamp",
                "When the configuration that counts was taken.",
            )?,
            certificates: counter("portcullis_tls_reloads_total", "Reloads of the certificate.")?,
            certificate_expiry: gauge(
                "portcullis_tls_certificate_expiry_timestamp_seconds",
                "When the certificate that counts ends.",
            )?,
        })
    }

    /// A configuration counts from now on (seconds since the Unix epoch).
    pub fn taken(&self, now: u64) {
        self.last_success.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// A reload was applied, or refused.
    pub fn reloaded(&self, applied: bool) {
        self.reloads.with_label_values(&[result(applied)]).inc();
    }

    /// A certificate was read anew and applied, or refused.
    pub fn certificate_reloaded(&self, applied: bool) {
        self.certificates.with_label_values(&[result(applied)]).inc();
    }

    /// The certificate that counts ends then (seconds since the Unix epoch).
    pub fn certificate_ends(&self, at: i64) {
        self.certificate_expiry.set(at);
    }
}

fn result(applied: bool) -> &'static str {
    if applied { "applied" } else { "refused" }
}
