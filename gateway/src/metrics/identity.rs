//! The series of who is who: the identity provider, its keys, and the authorization server.

use std::time::Duration;

use prometheus::{Error, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::register::{Registrar, whole};

/// An identity provider answers in a tenth of a second, or is slow.
const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What happens at the authorization server.
const STEPS: [&str; 11] = [
    "client_registered",
    "consent_given",
    "consent_refused",
    "signed_in",
    "sign_in_failed",
    "tokens_issued",
    "tokens_refreshed",
    "grant_revoked",
    "registration_refused",
    "authorization_refused",
    "token_refused",
];
/// What is asked there only so often.
const LIMITED: [&str; 7] = ["authorize", "consent", "callback", "register", "token", "device", "device_page"];

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Identity {
    jwks_age: IntGaugeVec,
    jwks_refreshes: IntCounterVec,
    /// Seconds since the log of revocations was last read.
    pub revocations_age: IntGauge,
    requests: IntCounterVec,
    steps: IntCounterVec,
    /// Requests to the authorization server that were refused for coming too often, by `endpoint`.
    pub limited: IntCounterVec,
    /// Counts of them that this gateway made alone, for the fleet's store did not count in time, by `endpoint`.
    pub limited_alone: IntCounterVec,
    /// What came of asking for documents of clients, by `document` and `outcome`.
    pub documents: IntCounterVec,
    entra: HistogramVec,
    entra_errors: IntCounterVec,
}

/// How a key set is doing.
#[derive(Clone, Copy, Debug)]
pub struct KeySetFigures {
    /// How old it is; nothing before the first.
    pub age: Option<Duration>,
    /// Fetches that gave one.
    pub fetched: u64,
    /// Fetches that did not.
    pub failed: u64,
}

fn documents(registrar: &mut Registrar) -> Result<IntCounterVec, Error> {
    registrar.counters(
        "portcullis_client_documents_total",
        "Documents that clients point at, each time one is wanted. `document` is metadata (of a client whose id is \
         a URL) or keys (`jwks_uri`); `outcome` is cached, fetched, unchanged (304), rejected (what it says is not \
         accepted), status (none of 200 and 304), not_json, unreadable (too long, or cut short), slow, unreachable \
         (or not public), busy (no turn), or not_tried (it failed a moment ago).",
        &["document", "outcome"],
    )
}

impl Identity {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let series = Self {
            jwks_age: registrar.gauges(
                "portcullis_jwks_age_seconds",
                "Age of the identity provider's signing keys. `issuer` is entra, and entra-2, entra-3 and so on for \
                 further directories and versions, in the order of `entra.tenants`; assertions-1 and so on for the \
                 issuers in `oauth.identity_assertions`.",
                &["issuer"],
            )?,
            jwks_refreshes: registrar.counters(
                "portcullis_jwks_refreshes_total",
                "Fetches of the identity provider's signing keys. `result` is fetched or failed.",
                &["issuer", "result"],
            )?,
            revocations_age: registrar
                .gauge("portcullis_revocations_age_seconds", "Seconds since the log of revocations was last read.")?,
            requests: registrar.counters(
                "portcullis_oauth_requests_total",
                "Requests to the authorization server. `endpoint` is authorize, consent, callback, register, token, \
                 revoke, jwks, metadata, auth, device or other; `status` the class of the answer's HTTP status.",
                &["endpoint", "status"],
            )?,
            steps: registrar.counters(
                "portcullis_oauth_steps_total",
                "What happened at the authorization server, as in the audit trail. `step` is client_registered, \
                 consent_given, consent_refused, signed_in, sign_in_failed, tokens_issued, tokens_refreshed, \
                 grant_revoked, registration_refused, authorization_refused or token_refused.",
                &["step"],
            )?,
            limited: registrar.counters(
                "portcullis_limited_total",
                "Requests to the authorization server that were refused for coming too often. Refusals of calls are \
                 decisions with the reason rate.",
                &["endpoint"],
            )?,
            limited_alone: registrar.counters(
                "portcullis_limited_alone_total",
                "Requests to the authorization server that this gateway counted alone, because the store that the fleet \
                 shares did not count in time: meanwhile an address may ask each gateway as often as one.",
                &["endpoint"],
            )?,
            documents: documents(registrar)?,
            entra: registrar.histograms(
                "portcullis_entra_request_duration_seconds",
                "Requests to the identity provider's token endpoint. `grant` is authorization_code, refresh_token, \
                 on_behalf_of or other; `result` ok, refused, misconfigured, unavailable, unacceptable or credential.",
                &["grant", "result"],
                &BUCKETS,
            )?,
            entra_errors: registrar.counters(
                "portcullis_entra_errors_total",
                "What the identity provider refuses. `code` is the AADSTS number, of those that have advice, or other.",
                &["code"],
            )?,
        };
        series.begin();
        Ok(series)
    }

    /// What happens, and how often may be asked, is counted from 0.
    fn begin(&self) {
        for step in STEPS {
            self.steps.with_label_values(&[step]);
        }
        for endpoint in LIMITED {
            self.limited.with_label_values(&[endpoint]);
            self.limited_alone.with_label_values(&[endpoint]);
        }
    }

    /// Sets the series of a key set; `issuer` is of a closed set.
    pub fn observe_keys(&self, issuer: &str, figures: &KeySetFigures) {
        if let Some(age) = figures.age {
            self.jwks_age.with_label_values(&[issuer]).set(whole(age.as_secs()));
        }
        for (result, total) in [("fetched", figures.fetched), ("failed", figures.failed)] {
            let counter = self.jwks_refreshes.with_label_values(&[issuer, result]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// The authorization server has answered; `endpoint` is of a closed set.
    pub fn answered(&self, endpoint: &'static str, status: u16) {
        let class = match status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.with_label_values(&[endpoint, class]).inc();
    }

    /// A step was taken; `step` is of a closed set.
    pub fn step(&self, step: &str) {
        debug_assert!(STEPS.contains(&step), "{step}");
        self.steps.with_label_values(&[step]).inc();
    }

    /// The identity provider's token endpoint has answered, or not; both words are of closed sets.
    pub fn asked_entra(&self, grant: &'static str, result: &'static str, took: Duration) {
        self.entra.with_label_values(&[grant, result]).observe(took.as_secs_f64());
    }

    /// The identity provider has refused; `None` for a number without advice.
    pub fn entra_refused(&self, code: Option<u32>) {
        let code = code.map_or_else(|| "other".to_owned(), |code| code.to_string());
        self.entra_errors.with_label_values(&[code]).inc();
    }
}
