//! The series of one backend, found once for as long as the process lives, so that a request costs no look-ups.

use prometheus::{Error, IntCounter, IntCounterVec};

use super::Reason;
use super::operations::{Histograms, Operations};
use super::register::Registrar;

const STATUS: [&str; 4] = ["2xx", "4xx", "5xx", "none"];
/// What can fail about an exchange.
const ERRORS: [&str; 7] = ["connect", "broken", "timeout", "no_room", "wrong_backend", "full", "no_server"];
/// What can become of a bearer token.
const OUTCOMES: [&str; 15] = [
    "verified",
    "missing",
    "malformed",
    "unavailable",
    "signature",
    "unknown_key",
    "form",
    "expired",
    "not_yet",
    "audience",
    "issuer",
    "tenant",
    "claims",
    "revoked",
    "not_accepted",
];

/// The series of requests to backends.
#[derive(Debug)]
pub(super) struct Requests {
    answers: IntCounterVec,
    decisions: IntCounterVec,
    authentications: IntCounterVec,
    shadow: IntCounterVec,
    list_items: IntCounterVec,
    errors: IntCounterVec,
    audit_refused: IntCounterVec,
    operations: Histograms,
}

impl Requests {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let of_backend = &["backend"];
        let series = Self {
            answers: registrar.counters(
                "portcullis_requests_total",
                "Requests to a backend's path. `status` is the class of the answer's HTTP status, or `none` when the \
                 client was gone before it.",
                &["backend", "status"],
            )?,
            decisions: registrar.counters(
                "portcullis_decisions_total",
                "Decisions of the one door. `decision` is allow, deny or challenge; `reason` none, token, http, \
                 message, policy, drift, scope, rate, session or unavailable.",
                &["backend", "decision", "reason"],
            )?,
            authentications: registrar.counters(
                "portcullis_authentications_total",
                "Requests by what became of their bearer token. `outcome` is verified, missing, malformed, unavailable, \
                 or why the token is not believed: signature, unknown_key, form, expired, not_yet, audience, issuer, \
                 tenant, claims, revoked, not_accepted.",
                &["backend", "outcome"],
            )?,
            shadow: registrar.counters(
                "portcullis_shadow_total",
                "Acts of which the decision would be another if what is in shadow did more than record.",
                of_backend,
            )?,
            list_items: registrar.counters(
                "portcullis_list_items_total",
                "Items of lists. `outcome` is shown or hidden.",
                &["backend", "outcome"],
            )?,
            errors: registrar.counters(
                "portcullis_backend_errors_total",
                "Failed exchanges with a backend. `error` is connect, broken, timeout, no_room, wrong_backend, full or \
                 no_server.",
                &["backend", "error"],
            )?,
            audit_refused: registrar.counters(
                "portcullis_audit_refused_total",
                "Requests that were refused, or ends of requests that are not recorded, because the audit trail did \
                 not take the event. `backend` is empty for those to the authorization server.",
                of_backend,
            )?,
            operations: Histograms::register(registrar)?,
        };
        // Those to the authorization server, which is there without any backend.
        series.audit_refused.with_label_values(&[""]);
        Ok(series)
    }

    /// An audit event was not taken.
    pub(super) fn audit_refused(&self, backend: &str) {
        self.audit_refused.with_label_values(&[backend]).inc();
    }

    /// Series that are not there count as nothing, and the first burst of errors with them: all are there from the start.
    pub(super) fn of(&self, name: &str) -> Backend {
        for error in ERRORS {
            self.errors.with_label_values(&[name, error]);
        }
        for outcome in OUTCOMES {
            self.authentications.with_label_values(&[name, outcome]);
        }
        let decision =
            |decision: &str, reason: Reason| self.decisions.with_label_values(&[name, decision, reason.as_str()]);
        let denials = Reason::ALL.iter().filter(|reason| **reason != Reason::None);
        Backend {
            requests: STATUS.map(|status| self.answers.with_label_values(&[name, status])),
            allowed: decision("allow", Reason::None),
            denied: denials.map(|reason| (*reason, decision("deny", *reason))).collect(),
            challenged: decision("challenge", Reason::Scope),
            verified: self.authentications.with_label_values(&[name, "verified"]),
            authentications: self.authentications.clone(),
            shadow: self.shadow.with_label_values(&[name]),
            shown: self.list_items.with_label_values(&[name, "shown"]),
            hidden: self.list_items.with_label_values(&[name, "hidden"]),
            errors: self.errors.clone(),
            audit_refused: self.audit_refused.with_label_values(&[name]),
            operations: Operations::new(name, &self.operations),
            name: name.into(),
        }
    }
}

/// The series of one backend.
#[derive(Debug)]
pub struct Backend {
    name: Box<str>,
    requests: [IntCounter; 4],
    /// Acts that may go on.
    pub allowed: IntCounter,
    denied: Vec<(Reason, IntCounter)>,
    /// Acts that want another sign-in.
    pub challenged: IntCounter,
    /// Requests whose caller is known.
    pub verified: IntCounter,
    authentications: IntCounterVec,
    /// Acts that what is in shadow would have refused or opened.
    pub shadow: IntCounter,
    /// Items of lists that were shown.
    pub shown: IntCounter,
    /// Items of lists that were not.
    pub hidden: IntCounter,
    errors: IntCounterVec,
    /// Audit events that were not taken.
    pub audit_refused: IntCounter,
    /// How long its operations take.
    pub operations: Operations,
}

impl Backend {
    /// A request was answered with this HTTP status; 0 for none.
    pub fn answered(&self, status: u16) {
        let [good, theirs, ours, none] = &self.requests;
        match status {
            200..=299 => good.inc(),
            400..=499 => theirs.inc(),
            500..=599 => ours.inc(),
            _ => none.inc(),
        }
    }

    /// Something was refused.
    pub fn denied(&self, reason: Reason) {
        if let Some((_, counter)) = self.denied.iter().find(|(known, _)| *known == reason) {
            counter.inc();
        }
    }

    /// A caller was not verified; `outcome` is of a closed set.
    pub fn not_verified(&self, outcome: &'static str) {
        debug_assert!(OUTCOMES.contains(&outcome), "{outcome}");
        self.authentications.with_label_values(&[&*self.name, outcome]).inc();
    }

    /// An exchange with it has failed; `error` is of a closed set.
    pub fn failed(&self, error: &'static str) {
        debug_assert!(ERRORS.contains(&error), "{error}");
        self.errors.with_label_values(&[&*self.name, error]).inc();
    }
}
