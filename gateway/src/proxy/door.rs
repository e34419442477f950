//! The steps of a request to a backend, one after another; see [`super`] for the order.

use std::sync::Arc;

use http::{HeaderName, Method, header};
use portcullis_policy::{Act, Denial, Permit, Permitted};

use super::Door;
use super::deliver::Reader;
use super::exchange::{BodyFault, Exchange, Gone};
use super::forward::{BackendAnswer, ForwardError, UpstreamRequest, forward};
use super::mount::Mount;
use super::rejection::{Rejection, Unknown};
use super::session::Session;
use crate::audit::{Actor, Decision, Event, Kind, Outcome, Reason, RequestId, Target, Verdict};
use crate::authn::VerifiedIdentity;
use crate::clock::Stopwatch;
use crate::mcp::{self, ClientMessage, EndSession, OpenStream, RequestMetadata};
use crate::metrics;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Headers that something is decided by: there at most once.
const SINGLE: [HeaderName; 8] =
    [header::CONTENT_TYPE, header::ORIGIN, header::ACCEPT, SESSION, VERSION, METHOD, NAME, LAST_EVENT];

/// Why a request ended before its answer.
pub(super) enum Failure {
    /// It is refused.
    Rejected(Rejection),
    /// There is nobody to answer.
    Gone,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// One request on its way.
pub(super) struct Visit<'d> {
    pub(super) door: &'d Door,
    pub(super) mount: &'d Mount,
    pub(super) id: RequestId,
    forwarded: bool,
    pub(super) error: Option<&'static str>,
}

impl Door {
    /// Takes a request through every step, answers it, and records what came of it.
    pub(super) async fn serve(&self, exchange: &mut Exchange, mount: &Arc<Mount>) -> Result<(), Gone> {
        let started = Stopwatch::start();
        let mut visit = Visit { door: self, mount, id: RequestId::next(), forwarded: false, error: None };
        let result = match visit.steps(exchange).await {
            Ok(()) => Ok(()),
            Err(Failure::Gone) => Err(Gone),
            Err(Failure::Rejected(rejection)) => exchange.answer(rejection.response(mount)).await,
        };
        visit.end(exchange, started, result.is_err());
        result
    }
}

impl<'d> Visit<'d> {
    async fn steps(&mut self, exchange: &mut Exchange) -> Result<(), Failure> {
        self.check_headers(exchange)?;
        let identity = self.authenticate(exchange).await?;
        match *exchange.method() {
            Method::POST => self.post(exchange, &identity).await,
            Method::GET => self.stream(exchange, &identity).await,
            Method::DELETE => self.end_session(exchange, &identity).await,
            _ => Err(self.refuse(Some(&identity), exchange.method().as_str(), Rejection::MethodNotAllowed)),
        }
    }

    fn check_headers(&self, exchange: &Exchange) -> Result<(), Failure> {
        let method = exchange.method().as_str();
        if SINGLE.iter().any(|name| exchange.is_ambiguous(name)) {
            return Err(self.refuse(None, method, Rejection::AmbiguousHeader));
        }
        let origin = exchange.header(&header::ORIGIN);
        if origin.is_some_and(|origin| !self.door.settings.allowed_origins.iter().any(|allowed| allowed == origin)) {
            return Err(self.refuse(None, method, Rejection::ForeignOrigin));
        }
        Ok(())
    }

    async fn authenticate(&self, exchange: &Exchange) -> Result<Arc<VerifiedIdentity>, Failure> {
        let result = self.door.authenticator.authenticate(exchange.headers(), &self.mount.audience).await;
        result.map_err(|failure| {
            tracing::debug!(request_id = %self.id, backend = %self.mount.name, reason = %failure, "not authenticated");
            self.refuse(None, exchange.method().as_str(), Rejection::Unauthenticated(failure))
        })
    }

    async fn post(&mut self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<(), Failure> {
        let message = self.read(exchange, identity).await?;
        let method = message.method().map_or("response", mcp::Method::as_str);
        let sealed = if message.era() == mcp::Era::Legacy { exchange.header(&SESSION) } else { None };
        let session = self.session(identity, method, sealed)?;
        if message.kind() == mcp::Kind::Response
            && !message.id().is_some_and(|id| self.door.asked.answer(&session.key, id))
        {
            return Err(self.refuse(Some(identity), method, Rejection::UnknownSession));
        }
        let permitted = self.authorize(identity, message)?;
        let request =
            UpstreamRequest::message(&self.mount.upstream, &permitted, exchange.headers(), session.raw.as_deref());
        let id = permitted.act().id().cloned();
        let answer = self.forward(exchange, request, id).await?;
        let reader = Reader::of_message(permitted.act(), identity, &session);
        self.deliver(exchange, answer, &reader).await
    }

    /// The body, whole, as a message that can be decided.
    async fn read(&self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<ClientMessage, Failure> {
        let refuse = |rejection| self.refuse(Some(identity), "POST", rejection);
        if !is_json(exchange) {
            return Err(refuse(Rejection::UnsupportedMediaType));
        }
        let body = match exchange.read_body(self.door.settings.request_body).await {
            Ok(body) => body,
            Err(BodyFault::Broken) => return Err(Failure::Gone),
            Err(fault) => return Err(refuse(Rejection::Body(fault))),
        };
        let headers = RequestMetadata {
            protocol_version: exchange.header(&VERSION),
            method: exchange.header(&METHOD),
            name: exchange.header(&NAME),
        };
        mcp::read_message(&body, &headers, &self.mount.name).map_err(|refusal| refuse(Rejection::Unreadable(refusal)))
    }

    async fn stream(&mut self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<(), Failure> {
        let session = self.legacy_session(exchange, identity, "GET")?;
        let permitted = self.authorize(identity, OpenStream(self.mount.name.clone()))?;
        let raw = session.raw.as_deref().unwrap_or_default();
        let last_event = exchange.header(&LAST_EVENT).filter(|id| id.len() <= 1024);
        let request = UpstreamRequest::stream(&self.mount.upstream, &permitted, exchange.headers(), raw, last_event);
        let answer = self.forward(exchange, request, None).await?;
        let reader = Reader::of_stream(identity, &session);
        self.deliver(exchange, answer, &reader).await
    }

    async fn end_session(&mut self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<(), Failure> {
        let session = self.legacy_session(exchange, identity, "DELETE")?;
        let permitted = self.authorize(identity, EndSession(self.mount.name.clone()))?;
        let raw = session.raw.as_deref().unwrap_or_default();
        let request = UpstreamRequest::end(&self.mount.upstream, &permitted, exchange.headers(), raw);
        let answer = self.forward(exchange, request, None).await?;
        let reader = Reader::of_stream(identity, &session);
        self.deliver(exchange, answer, &reader).await
    }

    /// GET and DELETE belong to the sessions of the legacy era.
    fn legacy_session(
        &self,
        exchange: &Exchange,
        identity: &VerifiedIdentity,
        method: &str,
    ) -> Result<Session, Failure> {
        let modern = exchange.header(&VERSION) == Some(mcp::ProtocolVersion::V2026_07_28.as_str());
        match exchange.header(&SESSION) {
            Some(sealed) if !modern => self.session(identity, method, Some(sealed)),
            _ => Err(self.refuse(Some(identity), method, Rejection::MethodNotAllowed)),
        }
    }

    fn session(&self, identity: &VerifiedIdentity, method: &str, sealed: Option<&str>) -> Result<Session, Failure> {
        Session::open(&self.door.sealer, &self.mount.name, identity.subject(), sealed)
            .ok_or_else(|| self.refuse(Some(identity), method, Rejection::UnknownSession))
    }

    /// The decision, recorded before anything is done by it.
    fn authorize<T: Asks>(&self, identity: &VerifiedIdentity, act: T) -> Result<Permitted<T>, Failure> {
        let (method, name, id) = (act.method().to_owned(), act.name().map(str::to_owned), act.id());
        let (what, era) = (act.unknown(), act.era());
        match self.door.policy.authorize(identity.subject(), act) {
            Ok(permitted) => {
                let recorded = self.record_permit(identity, method, name, permitted.permit());
                if recorded { Ok(permitted) } else { Err(Rejection::Unavailable { id }.into()) }
            }
            Err(denial) => {
                let rejection = Rejection::denied(denial.kind(), id, what, era);
                self.record_denial(identity, method, name, denial, &rejection);
                Err(rejection.into())
            }
        }
    }

    fn record_permit(
        &self,
        identity: &VerifiedIdentity,
        method: String,
        name: Option<String>,
        permit: &Permit,
    ) -> bool {
        self.count(Verdict::Allow, metrics::Reason::None);
        let hash = Some(Arc::clone(permit.policy_hash()));
        self.record(Verdict::Allow, Reason::Permit(permit.clone()), Some(identity), method, name, hash)
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
        let hash = Some(Arc::clone(denial.policy_hash()));
        self.record(verdict, Reason::Denial(denial), Some(identity), method, name, hash);
    }

    /// A refusal before the policy was asked.
    fn refuse(&self, identity: Option<&VerifiedIdentity>, method: &str, rejection: Rejection) -> Failure {
        self.count(Verdict::Deny, rejection.reason());
        let why = Reason::Text(rejection.operator_text());
        self.record(Verdict::Deny, why, identity, method.to_owned(), None, None);
        rejection.into()
    }

    fn count(&self, verdict: Verdict, reason: metrics::Reason) {
        let labels = [self.mount.name.as_ref(), verdict.as_str(), reason.as_str()];
        self.door.metrics.decisions.with_label_values(&labels).inc();
    }

    fn record(
        &self,
        decision: Verdict,
        reason: Reason,
        identity: Option<&VerifiedIdentity>,
        method: String,
        name: Option<String>,
        policy_hash: Option<Arc<str>>,
    ) -> bool {
        let target = Target { backend: self.mount.name.to_string(), method, name };
        let actor = identity.map(Actor::of);
        let decision = Decision { decision, reason, actor, target, policy_hash };
        self.emit(Kind::Decision(Box::new(decision)))
    }

    fn emit(&self, kind: Kind) -> bool {
        let event = Event { time: self.door.clock.now(), request_id: self.id, kind };
        let taken = self.door.auditor.record(event);
        if let Err(error) = &taken {
            self.door.metrics.audit_refused.with_label_values(&[self.mount.name.as_ref()]).inc();
            tracing::error!(request_id = %self.id, %error, "an audit event was not taken");
        }
        taken.is_ok()
    }

    /// Sends the request, unless the client goes away first.
    async fn forward(
        &mut self,
        exchange: &mut Exchange,
        request: UpstreamRequest,
        id: Option<mcp::RequestId>,
    ) -> Result<BackendAnswer<'d>, Failure> {
        self.forwarded = true;
        let mount = self.mount;
        let answer = tokio::select! {
            biased;
            answer = forward(&mount.upstream, request) => answer,
            gone = exchange.gone() => return Err(gone.into()),
        };
        answer.map_err(|error| self.failed(&error, id).into())
    }

    /// What the caller is told of a failed exchange with a backend, and what the operator is.
    pub(super) fn failed(&mut self, error: &ForwardError, id: Option<mcp::RequestId>) -> Rejection {
        self.error = Some(error.label());
        self.door.metrics.backend_errors.with_label_values(&[self.mount.name.as_ref(), error.label()]).inc();
        tracing::warn!(request_id = %self.id, backend = %self.mount.name, %error, "an exchange with a backend failed");
        match error {
            ForwardError::Timeout => Rejection::GatewayTimeout { id },
            ForwardError::Connect(_) | ForwardError::Broken(_) | ForwardError::WrongBackend => {
                Rejection::BadGateway { id }
            }
        }
    }

    fn end(&self, exchange: &Exchange, started: Stopwatch, gone: bool) {
        let (status, bytes) = exchange.answered();
        let elapsed = started.elapsed();
        let error = if gone && self.error.is_none() { Some("client_gone") } else { self.error };
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.emit(Kind::Outcome(Outcome { status, forwarded: self.forwarded, error, bytes, milliseconds }));
        let class = match status {
            200..=299 => "2xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "none",
        };
        self.door.metrics.requests.with_label_values(&[self.mount.name.as_ref(), class]).inc();
        self.door.metrics.duration.observe(elapsed.as_secs_f64());
    }
}

fn is_json(exchange: &Exchange) -> bool {
    let media = exchange.header(&header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = media.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"));
    is_json && utf8 && !exchange.headers().contains_key(header::CONTENT_ENCODING)
}

/// What an act says of itself in a refusal and in the audit trail.
trait Asks: Act {
    fn method(&self) -> &str;
    fn name(&self) -> Option<&str> {
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

    fn id(&self) -> Option<mcp::RequestId> {
        ClientMessage::id(self).cloned()
    }

    fn unknown(&self) -> Unknown {
        match self.target() {
            Some(mcp::Target::Tool(name)) => Unknown::Tool(name.clone()),
            Some(mcp::Target::Prompt(name) | mcp::Target::PromptReference(name)) => Unknown::Prompt(name.clone()),
            Some(mcp::Target::Resource(uri) | mcp::Target::TemplateReference(uri)) => Unknown::Resource(uri.clone()),
            None => Unknown::Everything,
        }
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
