//! The steps of a request to a backend, one after another; see [`super`] for the order. Longer than other files, so that
//! they can be read in one place.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, header};
use portcullis_policy::{Kind, Permitted};

use super::asked::{Answering, Whom};
use super::began::Named;
use super::budget::{self, Spent};
use super::cors;
use super::dispatch::{Among, Errand};
use super::exchange::{BodyFault, Exchange, Gone};
use super::forward::{BackendAnswer, Sent, UpstreamRequest};
use super::mount::Mount;
use super::operation::Operation;
use super::reader::Reader;
use super::rejection::Rejection;
use super::session::Session;
use super::{Door, Unserved};
use crate::audit::{self, Outcome, RequestId};
use crate::authn::VerifiedIdentity;
use crate::backend::Upstream;
use crate::backend::caller::Field;
use crate::clock::Stopwatch;
use crate::limit::ClientAddress;
use crate::mcp::event_id::{Origin, untie};
use crate::mcp::{self, ClientMessage, EndSession, Fault, OpenStream, RequestMetadata, Seals, Terms};
use crate::trace::TraceId;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Headers that something is decided by: there at most once.
const SINGLE: [HeaderName; 7] = [header::CONTENT_TYPE, header::ACCEPT, SESSION, VERSION, METHOD, NAME, LAST_EVENT];

/// Why a request ended before its answer.
pub(super) enum Failure {
    /// It is refused.
    Rejected(Rejection),
    /// There is nobody to answer.
    Gone,
    /// Another configuration counts by now, and nothing was sent: it is to be decided by that one.
    Outdated,
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

/// What a POST carries.
enum Body {
    Message(Box<Addressed>),
    /// Of 2025-03-26 only.
    Batch(Vec<Addressed>),
}

/// A message, and the server that gave the state or task which it names.
pub(super) type Addressed = (ClientMessage, Option<String>);

/// One request on its way.
pub(super) struct Visit<'d> {
    pub(super) door: &'d Door,
    pub(super) mount: &'d Mount,
    pub(super) id: RequestId,
    /// Where it came from.
    pub(super) source: Option<IpAddr>,
    pub(super) started: Stopwatch,
    pub(super) forwarded: bool,
    pub(super) error: Option<&'static str>,
    /// The message that is on its way.
    pub(super) operation: Option<Operation>,
    /// What its answer says went wrong.
    pub(super) fault: Option<Fault>,
    /// The trace that it is part of, where it is traced.
    pub(super) trace: Option<TraceId>,
    /// The server that gave the state or task which the request names (see `Replicas::mark`).
    pub(super) given_by: Option<String>,
    /// Whether its refusal is one of a count in the trail: its outcome is none of the trail's lines then either.
    pub(super) counted: AtomicBool,
}

impl Door {
    /// Takes a request through every step, answers it, and records what came of it.
    pub(super) async fn serve(
        &self,
        exchange: &mut Exchange,
        mount: &Arc<Mount>,
        id: RequestId,
    ) -> Result<(), Unserved> {
        let mut visit = Visit::new(self, mount, (id, self.source(exchange)));
        let result = visit.steps(exchange).await;
        if matches!(result, Err(Failure::Outdated)) {
            visit.put_aside();
            return Err(Unserved::Outdated);
        }
        visit.done(&result);
        let result = match result {
            Ok(()) => Ok(()),
            Err(Failure::Gone | Failure::Outdated) => Err(Gone),
            Err(Failure::Rejected(rejection)) => exchange.answer(rejection.response(mount)).await,
        };
        visit.end(exchange, result.is_err());
        Ok(result?)
    }
}

impl<'d> Visit<'d> {
    fn new(door: &'d Door, mount: &'d Mount, (id, source): (RequestId, Option<IpAddr>)) -> Self {
        let (operation, fault, trace, given_by, error) = (None, None, None, None, None);
        let (started, forwarded) = (Stopwatch::start(), false);
        let counted = AtomicBool::new(false);
        Self { door, mount, id, source, started, forwarded, error, operation, fault, trace, given_by, counted }
    }

    async fn steps(&mut self, exchange: &mut Exchange) -> Result<(), Failure> {
        self.check_headers(exchange)?;
        // What a browser asks on its own, before any bearer. An origin that is there is a listed one by now.
        if let Some(preflight) = cors::preflight(exchange) {
            return Ok(exchange.answer(preflight).await?);
        }
        let identity = self.authenticate(exchange).await?;
        self.take_places(exchange, &identity)?;
        match *exchange.method() {
            Method::POST => self.post(exchange, &identity).await,
            Method::GET => self.stream(exchange, &identity).await,
            Method::DELETE => self.end_session(exchange, &identity).await,
            _ => Err(self.refuse(Some(&identity), exchange.method().as_str(), Rejection::MethodNotAllowed)),
        }
    }

    fn check_headers(&self, exchange: &mut Exchange) -> Result<(), Failure> {
        let refuse = |exchange: &Exchange, why| Err(self.refuse(None, exchange.method().as_str(), why));
        if exchange.is_ambiguous(&header::ORIGIN) {
            return refuse(exchange, Rejection::AmbiguousHeader);
        }
        if let Some(origin) = exchange.header(&header::ORIGIN) {
            if !self.door.settings.allowed_origins.iter().any(|allowed| allowed == origin) {
                return refuse(exchange, Rejection::ForeignOrigin);
            }
            let fields = exchange.headers().get(header::ORIGIN).map(cors::fields);
            exchange.carry(fields.unwrap_or_default());
        }
        if SINGLE.iter().any(|name| exchange.is_ambiguous(name)) {
            return refuse(exchange, Rejection::AmbiguousHeader);
        }
        Ok(())
    }

    /// A place among the caller's requests, and one among the backend's.
    fn take_places(&self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<(), Failure> {
        let budgets = &self.door.budgets;
        let caller = budgets.caller(identity.subject());
        let taken = caller.and_then(|caller| Ok((caller, budgets.at_backend(&self.mount.name)?)));
        let (caller, at_backend) = taken.map_err(|spent| {
            let rejection = match spent {
                Spent::Their => Rejection::TooManyAtOnce,
                Spent::Everybodys => Rejection::Unavailable { id: None },
            };
            self.refuse(Some(identity), exchange.method().as_str(), rejection)
        })?;
        exchange.is_of(caller);
        exchange.take_place_at_backend(at_backend);
        Ok(())
    }

    /// A place for a stream that waits for what a server has to say.
    fn place_of_stream(
        &self,
        exchange: &mut Exchange,
        identity: &VerifiedIdentity,
        method: &str,
        id: Option<&mcp::RequestId>,
    ) -> Result<budget::Stream, Failure> {
        let place = self.door.budgets.stream(identity.subject()).map_err(|spent| {
            let id = id.cloned();
            let rejection = match spent {
                Spent::Their => Rejection::TooManyStreams { id },
                Spent::Everybodys => Rejection::Unavailable { id },
            };
            self.refuse(Some(identity), method, rejection)
        })?;
        exchange.leave_place();
        Ok(place)
    }

    async fn authenticate(&self, exchange: &Exchange) -> Result<Arc<VerifiedIdentity>, Failure> {
        let address = self.source.map_or_else(ClientAddress::unknown, ClientAddress::of);
        let result = self.door.authenticator.admit(exchange.headers(), &self.mount.audience, address).await;
        if result.as_ref().is_ok_and(|caller| caller.subject().kind() != Kind::Public) {
            self.mount.series.verified.inc();
        }
        result.map_err(|failure| {
            self.mount.series.not_verified(failure.label());
            tracing::debug!(request_id = %self.id, backend = %self.mount.name, reason = %failure, "not authenticated");
            let was = self.door.authenticator.disbelieved(exchange.headers(), failure);
            let (actor, method) = (was.map(audit::Actor::disbelieved), exchange.method().as_str());
            self.refuse_as(actor, method, Rejection::Unauthenticated(failure))
        })
    }

    async fn post(&mut self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<(), Failure> {
        let body = self.read_body(exchange, identity).await?;
        // It may have taken as long as it liked. What was found of its head is of the configuration of that time, too.
        if self.door.is_outdated() {
            return Err(Failure::Outdated);
        }
        let (message, given_by) = match self.read(exchange, identity, &body)? {
            Body::Batch(messages) => return self.batch(exchange, identity, messages).await,
            Body::Message(addressed) => *addressed,
        };
        self.given_by = given_by;
        self.begin(exchange, &message, self.started);
        exchange.count(|| self.check_rate(identity, std::slice::from_ref(&message)))?;
        let method = message.method().map_or("response", mcp::Method::as_str);
        let session = self.session_of(exchange, identity, method, message.era() == mcp::Era::Legacy)?;
        let _place = match message.method() {
            Some(mcp::Method::SubscriptionsListen) => {
                Some(self.place_of_stream(exchange, identity, method, message.id())?)
            }
            _ => None,
        };
        let Some((permitted, answer)) = self.send(exchange, identity, message, &session).await? else {
            return Ok(exchange.answer(super::status(StatusCode::ACCEPTED)).await?);
        };
        let reader = Reader::of_message((self.door, self.mount), permitted.act(), identity, &session);
        let reader = reader.answered_by(answer.upstream()).beginning(answer.header(&SESSION));
        self.deliver(exchange, answer, &reader).await
    }

    /// The session that the request names, where its era has sessions.
    pub(super) fn session_of(
        &self,
        exchange: &Exchange,
        identity: &VerifiedIdentity,
        method: &str,
        legacy: bool,
    ) -> Result<Session, Failure> {
        self.session(identity, method, exchange.header(&SESSION).filter(|_| legacy))
    }

    /// Decides a message and sends it; `None` when it tells a backend something that it could not tie to the caller.
    pub(super) async fn send(
        &mut self,
        exchange: &mut Exchange,
        identity: &VerifiedIdentity,
        message: ClientMessage,
        session: &Session,
    ) -> Result<Option<(Permitted<ClientMessage>, BackendAnswer<'d>)>, Failure> {
        let question = self.question(identity, &message, session)?;
        let given_by = question.as_ref().map_or(self.given_by.as_deref(), Answering::server).map(Box::from);
        let permitted = self.authorize(identity, message).await?;
        self.opened(permitted.act());
        if session.raw.is_none() && permitted.act().is_of_session() {
            return Ok(None);
        }
        let fields = self.caller(identity, permitted.act().id()).await?;
        let request = |upstream: &Upstream, sent: Sent<'_>| {
            UpstreamRequest::message(upstream, &permitted, sent, session.raw.as_deref()).with_fields(&fields)
        };
        let (id, among) = (permitted.act().id().cloned(), Among::of(permitted.act()));
        let answer = self.forward(exchange, &Errand { identity, session, id, given_by, among }, request).await?;
        if let Some(question) = question.filter(|_| answer.status().is_success()) {
            question.arrived();
        }
        Ok(Some((permitted, answer)))
    }

    /// The question that a client's own answer is to; nothing else is one.
    fn question(
        &self,
        identity: &VerifiedIdentity,
        message: &ClientMessage,
        session: &Session,
    ) -> Result<Option<Answering>, Failure> {
        if message.kind() != mcp::Kind::Response {
            return Ok(None);
        }
        let whom = Whom { backend: &self.mount.name, caller: identity.subject(), session: &session.key };
        let question = message.id().and_then(|id| self.door.asked.answer(whom, id));
        // Who asked while there was one server only is not known among several.
        let is_known = |server: Option<&str>| {
            session.raw.is_some() || server.is_some() || self.mount.replicas.of_session(None).is_some()
        };
        match question.filter(|question| is_known(question.server())) {
            Some(question) => Ok(Some(question)),
            None => Err(self.refuse(Some(identity), "response", Rejection::NotAsked)),
        }
    }

    /// The body, whole.
    async fn read_body(&self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<Bytes, Failure> {
        let refuse = |rejection| Err(self.refuse(Some(identity), "POST", rejection));
        if !is_json(exchange) {
            return refuse(Rejection::UnsupportedMediaType);
        }
        match exchange.read_body(self.door.settings.request_body).await {
            Ok(body) => Ok(body),
            Err(BodyFault::Ended) => Err(Failure::Gone),
            Err(fault) => refuse(Rejection::Body(fault)),
        }
    }

    /// What it says, as messages that can be decided.
    fn read(&self, exchange: &Exchange, identity: &VerifiedIdentity, body: &Bytes) -> Result<Body, Failure> {
        let headers = RequestMetadata {
            protocol_version: exchange.header(&VERSION),
            method: exchange.header(&METHOD),
            name: exchange.header(&NAME),
        };
        let standing = self.door.standing();
        let view = standing.view(identity.subject(), &self.mount.name);
        let resource = |uri: &str| view.resource(uri);
        let read = |body: &Bytes| {
            let seals = self.door.seals(self.mount, identity);
            let features = self.mount.features;
            let terms = Terms { features, seals: &seals, resource: &resource, ..Terms::default() };
            let message = mcp::read_message_on(body, &headers, &self.mount.name, &terms)?;
            Ok((message, seals.given_by()))
        };
        let body = match mcp::split_batch(body, &headers) {
            Ok(None) => read(body).map(|addressed| Body::Message(Box::new(addressed))),
            Ok(Some(parts)) => parts.iter().map(read).collect::<Result<_, _>>().map(Body::Batch),
            Err(refusal) => Err(refusal),
        };
        body.map_err(|refusal| self.refuse(Some(identity), "POST", Rejection::Unreadable(refusal)))
    }

    async fn stream(&mut self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<(), Failure> {
        exchange.count(|| self.count_one(identity, "GET", None))?;
        let session = self.legacy_session(exchange, identity, "GET")?;
        let _place = self.place_of_stream(exchange, identity, "GET", None)?;
        let permitted = self.authorize(identity, OpenStream(self.mount.name.clone())).await?;
        let raw = session.raw.as_deref().unwrap_or_default();
        let (last_event, origin) = self.last_event(exchange, identity, &session)?.unzip();
        let (last_event, origin) = (last_event.as_deref(), origin.flatten());
        let fields = self.caller(identity, None).await?;
        let request = |upstream: &Upstream, sent: Sent<'_>| {
            UpstreamRequest::stream(upstream, &permitted, sent, raw, last_event).with_fields(&fields)
        };
        let errand = Errand { identity, session: &session, id: None, given_by: None, among: Among::News };
        let answer = self.forward(exchange, &errand, request).await?;
        let reader = Reader::of_stream((self.door, self.mount), identity, &session, origin.as_ref());
        let reader = reader.answered_by(answer.upstream());
        self.deliver(exchange, answer, &reader).await
    }

    /// The event after which a stream goes on, as the backend knows it, with the request whose answer that stream
    /// carries; only in the session that it was sent in.
    fn last_event(
        &self,
        exchange: &Exchange,
        identity: &VerifiedIdentity,
        session: &Session,
    ) -> Result<Option<(String, Option<Origin>)>, Failure> {
        let Some(sealed) = exchange.header(&LAST_EVENT).filter(|id| !id.is_empty()) else { return Ok(None) };
        let place = mcp::Place::Event { session: &session.key };
        let opened = self.door.seals(self.mount, identity).open(place, sealed);
        opened
            .and_then(|tied| untie(&tied))
            .map(Some)
            .ok_or_else(|| self.refuse(Some(identity), "GET", Rejection::UnknownEvent))
    }

    async fn end_session(&mut self, exchange: &mut Exchange, identity: &VerifiedIdentity) -> Result<(), Failure> {
        exchange.count(|| self.count_one(identity, "DELETE", None))?;
        let session = self.legacy_session(exchange, identity, "DELETE")?;
        let permitted = self.authorize(identity, EndSession(self.mount.name.clone())).await?;
        let raw = session.raw.as_deref().unwrap_or_default();
        let fields = self.caller(identity, None).await?;
        let request = |upstream: &Upstream, sent: Sent<'_>| {
            UpstreamRequest::end(upstream, &permitted, sent, raw).with_fields(&fields)
        };
        let errand = Errand { identity, session: &session, id: None, given_by: None, among: Among::Asides };
        let answer = self.forward(exchange, &errand, request).await?;
        let reader = Reader::of_end((self.door, self.mount), identity, &session);
        self.deliver(exchange, answer, &reader).await
    }

    /// What the backend is told of the caller, and the token that its own API wants.
    async fn caller(&self, identity: &VerifiedIdentity, id: Option<&mcp::RequestId>) -> Result<Vec<Field>, Rejection> {
        let mut fields = self.mount.caller.fields(identity).map_err(|error| {
            tracing::error!(request_id = %self.id, %error, "an assertion cannot be signed");
            Rejection::Unavailable { id: id.cloned() }
        })?;
        fields.extend(self.on_behalf_of(identity, id).await?);
        Ok(fields)
    }

    /// GET and DELETE belong to the sessions of the legacy era.
    fn legacy_session(
        &self,
        exchange: &Exchange,
        identity: &VerifiedIdentity,
        method: &str,
    ) -> Result<Session, Failure> {
        let version = exchange.header(&VERSION);
        if let Some(version) = version.filter(|version| mcp::ProtocolVersion::parse(version.trim()).is_none()) {
            let refusal = mcp::Refusal::version(version, mcp::Era::Legacy, None);
            return Err(self.refuse(Some(identity), method, Rejection::Unreadable(refusal)));
        }
        let modern = version == Some(mcp::ProtocolVersion::V2026_07_28.as_str());
        match exchange.header(&SESSION) {
            Some(sealed) if !modern => self.session(identity, method, Some(sealed)),
            _ => Err(self.refuse(Some(identity), method, Rejection::MethodNotAllowed)),
        }
    }

    fn session(&self, identity: &VerifiedIdentity, method: &str, sealed: Option<&str>) -> Result<Session, Failure> {
        let (backend, subject) = (&self.mount.name, identity.subject());
        let is_ours = |session: &Session| {
            let named = session.raw.as_deref().map(|raw| Named { backend, replica: session.replica.as_deref(), raw });
            !named.is_some_and(|named| self.door.began.is_anothers(&named, subject))
        };
        Session::open(&self.door.sealer, backend, subject, sealed)
            .filter(is_ours)
            .ok_or_else(|| self.refuse(Some(identity), method, Rejection::UnknownSession))
    }

    /// It begins anew elsewhere. Where it was decided here before, the trail is told that nothing came of that.
    fn put_aside(&mut self) {
        self.operation = None;
        if self.error.is_some() {
            let milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let outcome = Outcome { status: 0, forwarded: false, error: self.error, bytes: 0, milliseconds };
            self.emit(audit::Kind::Outcome(outcome));
        }
    }

    fn end(&self, exchange: &Exchange, gone: bool) {
        let (status, bytes) = exchange.answered();
        let elapsed = self.started.elapsed();
        let error = if gone && self.error.is_none() { Some("client_gone") } else { self.error };
        let error = error.or(self.fault.map(|fault| fault.label));
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        // What went to a backend, as the first messages of a batch may have, has its outcome in any case.
        if self.forwarded || !self.counted.load(Ordering::Relaxed) {
            self.emit(audit::Kind::Outcome(Outcome { status, forwarded: self.forwarded, error, bytes, milliseconds }));
        }
        self.mount.series.answered(status);
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
