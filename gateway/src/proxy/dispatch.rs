//! From a decided request to a backend's answer: which server gets it, and what is said when none answers.

use std::time::Duration;

use super::door::{Failure, Visit};
use super::ending::End;
use super::exchange::Exchange;
use super::forward::{BackendAnswer, ForwardError, Hold, Sent, UpstreamRequest, forward};
use super::lifecycle::Stage;
use super::rejection::Rejection;
use super::session::Session;
use crate::authn::VerifiedIdentity;
use crate::backend::{Candidates, Full, Slot, Upstream};
use crate::mcp;

/// When to come again while no server is in use.
const COME_AGAIN: Duration = Duration::from_secs(5);

/// What a request is about, as far as its way to a server depends on it.
pub(super) struct Errand<'a> {
    pub(super) identity: &'a VerifiedIdentity,
    pub(super) session: &'a Session,
    pub(super) id: Option<mcp::RequestId>,
    /// The server that gave the state or task which it names, or asked what it answers (see `Replicas::mark`).
    pub(super) given_by: Option<Box<str>>,
    /// Where it waits for its answer.
    pub(super) among: Among,
}

/// Among which requests one waits for its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// Those that have it do something.
    Calls,
    /// Those that such a one may wait for, or that end it: the answer to a question of the server, a word on another
    /// request, the end of a session. They have places of their own, or the calls would hold the ones that they need.
    Asides,
    /// It only waits for news, for as long as that takes, and needs no place.
    News,
}

impl Among {
    pub(super) fn of(message: &mcp::ClientMessage) -> Self {
        match message.method() {
            Some(mcp::Method::SubscriptionsListen) => Self::News,
            _ if message.kind() == mcp::Kind::Response || message.is_of_session() => Self::Asides,
            _ => Self::Calls,
        }
    }
}

impl<'d> Visit<'d> {
    /// Sends the request, unless the client goes away first.
    ///
    /// INVARIANT: another server gets it only after no connection to the one before could be made, so that not one
    /// byte of it was written; and never when it belongs to a session, a state, a task or a question.
    pub(super) async fn forward(
        &mut self,
        exchange: &mut Exchange,
        errand: &Errand<'_>,
        request: impl Fn(&Upstream, Sent<'_>) -> UpstreamRequest + Send,
    ) -> Result<BackendAnswer<'d>, Failure> {
        let mut candidates = self.candidates(errand)?;
        let mut slot = self.slot(exchange, errand).await?;
        // The wait for a place may have been the longer one, or the one for a token before it.
        if let Some(failure) = self.overtaken(errand) {
            return Err(failure);
        }
        let (door, subject) = (self.door, errand.identity.subject());
        let still = || !door.is_outdated() && End::of_rights(door, errand.identity).is_none();
        let mut rejection = self.no_server(errand, COME_AGAIN);
        while let Some(upstream) = candidates.next() {
            let passage = match upstream.enter((subject.tenant(), subject.object())) {
                Ok(passage) => passage,
                Err(wait) => {
                    candidates.pass_over();
                    rejection = self.no_server(errand, wait);
                    continue;
                }
            };
            let before = std::mem::replace(&mut self.forwarded, true);
            let trace = self.sent(upstream);
            let request = request(upstream, Sent::from(exchange.headers()).from_span(trace.as_ref()));
            let answer = tokio::select! {
                biased;
                answer = forward(upstream, request, &still) => answer,
                gone = exchange.gone() => return Err(gone.into()),
                () = self.door.lifecycle.reached(Stage::LastCall) => {
                    self.error = Some("closing");
                    return Err(Rejection::GatewayTimeout { id: errand.id.clone() }.into());
                }
            };
            match answer {
                Ok(answer) => {
                    self.error = None;
                    return Ok(answer.holding(Hold { slot: slot.take(), passage: Some(passage) }));
                }
                Err(error @ ForwardError::Connect(_)) => {
                    rejection = self.failed(&error, errand.id.clone());
                    self.heard();
                }
                Err(error @ ForwardError::Overtaken) => {
                    self.forwarded = before;
                    let failure = self.overtaken(errand);
                    return Err(failure.unwrap_or_else(|| self.failed(&error, errand.id.clone()).into()));
                }
                Err(error) => {
                    passage.failed();
                    return Err(self.failed(&error, errand.id.clone()).into());
                }
            }
        }
        if matches!(rejection, Rejection::NoServer { .. }) {
            self.count_error("no_server");
        }
        Err(rejection.into())
    }

    /// What has happened since it was permitted that keeps it from being sent by that.
    fn overtaken(&mut self, errand: &Errand<'_>) -> Option<Failure> {
        if self.door.is_outdated() {
            self.error = Some("superseded");
            return Some(Failure::Outdated);
        }
        let end = End::of_rights(self.door, errand.identity)?;
        self.error = Some(end.label());
        Some(Rejection::Over { id: errand.id.clone(), end }.into())
    }

    /// The servers that may get it, in order.
    fn candidates(&mut self, errand: &Errand<'_>) -> Result<Candidates<'d>, Failure> {
        let replicas = &self.mount.replicas;
        match (&errand.session.raw, errand.given_by.as_deref()) {
            (Some(_), _) => {
                replicas.of_session(errand.session.replica.as_deref()).ok_or_else(|| Rejection::UnknownSession.into())
            }
            (None, Some(mark)) => {
                let server = replicas.of_session(Some(mark));
                server.ok_or_else(|| self.no_server(errand, COME_AGAIN).into())
            }
            (None, None) => Ok(replicas.in_turn()),
        }
    }

    /// A place among those that wait for the backend; what waits for news needs none.
    async fn slot(&mut self, exchange: &mut Exchange, errand: &Errand<'_>) -> Result<Option<Slot>, Failure> {
        let (subject, replicas) = (errand.identity.subject(), &self.mount.replicas);
        let caller = (subject.tenant(), subject.object());
        let gate = match errand.among {
            Among::Calls => replicas.calls(),
            Among::Asides => replicas.asides(),
            Among::News => return Ok(None),
        };
        let slot = tokio::select! {
            biased;
            slot = gate.enter(&caller) => slot,
            gone = exchange.gone() => return Err(gone.into()),
        };
        slot.map(Some).map_err(|full| {
            self.error = Some("full");
            self.count_error("full");
            let id = errand.id.clone();
            let rejection = match full {
                Full::ForAll(wait) => Rejection::NoServer { id, wait },
                Full::ForOne(wait) => Rejection::TooManyThere { id, wait },
            };
            rejection.into()
        })
    }

    /// No server takes it now. What was tried before has been counted.
    fn no_server(&mut self, errand: &Errand<'_>, wait: Duration) -> Rejection {
        self.error = Some("no_server");
        Rejection::NoServer { id: errand.id.clone(), wait }
    }

    /// What the caller is told of a failed exchange with a backend, and what the operator is.
    pub(super) fn failed(&mut self, error: &ForwardError, id: Option<mcp::RequestId>) -> Rejection {
        self.error = Some(error.label());
        self.count_error(error.label());
        tracing::warn!(request_id = %self.id, backend = %self.mount.name, %error, "an exchange with a backend failed");
        match error {
            ForwardError::Timeout => Rejection::GatewayTimeout { id },
            ForwardError::NoRoom => Rejection::Unavailable { id },
            ForwardError::Connect(_)
            | ForwardError::Broken(_)
            | ForwardError::WrongBackend
            | ForwardError::Overtaken => Rejection::BadGateway { id },
        }
    }

    fn count_error(&self, label: &'static str) {
        self.mount.series.failed(label);
    }
}
