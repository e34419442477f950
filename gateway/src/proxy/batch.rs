//! A batch (2025-03-26): every message takes the way of a single one, in order, and the answers go back together.
//!
//! The backend sees single requests, so that nothing depends on how it reads an array.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::budget::Held;
use super::deliver::{Usable, conclude, response};
use super::door::{Addressed, Failure, VERSION, Visit};
use super::ending::End;
use super::exchange::Exchange;
use super::forward::{BackendAnswer, ForwardError};
use super::reader::Reader;
use super::rejection::Rejection;
use super::session::Session;
use crate::authn::VerifiedIdentity;
use crate::clock::Stopwatch;
use crate::mcp::sse::Splitter;
use crate::mcp::{ClientMessage, Kind, Method, no_batch};

impl Visit<'_> {
    /// Decides and forwards each message, and answers with what came of those that want an answer.
    pub(super) async fn batch(
        &mut self,
        exchange: &mut Exchange,
        identity: &VerifiedIdentity,
        addressed: Vec<Addressed>,
    ) -> Result<(), Failure> {
        let (messages, givers): (Vec<_>, Vec<_>) = addressed.into_iter().unzip();
        self.check_batch(identity, &messages)?;
        exchange.count(|| self.check_rate(identity, &messages))?;
        let session = self.session_of(exchange, identity, "batch", true)?;
        // Without the header it is a client of 2025-03-26 (2025-06-18, basic/transports), unless its session says not.
        if !session.may_batch && exchange.header(&VERSION).is_none() {
            return Err(self.refuse(Some(identity), "batch", Rejection::Unreadable(no_batch())));
        }
        let mut answers = Vec::with_capacity(messages.len());
        let mut first = None;
        for (message, given_by) in messages.into_iter().zip(givers) {
            let id = message.id().filter(|_| message.kind() == Kind::Request).cloned();
            self.given_by = given_by;
            self.error = None;
            self.begin(exchange, &message, Stopwatch::start());
            let result = self.element(exchange, identity, message, &session).await;
            self.done(&result);
            first = first.or(self.error).or(self.fault.map(|fault| fault.label));
            match result {
                Ok(answer) => answers.extend(id.zip(answer)),
                // It is over for all of them.
                Err(Failure::Rejected(Rejection::UnknownSession)) if id.is_some() => {
                    return Err(Rejection::UnknownSession.into());
                }
                Err(Failure::Rejected(rejection)) => answers.extend(id.map(|id| {
                    let body = rejection.response(self.mount).into_body();
                    (id, (body, self.door.budgets.answer_body()))
                })),
                Err(failure @ (Failure::Gone | Failure::Outdated)) => return Err(failure),
            }
        }
        // The batch as a whole ends with the first thing that went wrong in it.
        self.error = first;
        if let Some(end) = End::of_answer(self.door, identity) {
            self.error = Some(end.label());
            for (id, (answer, _room)) in &mut answers {
                *answer = end.error(Some(id));
            }
        }
        let (response, _room) = joined(answers.into_iter().map(|(_id, answer)| answer).collect());
        Ok(exchange.answer(response).await?)
    }

    /// A batch introduces nobody, and two requests in it do not share an id.
    fn check_batch(&self, identity: &VerifiedIdentity, messages: &[ClientMessage]) -> Result<(), Failure> {
        let ids: Vec<_> =
            messages.iter().filter(|one| one.kind() == Kind::Request).filter_map(|one| one.id()).collect();
        let doubled = ids.iter().enumerate().any(|(at, id)| ids.iter().skip(at + 1).any(|other| other == id));
        if doubled || messages.iter().any(|one| one.method() == Some(Method::Initialize)) {
            return Err(self.refuse(Some(identity), "batch", Rejection::BadBatch));
        }
        Ok(())
    }

    /// One message, by the same steps as alone; its answer, if it gets one, and the room that it takes.
    async fn element(
        &mut self,
        exchange: &mut Exchange,
        identity: &VerifiedIdentity,
        message: ClientMessage,
        session: &Session,
    ) -> Result<Option<(Bytes, Held)>, Failure> {
        // What the policy of the batch's beginning opens is no reason to go on for as long as the batch takes.
        let (id, method) = (message.id().cloned(), message.method().map_or("response", Method::as_str));
        let over = || Rejection::Over { id: id.clone(), end: End::News };
        if self.door.is_over(&self.mount.name) {
            return Err(self.refuse(Some(identity), method, over()));
        }
        let sent = match self.send(exchange, identity, message, session).await {
            // Of those before it something may have been carried out: the batch does not begin anew.
            Err(Failure::Outdated) if self.forwarded => {
                self.error = None;
                return Err(self.refuse(Some(identity), method, over()));
            }
            sent => sent?,
        };
        let Some((permitted, answer)) = sent else { return Ok(None) };
        let reader = Reader::of_message((self.door, self.mount), permitted.act(), identity, session);
        let reader = reader.answered_by(answer.upstream());
        let ended = End::of(self.door, self.mount, &reader, End::expiry(self.door, identity));
        let collected = tokio::select! {
            biased;
            end = ended => {
                self.error = Some(end.label());
                return Err(Rejection::Over { id: reader.id.clone(), end }.into());
            }
            collected = self.collect(answer, &reader) => collected?,
            gone = exchange.gone() => return Err(gone.into()),
        };
        self.note(&reader.told);
        Ok(collected)
    }

    /// The answer to one message, whole, from JSON or out of a stream. It keeps its room, and as much again for its
    /// place in the array, until all of the batch has been answered.
    async fn collect(
        &mut self,
        mut answer: BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<Option<(Bytes, Held)>, Rejection> {
        let limit = self.door.settings.answer_body;
        let mut room = self.door.budgets.answer_body();
        let usable = self.usable(&answer, reader).map_err(|rejection| match rejection {
            Rejection::MethodNotAllowed => Rejection::BadGateway { id: reader.id.clone() },
            rejection => rejection,
        })?;
        let found = match usable {
            Usable::Status => {
                conclude(answer).await;
                return Ok(None);
            }
            Usable::Json => match answer.whole(limit, &mut room).await {
                Ok(body) => reader.rewrite_answer(&body).map_err(|error| ForwardError::broken(&error)),
                Err(error) => Err(error),
            },
            Usable::Events => self.find_in_stream(answer, reader, &mut room).await,
        };
        let kept = found.and_then(|found| {
            room.resize(2 * found.len() + 1).map_err(|_spent| ForwardError::NoRoom)?;
            Ok(Some((found, room)))
        });
        kept.map_err(|error| self.failed(&error, reader.id.clone()))
    }

    /// Reads a stream up to the answer; what else it says has nowhere to go in a batch.
    async fn find_in_stream(
        &self,
        mut answer: BackendAnswer<'_>,
        reader: &Reader<'_>,
        room: &mut Held,
    ) -> Result<Bytes, ForwardError> {
        let idle = self.mount.replicas.any().settings().timeout;
        let mut splitter = Splitter::new(self.door.settings.answer_body);
        while let Some(piece) = answer.next_piece(idle).await? {
            splitter.push(&piece);
            while let Some(event) = splitter.next_event().map_err(|error| ForwardError::broken(&error))? {
                if let Some(found) = reader.answer_in(&event).map_err(|error| ForwardError::broken(&error))? {
                    return Ok(found);
                }
            }
            room.resize(splitter.pending()).map_err(|_spent| ForwardError::NoRoom)?;
        }
        Err(ForwardError::broken("its stream ended without an answer"))
    }
}

/// The array of them, and the room that it takes; each is let go once it stands in it.
fn joined(answers: Vec<(Bytes, Held)>) -> (Response<Bytes>, Vec<Held>) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut room = Vec::with_capacity(answers.len());
    let mut body = Vec::with_capacity(answers.iter().map(|(answer, _)| answer.len() + 1).sum::<usize>() + 1);
    let status = if answers.is_empty() { StatusCode::ACCEPTED } else { StatusCode::OK };
    for (answer, mut held) in answers {
        body.push(if body.is_empty() { b'[' } else { b',' });
        body.extend_from_slice(&answer);
        // An answer gives back half of its room; what a refusal takes is next to nothing.
        let _ = held.resize(answer.len() + 1);
        room.push(held);
    }
    if status == StatusCode::OK {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        body.push(b']');
    }
    (response(status, headers, body.into()), room)
}
