//! The series of what the gateway runs by: its version, the policy, reloads, and the certificate.

use prometheus::{Error, IntCounterVec, IntGauge, IntGaugeVec};

use super::register::{Registrar, whole};

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Configuration {
    build: IntGaugeVec,
    policy: IntGaugeVec,
    reloads: IntCounterVec,
    last_success: IntGauge,
    refused: IntGauge,
    certificates: IntCounterVec,
    certificate_refused: IntGauge,
    certificate_expiry: IntGauge,
    certificate_lifetime: IntGauge,
    credential_expiry: IntGauge,
    credential_lifetime: IntGauge,
}

impl Configuration {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let series = Self {
            build: registrar.gauges("portcullis_build_info", "1; `version` is the gateway's.", &["version"])?,
            policy: registrar.gauges(
                "portcullis_policy_info",
                "1; `hash` is of the policy that counts, as in the audit trail.",
                &["hash"],
            )?,
            reloads: registrar.counters(
                "portcullis_config_reloads_total",
                "Reloads of the configuration. `result` is applied or refused.",
                &["result"],
            )?,
            refused: registrar.gauge(
                "portcullis_config_refused",
                "Whether what is on the disk is refused (1), and what ran before goes on.",
            )?,
            last_success: registrar.gauge(
                "portcullis_config_last_reload_success_timestamp_seconds",
                "When the configuration that counts was taken, in seconds since the Unix epoch.",
            )?,
            certificates: registrar.counters(
                "portcullis_tls_reloads_total",
                "Reloads of the certificate. `result` is applied or refused.",
                &["result"],
            )?,
            certificate_refused: registrar.gauge(
                "portcullis_tls_refused",
                "Whether the certificate on the disk is refused (1), and the one before counts.",
            )?,
            certificate_expiry: registrar.gauge(
                "portcullis_tls_certificate_expiry_timestamp_seconds",
                "When the certificate that counts ends, in seconds since the Unix epoch; 0 without TLS.",
            )?,
            certificate_lifetime: registrar.gauge(
                "portcullis_tls_certificate_lifetime_seconds",
                "How long it is valid in all; 0 without TLS.",
            )?,
            credential_expiry: registrar.gauge(
                "portcullis_entra_certificate_expiry_timestamp_seconds",
                "When the certificate ends by which the gateway signs in at the identity provider, in seconds since the Unix \
                 epoch; 0 where it has a secret or a platform's token.",
            )?,
            credential_lifetime: registrar.gauge(
                "portcullis_entra_certificate_lifetime_seconds",
                "How long it is valid in all; 0 where it has a secret or a platform's token.",
            )?,
        };
        series.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for result in ["applied", "refused"] {
            series.reloads.with_label_values(&[result]);
            series.certificates.with_label_values(&[result]);
        }
        Ok(series)
    }

    /// A configuration with the policy of this hash counts from now on (seconds since the Unix epoch).
    pub fn taken(&self, policy: &str, now: u64) {
        self.policy.reset();
        self.policy.with_label_values(&[policy]).set(1);
        self.last_success.set(whole(now));
    }

    /// A reload was applied, or refused.
    pub fn reloaded(&self, applied: bool) {
        self.reloads.with_label_values(&[result(applied)]).inc();
        self.refused.set(i64::from(!applied));
    }

    /// A certificate was read anew and applied, or refused.
    pub fn certificate_reloaded(&self, applied: bool) {
        self.certificates.with_label_values(&[result(applied)]).inc();
        self.certificate_refused.set(i64::from(!applied));
    }

    /// The certificate that counts is valid from then to then (seconds since the Unix epoch).
    pub fn certificate_is_valid(&self, (from, until): (i64, i64)) {
        self.certificate_expiry.set(until);
        self.certificate_lifetime.set(until.saturating_sub(from));
    }

    /// The same of the gateway's own at the identity provider; zeros where it has none.
    pub fn credential_is_valid(&self, (from, until): (i64, i64)) {
        self.credential_expiry.set(until);
        self.credential_lifetime.set(until.saturating_sub(from));
    }
}

fn result(applied: bool) -> &'static str {
    if applied { "applied" } else { "refused" }
}
