//! The decision on a request, recorded before anything is done by it, and what is recorded of refusals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use portcullis_policy::{Act, Denial, Permit, Permitted};

use super::door::{Failure, Visit};
use super::ending::End;
use super::rejection::{Rejection, Unknown};
use super::standing::Refused;
use crate::audit::{Actor, Admitted, Decision, Event, Kind, NotRecorded, Reason, Target, Verdict};
use crate::authn::VerifiedIdentity;
use crate::mcp::{self, ClientMessage, EndSession, OpenStream};
use crate::metrics;

/// What the trail says until a backend's catalogue has been read.
const NOT_KNOWN: &str = "the backend's tools are not known yet";

impl Visit<'_> {
    /// The decision, recorded before anything is done by it.
    pub(super) async fn authorize<T: Asks + Send>(
        &mut self,
        identity: &VerifiedIdentity,
        act: T,
    ) -> Result<Permitted<T>, Failure> {
        let (method, name, id) = (act.method().to_owned(), act.name().map(str::to_owned), act.id());
        let (what, era, params) = (act.unknown(), act.era(), act.params());
        // A slow body, or the rest of a batch, may have taken longer than the token was good for.
        if let Some(end) = End::of_rights(self.door, identity) {
            return Err(self.refuse(Some(identity), &method, Rejection::Over { id, end }));
        }
        let now = self.door.clock.now().as_secs();
        match self.door.standing().authorize(identity.subject(), act, now) {
            Ok(permitted) => {
                let recorded = self.record_permit(identity, (method, name, params), permitted.permit().clone()).await;
                if recorded {
                    return Ok(permitted);
                }
                self.error = Some("not_recorded");
                Err(Rejection::Unavailable { id }.into())
            }
            Err(Refused::Denied(denial)) => {
                let rejection = Rejection::denied(&denial, id, what, era);
                self.record_denial(identity, method, name, denial, &rejection);
                Err(rejection.into())
            }
            Err(refused) => {
                let unknown = |id| Rejection::Unknown { id, what, era };
                let (rejection, label, why) = match refused {
                    Refused::NotKnown => {
                        (Rejection::Unavailable { id }, metrics::Reason::Unavailable, NOT_KNOWN.to_owned())
                    }
                    Refused::Drift(why) => (unknown(id), metrics::Reason::Drift, why),
                    Refused::NothingThere => (unknown(id), metrics::Reason::Policy, NOT_KNOWN.to_owned()),
                    Refused::NotListed | Refused::Denied(_) => {
                        (unknown(id), metrics::Reason::Policy, "the backend lists no such tool".to_owned())
                    }
                };
                self.count(Verdict::Deny, label);
                self.record(self.decided(
                    Verdict::Deny,
                    Reason::Text(why),
                    Some(Actor::of(identity)),
                    (method, name),
                    None,
                ));
                Err(rejection.into())
            }
        }
    }

    async fn record_permit(
        &self,
        identity: &VerifiedIdentity,
        (method, name, params): (String, Option<String>, Option<Bytes>),
        permit: Permit,
    ) -> bool {
        self.mount.series.allowed.inc();
        self.count_shadow(permit.shadow());
        // Recorded as they leave.
        let params = match permit.arguments() {
            _ if !self.door.auditor.has_digests() => None,
            Some(changed) => Some(format!("{{\"arguments\":{changed}}}").into_bytes().into_boxed_slice()),
            None => params.map(|params| Box::from(&*params)),
        };
        let (actor, hash) = (Some(Actor::of(identity)), Some(Arc::clone(permit.policy_hash())));
        let decision = self.decided(Verdict::Allow, Reason::Permit(permit), actor, (method, name), hash);
        let event = self.event(Kind::Decision(Box::new(Decision { params, ..decision })));
        self.taken(self.door.auditor.record_first(event).await)
    }

    fn record_denial(
        &self,
        identity: &VerifiedIdentity,
        method: String,
        name: Option<String>,
        denial: Denial,
        rejection: &Rejection,
    ) {
        let challenged = matches!(rejection, Rejection::InsufficientScope { .. });
        let verdict = if challenged { Verdict::Challenge } else { Verdict::Deny };
        self.count(verdict, rejection.reason());
        self.count_shadow(denial.shadow());
        let hash = Some(Arc::clone(denial.policy_hash()));
        self.record(self.decided(verdict, Reason::Denial(denial), Some(Actor::of(identity)), (method, name), hash));
    }

    /// A refusal before the policy was asked.
    pub(super) fn refuse(&self, identity: Option<&VerifiedIdentity>, method: &str, rejection: Rejection) -> Failure {
        self.refuse_as(identity.map(Actor::of), method, rejection)
    }

    /// The same, of whoever the trail is to name.
    pub(super) fn refuse_as(&self, actor: Option<Actor>, method: &str, rejection: Rejection) -> Failure {
        self.count(Verdict::Deny, rejection.reason());
        let why = Reason::Text(rejection.operator_text());
        // Whom nobody knows, or anybody can be, has no end of lines.
        let is_anybody =
            |actor: &Actor| actor.unbelieved.is_some() || actor.kind == portcullis_policy::Kind::Public.as_str();
        let is_counted = actor.as_ref().is_none_or(is_anybody);
        let decided = self.decided(Verdict::Deny, why, actor, (method.to_owned(), None), None);
        if is_counted {
            let kept = self.door.auditor.refused(self.event(Kind::Decision(Box::new(decided))));
            self.counted.fetch_or(kept == Ok(Admitted::Counted), Ordering::Relaxed);
            self.taken(kept.map(|_| ()));
        } else {
            self.record(decided);
        }
        rejection.into()
    }

    fn count(&self, verdict: Verdict, reason: metrics::Reason) {
        match verdict {
            Verdict::Allow => self.mount.series.allowed.inc(),
            Verdict::Deny => self.mount.series.denied(reason),
            Verdict::Challenge => self.mount.series.challenged.inc(),
        }
    }

    /// A decision that would be another if what is in shadow did more than record.
    fn count_shadow(&self, reasons: &[portcullis_policy::Reason]) {
        if !reasons.is_empty() {
            self.mount.series.shadow.inc();
        }
    }

    fn decided(
        &self,
        decision: Verdict,
        reason: Reason,
        actor: Option<Actor>,
        (method, name): (String, Option<String>),
        policy_hash: Option<Arc<str>>,
    ) -> Decision {
        let target = Target { backend: self.mount.name.to_string(), method, name };
        let source = self.source;
        Decision { decision, reason, actor, source, target, policy_hash, params: None, arguments: None }
    }

    fn record(&self, decision: Decision) {
        self.emit(Kind::Decision(Box::new(decision)));
    }

    pub(super) fn emit(&self, kind: Kind) {
        self.taken(self.door.auditor.record(self.event(kind)));
    }

    fn event(&self, kind: Kind) -> Event {
        Event { time: self.door.clock.moment(), request_id: Some(self.id), trace_id: self.trace, kind }
    }

    /// Whether an event was taken; that it was not is counted and said.
    fn taken(&self, taken: Result<(), NotRecorded>) -> bool {
        if let Err(error) = &taken {
            self.mount.series.audit_refused.inc();
            tracing::error!(request_id = %self.id, %error, "an audit event was not taken");
        }
        taken.is_ok()
    }
}

impl Unknown {
    /// What a request reached for.
    pub(super) fn of(target: Option<&mcp::Target>) -> Self {
        match target {
            Some(mcp::Target::Tool(name)) => Self::Tool(name.clone()),
            Some(mcp::Target::Task(task)) => Self::Tool(task.tool.clone()),
            Some(mcp::Target::Prompt(name) | mcp::Target::PromptReference(name)) => Self::Prompt(name.clone()),
            Some(mcp::Target::Resource(uri) | mcp::Target::TemplateReference(uri)) => Self::Resource(uri.clone()),
            None => Self::Everything,
        }
    }
}

/// What an act says of itself in a refusal and in the audit trail.
pub(super) trait Asks: Act {
    fn method(&self) -> &str;
    fn name(&self) -> Option<&str> {
        None
    }
    /// The `params` of a tool's call, or of a prompt.
    fn params(&self) -> Option<Bytes> {
        None
    }
    fn id(&self) -> Option<mcp::RequestId> {
        None
    }
    fn unknown(&self) -> Unknown {
        Unknown::Everything
    }
    fn era(&self) -> mcp::Era {
        mcp::Era::Legacy
    }
}

impl Asks for ClientMessage {
    fn method(&self) -> &str {
        ClientMessage::method(self).map_or("response", mcp::Method::as_str)
    }

    fn name(&self) -> Option<&str> {
        self.target().map(mcp::Target::as_str)
    }

    fn params(&self) -> Option<Bytes> {
        let call = matches!(self.target(), Some(mcp::Target::Tool(_) | mcp::Target::Prompt(_)));
        ClientMessage::params(self).filter(|_| call).cloned()
    }

    fn id(&self) -> Option<mcp::RequestId> {
        ClientMessage::id(self).cloned()
    }

    fn unknown(&self) -> Unknown {
        Unknown::of(self.target())
    }

    fn era(&self) -> mcp::Era {
        ClientMessage::era(self)
    }
}

impl Asks for OpenStream {
    fn method(&self) -> &'static str {
        "GET"
    }
}

impl Asks for EndSession {
    fn method(&self) -> &'static str {
        "DELETE"
    }
}
