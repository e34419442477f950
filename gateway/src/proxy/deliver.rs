//! The way back: what a backend answers, as the caller may see it.
//!
//! Lists are filtered wherever they come, session ids sealed, results of the modern era made private. An answer that
//! is not to this request, or cannot be read in one way only, is never passed on.

use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::began::Named;
use super::door::{Failure, Visit};
use super::ending::End;
use super::exchange::Exchange;
use super::forward::{BackendAnswer, ForwardError};
use super::reader::{Passed, Purpose, Reader};
use super::rejection::Rejection;
use super::session::Session;
use crate::mcp::list_filter::Unreadable;
use crate::mcp::sse::{self, Splitter};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

const NOT_READ: &str = "an event is not for this request, or cannot be read";

/// How a stream came to its end.
enum Ending {
    /// With all that there was to say.
    Whole,
    /// Before its time, for this reason.
    Early(End),
    /// It broke, and nothing more comes of it.
    Broken(ForwardError),
    /// It broke off, and may be resumed.
    Resumable(ForwardError),
}

/// What of an answer is of use.
pub(super) enum Usable {
    /// It is a stream of events.
    Events,
    /// It is a message.
    Json,
    /// Its status is all there is to say.
    Status,
}

impl Visit<'_> {
    /// Passes an answer on.
    pub(super) async fn deliver(
        &mut self,
        exchange: &mut Exchange,
        answer: BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<(), Failure> {
        match self.usable(&answer, reader)? {
            Usable::Events => self.events(exchange, answer, reader).await,
            Usable::Json => self.json(exchange, answer, reader).await,
            Usable::Status => {
                let headers = answer.fields_for_client();
                let sent = exchange.answer(response(answer.status(), headers, Bytes::new())).await;
                conclude(answer).await;
                Ok(sent?)
            }
        }
    }

    /// What of an answer is of use, by its head.
    pub(super) fn usable(&mut self, answer: &BackendAnswer<'_>, reader: &Reader<'_>) -> Result<Usable, Rejection> {
        let status = answer.status();
        let encoded = answer.headers().contains_key(header::CONTENT_ENCODING);
        if encoded || !(status.is_success() || matches!(status.as_u16(), 400 | 404 | 405)) {
            return Err(self.unusable(reader, "its status or encoding cannot be passed on"));
        }
        match (status, reader.purpose) {
            (StatusCode::NOT_FOUND, _) if reader.session.raw.is_some() => Err(Rejection::UnknownSession),
            (StatusCode::METHOD_NOT_ALLOWED, _) => Err(Rejection::MethodNotAllowed),
            (StatusCode::OK, Purpose::Answer | Purpose::Stream) if answer.is(EVENTS) => Ok(Usable::Events),
            (_, Purpose::Answer) if answer.is(JSON) => Ok(Usable::Json),
            // Whatever more it says is said to nobody.
            (_, Purpose::Receipt) if status.is_success() => Ok(Usable::Status),
            _ => Err(self.unusable(reader, "its media type is not one of MCP")),
        }
    }

    /// A JSON answer: read whole, rewritten, sent with its true length.
    async fn json(
        &mut self,
        exchange: &mut Exchange,
        mut answer: BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<(), Failure> {
        let limit = self.door.settings.answer_body;
        // Until the client has taken the answer.
        let mut room = self.door.budgets.answer_body();
        let body = tokio::select! {
            biased;
            body = answer.whole(limit, &mut room) => body,
            gone = exchange.gone() => return Err(gone.into()),
        };
        let body = body.map_err(|error| self.failed(&error, reader.id.clone()))?;
        if let Some(end) = End::of_answer(self.door, reader.identity) {
            self.error = Some(end.label());
            return Err(Rejection::Over { id: reader.id.clone(), end }.into());
        }
        let rewritten = reader.rewrite_answer(&body);
        self.note(&reader.told);
        let Ok(body) = rewritten else {
            return Err(self.unusable(reader, "it is not the answer to this request").into());
        };
        self.heard();
        let status = answer.status();
        let headers = self.answer_headers(&answer, reader, JSON);
        Ok(exchange.answer(response(status, headers, body)).await?)
    }

    /// A stream of events, each rewritten as it comes, until its end, the client's, or the token's.
    async fn events(
        &mut self,
        exchange: &mut Exchange,
        mut answer: BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<(), Failure> {
        if exchange.version() < Version::HTTP_11 {
            // Without framing it would look complete wherever it ended.
            return Err(self.unusable(reader, "it is a stream, which HTTP/1.0 has no framing for").into());
        }
        let headers = self.answer_headers(&answer, reader, EVENTS);
        exchange.begin_stream(StatusCode::OK, &headers).await?;
        self.door.metrics.streams.inc();
        let ending = self.pump(exchange, &mut answer, reader).await;
        self.door.metrics.streams.dec();
        let result = match ending {
            Ok(ending) => self.ended(exchange, reader, ending).await,
            Err(failure) => Err(failure),
        };
        match result {
            Ok(()) => {
                exchange.finish_stream().await?;
                answer.conclude().await;
                Ok(())
            }
            Err(failure) => {
                exchange.cut();
                Err(failure)
            }
        }
    }

    /// Does what is left to do at the end of a stream.
    async fn ended(&mut self, exchange: &mut Exchange, reader: &Reader<'_>, ending: Ending) -> Result<(), Failure> {
        match ending {
            Ending::Whole => Ok(()),
            Ending::Early(end) => self.end_early(exchange, reader, end).await,
            Ending::Broken(error) => {
                let rejection = self.failed(&error, reader.id.clone());
                if reader.id.is_none() {
                    return Err(Failure::Gone);
                }
                // Whoever waits for the answer is told that none comes.
                Ok(exchange.send(sse::message(rejection.response(self.mount).body())).await?)
            }
            Ending::Resumable(error) => {
                self.failed(&error, None);
                Err(Failure::Gone)
            }
        }
    }

    /// Passes events on until the stream, the answer or the token ends.
    async fn pump(
        &mut self,
        exchange: &mut Exchange,
        answer: &mut BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<Ending, Failure> {
        let idle = self.mount.replicas.any().settings().idle_timeout;
        let expires = End::expiry(self.door, reader.identity);
        let ended = End::of_stream(self.door, self.mount, reader, expires);
        tokio::pin!(ended);
        let mut splitter = Splitter::new(self.door.settings.answer_body);
        let mut room = self.door.budgets.answer_body();
        // A client that can go on behind its last event does that, if it sees the stream break off.
        let mut resumable = reader.purpose == Purpose::Stream;
        let broken = |error, resumable| if resumable { Ending::Resumable(error) } else { Ending::Broken(error) };
        loop {
            // The end first: a server that always has something to say does not put it off.
            let piece = tokio::select! {
                biased;
                end = &mut ended => return Ok(Ending::Early(end)),
                piece = answer.next_piece(idle) => piece,
                gone = exchange.gone() => return Err(gone.into()),
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) if resumable || reader.id.is_none() => return Ok(Ending::Whole),
                Ok(None) => return Ok(Ending::Broken(ForwardError::broken("its stream ended without an answer"))),
                Err(error) => return Ok(broken(error, resumable)),
            };
            splitter.push(&piece);
            loop {
                let event = match splitter.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(error) => return Ok(Ending::Broken(ForwardError::broken(&error))),
                };
                let (bytes, is_last) = match reader.rewrite_event(&event) {
                    Ok(Passed::On(bytes)) => (bytes, false),
                    Ok(Passed::Dropped) => continue,
                    Ok(Passed::Last(bytes)) => (bytes, true),
                    Ok(Passed::Closed) => return Ok(Ending::Early(End::Closed)),
                    // It would be no better for being sent again.
                    Err(Unreadable) => return Ok(Ending::Broken(ForwardError::broken(&NOT_READ))),
                };
                resumable |= reader.may_resume_after(&event);
                if is_last {
                    self.note(&reader.told);
                    self.heard();
                }
                match self.pass_on(exchange, bytes, ended.as_mut()).await? {
                    _ if is_last => return Ok(Ending::Whole),
                    Some(end) => return Ok(Ending::Early(end)),
                    None => {}
                }
            }
            if room.resize(splitter.pending()).is_err() {
                return Ok(broken(ForwardError::NoRoom, resumable));
            }
        }
    }

    /// Passes an event on, and says what ended the stream meanwhile. A client that reads slowly does not put off the end
    /// of its rights: with half an event on the way the connection is cut.
    async fn pass_on(
        &mut self,
        exchange: &mut Exchange,
        event: Bytes,
        mut ended: Pin<&mut impl Future<Output = End>>,
    ) -> Result<Option<End>, Failure> {
        let sending = exchange.send(event);
        tokio::pin!(sending);
        tokio::select! {
            biased;
            sent = &mut sending => {
                sent?;
                Ok(None)
            }
            end = &mut ended => {
                if end.is_of_rights() {
                    self.error = Some(end.label());
                    return Err(Failure::Gone);
                }
                sending.await?;
                Ok(Some(end))
            }
        }
    }

    /// The stream ends before its time: in order, and the client is told.
    async fn end_early(&mut self, exchange: &mut Exchange, reader: &Reader<'_>, end: End) -> Result<(), Failure> {
        self.error = Some(end.label());
        if let Some(event) = end.last_event(reader) {
            exchange.send(event).await?;
        }
        Ok(())
    }

    /// The headers of an answer: the few that cross, the media type, and a sealed session id where one begins.
    fn answer_headers(&self, answer: &BackendAnswer<'_>, reader: &Reader<'_>, media: &'static str) -> HeaderMap {
        let mut kept = answer.fields_for_client();
        kept.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        kept.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if reader.introduces_client()
            && let Some(raw) = answer.header(&SESSION)
            && let Some(sealed) = {
                let (backend, subject) = (&self.mount.name, reader.identity.subject());
                let named = Named { backend, replica: self.mount.replicas.mark(answer.upstream()), raw };
                self.door.began.note(&named, subject);
                Session::seal(&self.door.sealer, subject, &named, reader.may_batch)
            }
            && let Ok(value) = HeaderValue::from_str(&sealed)
        {
            kept.insert(SESSION, value);
        }
        kept
    }

    fn unusable(&mut self, reader: &Reader<'_>, why: &str) -> Rejection {
        self.failed(&ForwardError::Broken(why.to_owned()), reader.id.clone())
    }
}

/// Is done with an answer of which the head says everything: its body is not waited for.
pub(super) async fn conclude(answer: BackendAnswer<'_>) {
    if !answer.is(EVENTS) {
        answer.conclude().await;
    }
}

pub(super) fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
