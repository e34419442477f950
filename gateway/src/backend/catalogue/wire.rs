//! One JSON-RPC message to a backend from the gateway itself, and what it answers: JSON, or the event that is the
//! answer.
//!
//! What callers send never comes here; this speaks for nobody and asks for lists only, and in probes. Not rmcp's client: it reads
//! answers into a typed model, so that members said twice and members it does not know are gone before anything could
//! be compared, and it bounds neither bytes nor depth; and connections are [`Upstream`]'s, with its TLS and health.

use std::fmt::Write;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, StatusCode, header};
use pingora_core::protocols::http::v1::client::HttpSession;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::Unreadable;
use crate::backend::{ConnectError, Upstream};
use crate::json;
use crate::mcp::answer::TOOLS_CHANGED;
use crate::mcp::sse::Splitter;

/// More than any honest server says before it answers.
const MAX_INTERIM: usize = 8;
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Why a catalogue could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the backend's answer is broken: {0}")]
    Broken(String),
    /// It took too long.
    #[error("the backend took too long to list its tools")]
    Timeout,
    /// An HTTP status that is no answer.
    #[error("the backend answers with HTTP status {0}")]
    Status(u16),
    /// A JSON-RPC error.
    #[error("the backend answers with error {code}: {message:?}")]
    Refused {
        /// The JSON-RPC code.
        code: i64,
        /// What the backend says.
        message: String,
    },
    /// What came is no catalogue.
    #[error("the backend's list of tools cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
}

impl FetchError {
    /// Its label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::Status(_) | Self::Refused { .. } => "refused",
            Self::Unreadable(_) => "unreadable",
        }
    }

    fn broken(why: &impl ToString) -> Self {
        Self::Broken(why.to_string())
    }
}

/// What goes to the backend.
pub(in crate::backend) struct Ask<'a> {
    pub(in crate::backend) method: &'static str,
    /// Another path than that of its endpoint.
    pub(in crate::backend) path: Option<&'a str>,
    pub(in crate::backend) fields: &'a [(&'a str, &'a str)],
    /// A message; a GET without one.
    pub(in crate::backend) body: Option<&'a Value>,
}

/// What came back.
#[derive(Debug, Default)]
pub(in crate::backend) struct Reply {
    pub(in crate::backend) status: u16,
    /// The session that it began.
    pub(in crate::backend) session: Option<String>,
    /// `result` of the answer.
    pub(in crate::backend) result: Option<Value>,
    /// `error` of the answer.
    pub(in crate::backend) error: Option<Value>,
    /// Whether the backend said on the way that its tools have changed.
    pub(in crate::backend) changed: bool,
    /// Bytes of the body.
    pub(in crate::backend) bytes: usize,
}

/// Asks, and reads the whole answer, at most `limit` bytes of it.
pub(in crate::backend) async fn ask(upstream: &Upstream, ask: Ask<'_>, limit: usize) -> Result<Reply, FetchError> {
    let mut session = open(upstream, &ask).await?;
    let (status, media, began) = head(&session)?;
    let mut reply = Reply { status: status.as_u16(), session: began, ..Reply::default() };
    let wants = ask.body.and_then(|body| body.get("id"));
    let Some(id) = wants.filter(|_| status.is_success() || media == "application/json") else { return Ok(reply) };
    match media.as_str() {
        "application/json" => {
            let body = whole(&mut session, limit).await?;
            reply.bytes = body.len();
            take(&mut reply, &body, id)?;
        }
        "text/event-stream" => from_stream(&mut session, &mut reply, id, limit).await?,
        _ => return Err(FetchError::broken(&"its media type is not one of MCP")),
    }
    Ok(reply)
}

/// A stream of the backend's, of which only one thing matters: when its tools change.
pub(super) struct Stream {
    session: HttpSession,
    splitter: Splitter,
}

/// Opens a stream; the backend's status when it gives none.
pub(super) async fn stream(upstream: &Upstream, ask: Ask<'_>, limit: usize) -> Result<Stream, FetchError> {
    let session = open(upstream, &ask).await?;
    let (status, media, _) = head(&session)?;
    if status != StatusCode::OK || media != "text/event-stream" {
        return Err(FetchError::Status(status.as_u16()));
    }
    Ok(Stream { session, splitter: Splitter::new(limit) })
}

impl Stream {
    /// Waits until the backend says that its tools have changed; `false` at the end of the stream.
    pub(super) async fn changed(&mut self, idle: Duration) -> Result<bool, FetchError> {
        loop {
            while let Some(event) = self.splitter.next_event().map_err(|error| FetchError::broken(&error))? {
                if event.data().is_some_and(|data| tells_of_change(&data)) {
                    return Ok(true);
                }
            }
            let piece = tokio::time::timeout(idle, self.session.read_body_bytes()).await;
            let Ok(piece) = piece else { return Err(FetchError::Timeout) };
            match piece.map_err(|error| FetchError::broken(&error))? {
                Some(piece) => self.splitter.push(&piece),
                None => return Ok(false),
            }
        }
    }
}

async fn open(upstream: &Upstream, ask: &Ask<'_>) -> Result<HttpSession, FetchError> {
    let request = request(upstream, ask);
    let mut stream = upstream.connect().await?;
    stream.write_all(&request).await.map_err(|error| FetchError::broken(&error))?;
    stream.flush().await.map_err(|error| FetchError::broken(&error))?;
    let mut session = HttpSession::new(stream);
    for _ in 0..=MAX_INTERIM {
        session.read_response().await.map_err(|error| FetchError::broken(&error))?;
        match session.get_status() {
            Some(status) if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS => {}
            Some(status) if !status.is_informational() => return Ok(session),
            _ => break,
        }
    }
    Err(FetchError::broken(&"it has no final answer"))
}

/// A connection of its own for each: the fetches are few, and a listener's stays open.
fn request(upstream: &Upstream, ask: &Ask<'_>) -> Bytes {
    let body = ask.body.map(Value::to_string).unwrap_or_default();
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: {}\r\n",
        ask.method,
        ask.path.unwrap_or(upstream.target()),
        upstream.host_header()
    );
    head.push_str("accept: application/json, text/event-stream\r\naccept-encoding: identity\r\nconnection: close\r\n");
    for (name, value) in ask.fields {
        // A value of the backend's own that could end its line is left out; the backend then does not know its session.
        if value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    if ask.body.is_some() {
        let _ = write!(head, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    head.push_str(&body);
    head.into()
}

/// Status, media type and session of an answer.
fn head(session: &HttpSession) -> Result<(StatusCode, String, Option<String>), FetchError> {
    let head = session.resp_header().ok_or_else(|| FetchError::broken(&"it has no head"))?;
    let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    if text(&header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(FetchError::broken(&"it is encoded, which was not asked for"));
    }
    let media = text(&header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
    Ok((head.status, media.trim().to_ascii_lowercase(), text(&SESSION).map(str::to_owned)))
}

async fn whole(session: &mut HttpSession, limit: usize) -> Result<BytesMut, FetchError> {
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_body_bytes().await.map_err(|error| FetchError::broken(&error))? {
        if body.len() + piece.len() > limit {
            return Err(Unreadable::TooMuch("more bytes than `limits.answer_body`").into());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

async fn from_stream(session: &mut HttpSession, reply: &mut Reply, id: &Value, limit: usize) -> Result<(), FetchError> {
    let mut splitter = Splitter::new(limit);
    while let Some(piece) = session.read_body_bytes().await.map_err(|error| FetchError::broken(&error))? {
        reply.bytes += piece.len();
        if reply.bytes > limit {
            return Err(Unreadable::TooMuch("more bytes than `limits.answer_body`").into());
        }
        splitter.push(&piece);
        while let Some(event) = splitter.next_event().map_err(|error| FetchError::broken(&error))? {
            let Some(data) = event.data().filter(|data| !data.is_empty()) else { continue };
            reply.changed |= tells_of_change(&data);
            if is_answer(&data) {
                return take(reply, data.as_bytes(), id);
            }
        }
    }
    Err(FetchError::broken(&"its stream ended without an answer"))
}

fn tells_of_change(data: &str) -> bool {
    data.contains(TOOLS_CHANGED)
        && serde_json::from_str::<Value>(data).is_ok_and(|message| message.get("method") == Some(&TOOLS_CHANGED.into()))
}

fn is_answer(data: &str) -> bool {
    // What cannot be read is taken for the answer, and refused as one.
    serde_json::from_str::<Value>(data).map_or(true, |message| message.get("method").is_none())
}

/// Reads the answer to `id`, in one way only.
fn take(reply: &mut Reply, body: &[u8], id: &Value) -> Result<(), FetchError> {
    let unreadable = |why: &str| FetchError::from(Unreadable::Answer(why.to_owned()));
    let text = std::str::from_utf8(body).map_err(|_not_utf8| unreadable("it is not UTF-8"))?;
    json::check(text, json::MAX_DEPTH)
        .map_err(|error| unreadable(&format!("it is not JSON with one meaning: {error}")))?;
    let mut message: Value = serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
    let Some(members) = message.as_object_mut() else { return Err(unreadable("it is no JSON-RPC message")) };
    let (result, error) = (members.remove("result"), members.remove("error"));
    let answered = members.get("id");
    let of_nobody = error.is_some() && answered.is_none_or(Value::is_null);
    if !of_nobody && answered != Some(id) {
        return Err(unreadable("it answers another request"));
    }
    if result.is_some() == error.is_some() {
        return Err(unreadable("it has a result and an error, or neither"));
    }
    (reply.result, reply.error) = (result, error);
    Ok(())
}
