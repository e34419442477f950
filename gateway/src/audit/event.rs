//! Every event and every field. Longer than other files here because this is the one place where all of them are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_policy::{Denial, Permit};
use serde::{Serialize, Serializer};

use super::chain::Head;
use crate::authn::{Disbelieved, VerifiedIdentity};
use crate::clock::Moment;
use crate::store::Grant;
use crate::trace::TraceId;

/// The name of one request in logs, audit and answers: unique per process and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    instance: u64,
    number: u64,
}

impl RequestId {
    /// The next request of this process.
    #[must_use]
    pub fn next() -> Self {
        static INSTANCE: std::sync::LazyLock<u64> = std::sync::LazyLock::new(rand::random);
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        Self { instance: *INSTANCE, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }
}

tokio::task_local! {
    static CURRENT: (RequestId, Option<IpAddr>);
}

impl RequestId {
    /// Does something for this request, which came from that address: what is recorded and logged on the way says so.
    pub async fn scope<F: Future>(self, source: Option<IpAddr>, work: F) -> F::Output {
        let span = tracing::info_span!("request", request_id = %self);
        CURRENT.scope((self, source), tracing::Instrument::instrument(work, span)).await
    }

    /// The request that something is being done for, if it is.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|(id, _)| *id).ok()
    }

    /// Where that request came from, as far as it is known.
    #[must_use]
    pub fn current_source() -> Option<IpAddr> {
        CURRENT.try_with(|(_, source)| *source).ok().flatten()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", self.instance, self.number)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One line of the trail.
#[derive(Debug, Serialize)]
pub struct Event {
    /// Seconds since the Unix epoch, to the millisecond.
    #[serde(serialize_with = "seconds")]
    pub time: Moment,
    /// Joins the lines of one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The trace of the request, where it is traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

impl Event {
    /// How much of what callers sent it holds until it is written, in bytes.
    pub(super) fn held(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match &self.kind {
            Kind::Decision(decision) => {
                decision.params.as_ref().map_or(0, |params| params.len()) + of(&decision.target.name)
            }
            Kind::OAuth(step) => step.client.len() + of(&step.name) + of(&step.reason),
            _ => 0,
        }
    }
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub enum Kind {
    /// A request was decided, before anything was sent to a backend.
    #[serde(rename = "mcp.decision")]
    Decision(Box<Decision>),
    /// A request has ended.
    #[serde(rename = "mcp.outcome")]
    Outcome(Outcome),
    /// Something was registered, agreed to, issued or ended at the authorization server.
    #[serde(rename = "oauth")]
    OAuth(Box<Authorization>),
    /// So many more refusals of people whom nobody knows, without a line each.
    #[serde(rename = "refusals")]
    Refusals(Box<Refusals>),
    /// A tool of a backend is another than the operator approved, or is so no more.
    #[serde(rename = "catalogue.drift")]
    Drift(Box<ToolDrift>),
    /// Another configuration counts from now on, or was refused.
    #[serde(rename = "config")]
    Reload(Box<Reload>),
    /// The same of the certificate for clients, which changes by itself.
    #[serde(rename = "config")]
    Certificate(Box<CertificateReload>),
    /// A run of the gateway begins its part of the trail.
    #[serde(rename = "audit.started")]
    Started(Started),
    /// A run ends in order; a run that was killed has no such line.
    #[serde(rename = "audit.stopped")]
    Stopped,
    /// The gateway signs how far the trail has come.
    #[serde(rename = "audit.checkpoint")]
    Checkpoint(Checkpoint),
    /// A place that was given up on takes lines again.
    #[serde(rename = "audit.gap")]
    Gap(Gap),
}

impl Kind {
    /// The `type` of its lines.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Decision(_) => "mcp.decision",
            Self::Outcome(_) => "mcp.outcome",
            Self::OAuth(_) => "oauth",
            Self::Refusals(_) => "refusals",
            Self::Drift(_) => "catalogue.drift",
            Self::Reload(_) | Self::Certificate(_) => "config",
            Self::Started(_) => "audit.started",
            Self::Stopped => "audit.stopped",
            Self::Checkpoint(_) => "audit.checkpoint",
            Self::Gap(_) => "audit.gap",
        }
    }
}

/// Lines that are not where they should be.
#[derive(Clone, Debug, Serialize)]
pub struct Gap {
    /// The place that did not take them.
    pub sink: &'static str,
    /// How many.
    pub lost: u64,
    /// Events that the queue had not taken, as lines said that are among those.
    #[serde(skip_serializing_if = "is_zero")]
    pub queue: u64,
    /// The hash of the line before it in the chain, which such a place has not got: what the line itself is held against there.
    pub behind: String,
}

/// Refusals that have no line of their own because there were too many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// The type of line that each of them would have been: `mcp.decision`, whose `mcp.outcome` is not there either, or `oauth`.
    pub of: &'static str,
    /// The step that was refused at the authorization server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Step>,
    /// Where they came from, after `server.trusted_proxies`; of an IPv6 network (/64) the last one. Absent where it is not known
    /// or they are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Why they were refused.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first of them was, in seconds since the Unix epoch.
    #[serde(serialize_with = "seconds")]
    pub first: Moment,
    /// When the last was.
    #[serde(serialize_with = "seconds")]
    pub last: Moment,
}

/// What happened at the authorization server, to whom.
#[derive(Clone, Debug, Serialize)]
pub struct Authorization {
    /// What happened.
    pub event: Step,
    /// The OAuth client; where something is refused, the one that the request names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// What the client calls itself, which nobody vouches for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where its answers go: hosts, or schemes of applications.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_hosts: Vec<String>,
    /// Where the request came from, after `server.trusted_proxies`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The directory (`tid`) of who is signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The object in it (`oid`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// App-role values that the identity provider gave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The grant, by which the calls that were made with its tokens are found (`actor.grant`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What the grant is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What it is limited to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Why, where something failed or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When an operator ended it, which this gateway has learnt since; in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
}

/// The steps from a registration to the end of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A client registered (RFC 7591).
    ClientRegistered,
    /// Somebody agreed that a client acts for them.
    ConsentGiven,
    /// Somebody declined.
    ConsentRefused,
    /// The identity provider said who it is.
    SignedIn,
    /// It did not.
    SignInFailed,
    /// A code was traded for tokens.
    TokensIssued,
    /// A refresh token was, after roles were read again.
    TokensRefreshed,
    /// A grant ended before its time.
    GrantRevoked,
    /// A client could not register.
    RegistrationRefused,
    /// An authorization request, a decision on one or a device's request was refused before anybody signed in.
    AuthorizationRefused,
    /// Tokens were refused, or the return of one.
    TokenRefused,
}

impl Step {
    /// Its name, as in the trail.
    #[must_use]
    pub fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().to_owned()
    }
}

impl Authorization {
    /// A step of this client, about nobody yet.
    #[must_use]
    pub fn new(event: Step, client: &str) -> Self {
        Self {
            event,
            client: client.to_owned(),
            name: None,
            redirect_hosts: Vec::new(),
            source: None,
            tenant: None,
            subject: None,
            roles: Vec::new(),
            grant: None,
            resource: None,
            scopes: Vec::new(),
            reason: None,
            revoked_at: None,
        }
    }

    /// A step of a grant.
    #[must_use]
    pub fn of(event: Step, grant: &Grant) -> Self {
        Self {
            tenant: Some(grant.tid.clone()),
            subject: Some(grant.oid.clone()),
            roles: grant.roles.clone(),
            grant: Some(grant.id.clone()),
            resource: Some(grant.resource.clone()),
            scopes: grant.scopes.clone(),
            ..Self::new(event, &grant.client_id)
        }
    }

    /// With a reason.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }
}

/// What a backend has changed, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolDrift {
    /// The MCP server.
    pub backend: String,
    /// The tool.
    pub tool: String,
    /// `new`, `changed`, `gone`, or `settled` when it is as approved again.
    pub change: &'static str,
    /// The parts of its definition that are others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<&'static str>,
    /// `quarantine`, `report`, `pass` or, for what is settled, `none`.
    pub action: &'static str,
}

/// A change of what the gateway runs by.
#[derive(Clone, Debug, Serialize)]
pub struct Reload {
    /// `config_reloaded`; `config_refused` when what ran before goes on; `keys_replaced` when others sign from now on;
    /// `lock_reloaded` when other tools are approved, `lock_refused` when the last good lock file stays.
    pub event: &'static str,
    /// The policy that counts from now on.
    pub policy_hash: String,
    /// The one that counted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// How many faults were found; they are in the log.
    #[serde(skip_serializing_if = "is_zero")]
    pub faults: usize,
    /// Backends that came, went, or are elsewhere now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    /// HMAC-SHA-256, under a key in the store, of what the files of the configuration say, secrets and those that are refused
    /// included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// The same of what counted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_before: Option<String>,
    /// SHA-256 of the lock file that counts from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_hash: Option<String>,
    /// The same of the one that counted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_before: Option<String>,
    /// The names (`kid`) of the signing keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

impl Reload {
    /// A change under this policy, with nothing else to say of it yet.
    #[must_use]
    pub fn new(event: &'static str, policy_hash: String) -> Self {
        Self {
            event,
            policy_hash,
            before: None,
            faults: 0,
            backends: Vec::new(),
            config_hash: None,
            config_before: None,
            lock_hash: None,
            lock_before: None,
            keys: Vec::new(),
        }
    }
}

/// The certificate for clients was read anew.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateReload {
    /// `certificate_reloaded`, or `certificate_refused` when the one before goes on.
    pub event: &'static str,
    /// SHA-256 of the certificate that counts from now on, in hexadecimal with colons.
    pub certificate: String,
    /// The one that counted before, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// When the one that counts ends, in seconds since the Unix epoch.
    pub ends: i64,
    /// Why, where it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// The first line of a run.
#[derive(Debug, Serialize)]
pub struct Started {
    /// The gateway's version.
    pub version: &'static str,
    /// The last line that each place has, by the place's label, where it has one: of the run before, or of whoever else
    /// writes there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub after: BTreeMap<&'static str, Head>,
}

/// A signature over the line before.
#[derive(Debug, Serialize)]
pub struct Checkpoint {
    /// A compact JWS of the gateway's signing key, `typ` `audit-checkpoint+jwt`.
    pub signature: String,
}

/// Who asked for what, what was decided, and why.
#[derive(Debug, Serialize)]
pub struct Decision {
    /// The verdict.
    pub decision: Verdict,
    /// Why; never told to the caller.
    pub reason: Reason,
    /// The caller; absent when no token could be verified. One with `unbelieved` called in vain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Where the request came from, after `server.trusted_proxies`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What was asked for.
    pub target: Target,
    /// The policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<Arc<str>>,
    /// The `params` of a tool's call as they leave, until the writer has made of them what is recorded. A copy of their
    /// own: a part of the request's body would keep all of it, of which nobody counts the rest.
    #[serde(skip)]
    pub params: Option<Box<[u8]>>,
    /// What is recorded of the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Arguments>,
}

/// What is recorded of a call's arguments.
#[derive(Clone, Debug, Serialize)]
pub struct Arguments {
    /// HMAC-SHA-256 over their canonical form (RFC 8785), base64url.
    pub hmac_sha256: String,
    /// The names of the outermost members, as many and as much of them as is recorded.
    pub keys: Vec<String>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_keys: usize,
    /// The values, where the operator has asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<serde_json::Value>,
}

/// Why a decision was made; written out by the writer's thread.
#[derive(Debug)]
pub enum Reason {
    /// What the policy opened.
    Permit(Permit),
    /// What the policy refused.
    Denial(Denial),
    /// What was refused before the policy was asked.
    Text(String),
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Permit(permit) => serializer.collect_str(permit),
            Self::Denial(denial) => serializer.collect_str(denial),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Whether the request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It goes to the backend.
    Allow,
    /// It is refused.
    Deny,
    /// It is refused until the caller signs in for more.
    Challenge,
}

impl Verdict {
    /// Its label in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Challenge => "challenge",
        }
    }
}

/// The caller.
#[derive(Clone, Debug, Serialize)]
pub struct Actor {
    /// `user`, `app`, or `public`, whose `subject` is the address that they call from.
    pub kind: &'static str,
    /// The directory (`tid`).
    pub tenant: String,
    /// The object in it (`oid`).
    pub subject: String,
    /// App-role values as the token has them.
    pub roles: Vec<String>,
    /// The OAuth client that holds the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The token (`jti` or `uti`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The grant that it was issued for, as in the lines of the sign-in; of the gateway's own tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Why the token was not believed, though the gateway signed it: `revoked` or `expired`. Whoever sent it may be
    /// anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbelieved: Option<&'static str>,
}

impl Actor {
    /// The caller behind a verified token.
    #[must_use]
    pub fn of(identity: &VerifiedIdentity) -> Self {
        let subject = identity.subject();
        Self {
            kind: subject.kind().as_str(),
            tenant: subject.tenant().to_owned(),
            subject: subject.object().to_owned(),
            roles: subject.roles().to_vec(),
            client: subject.client().map(str::to_owned),
            token: identity.token_id().map(str::to_owned),
            grant: identity.grant().map(str::to_owned),
            unbelieved: None,
        }
    }

    /// Whose token it was that is believed no more.
    #[must_use]
    pub fn disbelieved(was: Disbelieved) -> Self {
        let claims = was.claims;
        Self {
            kind: claims.idtyp.as_str(),
            tenant: claims.tid,
            subject: claims.oid,
            roles: claims.roles,
            client: Some(claims.client_id),
            token: Some(claims.jti),
            grant: Some(claims.grant_id),
            unbelieved: Some(was.why),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// The MCP server.
    pub backend: String,
    /// The JSON-RPC method, or the HTTP method when there is no message.
    pub method: String,
    /// The tool, prompt or resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outcome {
    /// The HTTP status that the caller got.
    pub status: u16,
    /// Whether a backend was contacted.
    pub forwarded: bool,
    /// What went wrong on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// From the request's head to the answer's end, in milliseconds.
    pub milliseconds: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds<S: Serializer>(time: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ() {
        assert_ne!(RequestId::next(), RequestId::next());
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let outcome = Outcome { status: 200, forwarded: true, error: None, bytes: 3, milliseconds: 1 };
        let event = Event {
            time: crate::clock::Timestamp::from_secs(7).into(),
            request_id: Some(RequestId::next()),
            trace_id: None,
            kind: Kind::Outcome(outcome),
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["type"], event.kind.name());
        assert_eq!(json["time"], 7.0);
        assert_eq!(json["status"], 200);
    }
}
