//! The way back: what a backend answers, as the caller may see it.
//!
//! Lists are filtered wherever they come, session ids sealed, results of the modern era made private. An answer that
//! is not to this request, or cannot be read in one way only, is never passed on.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use portcullis_policy::View;

use super::door::{Failure, Visit};
use super::exchange::Exchange;
use super::forward::{BackendAnswer, ForwardError};
use super::rejection::Rejection;
use super::session::Session;
use crate::authn::VerifiedIdentity;
use crate::mcp::answer::{self, Answer};
use crate::mcp::capabilities;
use crate::mcp::list_filter::{self, Filtered, ListKind, Unreadable};
use crate::mcp::sse::{Event, Splitter};
use crate::mcp::{ClientMessage, Era, Kind, Method, RequestId};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Whose answer it is: what was asked, by whom, in which session.
pub(super) struct Reader<'a> {
    identity: &'a VerifiedIdentity,
    session: &'a Session,
    /// The request that is answered; none on the stream of a session.
    id: Option<RequestId>,
    method: Option<Method>,
    era: Era,
}

/// What becomes of one event.
enum Passed {
    /// It goes on, like this.
    On(Bytes),
    /// It does not belong here and is left out.
    Dropped,
    /// It goes on, like this, and is the last.
    Last(Bytes),
}

impl<'a> Reader<'a> {
    pub(super) fn of_message(message: &ClientMessage, identity: &'a VerifiedIdentity, session: &'a Session) -> Self {
        let id = if message.kind() == Kind::Request { message.id().cloned() } else { None };
        Self { identity, session, id, method: message.method(), era: message.era() }
    }

    pub(super) fn of_stream(identity: &'a VerifiedIdentity, session: &'a Session) -> Self {
        Self { identity, session, id: None, method: None, era: Era::Legacy }
    }

    /// The list that the answer holds, if it is one that is filtered.
    fn list(&self) -> Option<ListKind> {
        match self.method? {
            Method::ToolsList => Some(ListKind::Tools),
            Method::PromptsList => Some(ListKind::Prompts),
            Method::ResourcesList => Some(ListKind::Resources),
            Method::ResourceTemplatesList => Some(ListKind::ResourceTemplates),
            Method::Discover => Some(ListKind::Nothing),
            _ => None,
        }
    }
}

impl Visit<'_> {
    /// Passes an answer on.
    pub(super) async fn deliver(
        &mut self,
        exchange: &mut Exchange,
        mut answer: BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<(), Failure> {
        let status = answer.status();
        let media = answer.header(&header::CONTENT_TYPE).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let encoded = answer.headers().contains_key(header::CONTENT_ENCODING);
        let usable = !encoded && (status.is_success() || matches!(status.as_u16(), 400 | 404 | 405));
        if !usable {
            return Err(self.unusable(reader, "its status or encoding cannot be passed on").into());
        }
        match (status, media.as_str()) {
            (StatusCode::NOT_FOUND, _) if reader.session.raw.is_some() => Err(Rejection::UnknownSession.into()),
            (StatusCode::METHOD_NOT_ALLOWED, _) => Err(Rejection::MethodNotAllowed.into()),
            (StatusCode::OK, "text/event-stream") => self.events(exchange, answer, reader).await,
            (_, "application/json") if reader.id.is_some() => self.json(exchange, answer, reader).await,
            _ if status.is_success() && reader.id.is_none() => {
                // A notification was taken, or a session ended: the status is all there is to say.
                let headers = answer.fields_for_client();
                let limit = self.door.settings.answer_body;
                let _ = answer.whole(limit).await;
                Ok(exchange.answer(response(status, headers, Bytes::new())).await?)
            }
            _ => Err(self.unusable(reader, "its media type is not one of MCP").into()),
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
        let body = tokio::select! {
            biased;
            body = answer.whole(limit) => body,
            gone = exchange.gone() => return Err(gone.into()),
        };
        let body = body.map_err(|error| self.failed(&error, reader.id.clone()))?;
        let rewritten = self.rewrite_answer(&body, reader);
        let Ok(body) = rewritten else {
            return Err(self.unusable(reader, "it is not the answer to this request").into());
        };
        let status = answer.status();
        let headers = self.answer_headers(&answer, reader, "application/json");
        Ok(exchange.answer(response(status, headers, body)).await?)
    }

    /// The one answer to this request, filtered where it is a list.
    fn rewrite_answer(&self, body: &Bytes, reader: &Reader<'_>) -> Result<Bytes, Unreadable> {
        let id = reader.id.as_ref().ok_or(Unreadable)?;
        let introduces = matches!(reader.method, Some(Method::Initialize | Method::Discover));
        let body = &if introduces { capabilities::trim(body, id, reader.era)? } else { body.clone() };
        if let Some(kind) = reader.list() {
            let view = self.view(reader);
            let filtered = list_filter::filter(body, kind, id, reader.era, &mut |name| match kind {
                ListKind::Tools => view.tool(name),
                ListKind::Prompts => view.prompt(name),
                ListKind::Resources => view.resource(name),
                ListKind::ResourceTemplates => view.resource_template(name),
                ListKind::Nothing => false,
            })?;
            return Ok(self.counted(filtered));
        }
        match answer::read(body) {
            Some(Answer::Response { id: Some(answered), .. }) if answered == *id => Ok(body.clone()),
            Some(Answer::Response { id: None, .. }) => answer::address_error(body, id).ok_or(Unreadable),
            _ => Err(Unreadable),
        }
    }

    fn counted(&self, filtered: Filtered) -> Bytes {
        for (outcome, number) in [("shown", filtered.shown), ("hidden", filtered.hidden)] {
            let labels = [self.mount.name.as_ref(), outcome];
            self.door.metrics.list_items.with_label_values(&labels).inc_by(number as u64);
        }
        filtered.body
    }

    /// A stream of events, each rewritten as it comes, until its end, the client's, or the token's.
    async fn events(
        &mut self,
        exchange: &mut Exchange,
        mut answer: BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<(), Failure> {
        let headers = self.answer_headers(&answer, reader, "text/event-stream");
        exchange.begin_stream(StatusCode::OK, &headers).await?;
        self.door.metrics.streams.inc();
        let result = self.pump(exchange, &mut answer, reader).await;
        self.door.metrics.streams.dec();
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

    /// Passes events on until the stream, the answer or the token ends.
    async fn pump(
        &mut self,
        exchange: &mut Exchange,
        answer: &mut BackendAnswer<'_>,
        reader: &Reader<'_>,
    ) -> Result<(), Failure> {
        let idle = self.mount.upstream.settings().idle_timeout;
        let good_for = reader.identity.expires_at().since(self.door.clock.now());
        let expired = tokio::time::sleep(good_for.max(Duration::from_secs(1)));
        tokio::pin!(expired);
        let mut splitter = Splitter::new(self.door.settings.answer_body);
        loop {
            let piece = tokio::select! {
                biased;
                piece = answer.next_piece(idle) => piece,
                gone = exchange.gone() => return Err(gone.into()),
                () = &mut expired => return Ok(()),
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.broken(&error)),
            };
            splitter.push(&piece);
            while let Some(event) = splitter.next_event().map_err(|error| self.broken_text(&error.to_string()))? {
                match self.rewrite_event(&event, reader) {
                    Ok(Passed::On(bytes)) => exchange.send(bytes).await?,
                    Ok(Passed::Dropped) => {}
                    Ok(Passed::Last(bytes)) => {
                        exchange.send(bytes).await?;
                        return Ok(());
                    }
                    Err(Unreadable) => {
                        return Err(self.broken_text("an event is not for this request, or cannot be read"));
                    }
                }
            }
        }
    }

    fn rewrite_event(&self, event: &Event, reader: &Reader<'_>) -> Result<Passed, Unreadable> {
        if event.is_malformed() {
            return Err(Unreadable);
        }
        let Some(data) = event.data().filter(|data| !data.is_empty()) else {
            return Ok(Passed::On(event.bytes().clone()));
        };
        let answer = answer::read(data.as_bytes()).ok_or(Unreadable)?;
        if !answer::is_known(&answer, reader.era) {
            return Ok(Passed::Dropped);
        }
        match answer {
            Answer::Response { .. } => return self.rewrite_response(event, &data.into(), reader),
            Answer::Request { id, .. } => self.door.asked.ask(&reader.session.key, id),
            Answer::Notification { method } if method == answer::RESOURCE_UPDATED => {
                let uri = answer::updated_resource(data.as_bytes()).ok_or(Unreadable)?;
                if !self.view(reader).resource(&uri) {
                    return Ok(Passed::Dropped);
                }
            }
            Answer::Notification { .. } => {}
        }
        Ok(Passed::On(event.bytes().clone()))
    }

    fn view(&self, reader: &Reader<'_>) -> View<'_> {
        self.door.policy.view(reader.identity.subject(), &self.mount.name)
    }

    fn rewrite_response(&self, event: &Event, data: &Bytes, reader: &Reader<'_>) -> Result<Passed, Unreadable> {
        let unchanged = |body: &Bytes| if body == data { event.bytes().clone() } else { event.with_data(body) };
        if reader.id.is_some() {
            return Ok(Passed::Last(unchanged(&self.rewrite_answer(data, reader)?)));
        }
        // A resumed answer on the stream of a session: its request is not known, its shape is.
        let view = self.view(reader);
        let filtered = list_filter::filter_by_shape(data, reader.era, &mut |kind, name| match kind {
            ListKind::Tools => view.tool(name),
            ListKind::Prompts => view.prompt(name),
            ListKind::Resources => view.resource(name),
            ListKind::ResourceTemplates => view.resource_template(name),
            ListKind::Nothing => false,
        })?;
        Ok(Passed::On(unchanged(&self.counted(filtered))))
    }

    /// The headers of an answer: the few that cross, the media type, and a sealed session id where one begins.
    fn answer_headers(&self, answer: &BackendAnswer<'_>, reader: &Reader<'_>, media: &'static str) -> HeaderMap {
        let mut kept = answer.fields_for_client();
        kept.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        kept.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if reader.method == Some(Method::Initialize)
            && let Some(raw) = answer.header(&SESSION)
            && let Some(sealed) = Session::seal(&self.door.sealer, &self.mount.name, reader.identity.subject(), raw)
            && let Ok(value) = HeaderValue::from_str(&sealed)
        {
            kept.insert(SESSION, value);
        }
        kept
    }

    fn unusable(&mut self, reader: &Reader<'_>, why: &str) -> Rejection {
        self.failed(&ForwardError::Broken(why.to_owned()), reader.id.clone())
    }

    fn broken(&mut self, error: &ForwardError) -> Failure {
        self.failed(error, None);
        Failure::Gone
    }

    fn broken_text(&mut self, why: &str) -> Failure {
        self.broken(&ForwardError::Broken(why.to_owned()))
    }
}

fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
