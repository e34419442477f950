//! One message from a client: read strictly, its era found, its headers held against it, ready to be decided.

use bytes::{BufMut, Bytes, BytesMut};
use portcullis_policy::BackendName;
use serde_json::value::RawValue;

use super::edit::{Edit, edit};
use super::jsonrpc::{Envelope, RequestId, members};
use super::method::{Governance, Method};
use super::refusal::Refusal;
use super::request_metadata::{RequestMetadata, encode_header, trim};
use super::settle::{RELATED_TASK, Settled, is_meta_respelled, settle, settle_outcome};
use super::target::{Target, get, target, text};
use super::terms::Terms;
use super::trace::TraceContext;
use super::version::{Era, ProtocolVersion};
use crate::json::resembles;

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Members of `params` and `_meta` that something is decided by or that a backend may decide by.
const KNOWN: [&str; 23] = [
    "name",
    "arguments",
    "uri",
    "cursor",
    "_meta",
    "ref",
    "argument",
    "context",
    "level",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "requestId",
    "reason",
    "progressToken",
    "progress",
    "task",
    "taskId",
    "notifications",
    "requestState",
    "inputResponses",
    META_VERSION,
    META_CAPABILITIES,
];
/// Members of `_meta` that the protocol gives a meaning.
const KNOWN_META: [&str; 6] = [
    META_VERSION,
    META_CAPABILITIES,
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    RELATED_TASK,
    "progressToken",
];

/// Whether a message asks, tells or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It wants an answer.
    Request,
    /// It wants none.
    Notification,
    /// It answers a request of the server (revisions up to 2025-11-25).
    Response,
}

/// A message that can be decided.
#[derive(Debug)]
pub struct ClientMessage {
    backend: BackendName,
    kind: Kind,
    era: Era,
    id: Option<RequestId>,
    method: Option<Method>,
    target: Option<Target>,
    params: Option<Bytes>,
    outcome: Option<(&'static str, Bytes)>,
    trace: Option<TraceContext>,
}

/// Reads the body of a POST to `backend` for a caller who holds nothing sealed; see [`read_message_on`].
///
/// # Errors
///
/// As [`read_message_on`].
pub fn read_message(
    body: &Bytes,
    headers: &RequestMetadata<'_>,
    backend: &BackendName,
) -> Result<ClientMessage, Refusal> {
    read_message_on(body, headers, backend, &Terms::default())
}

/// Reads the body of a POST to `backend` on the terms of its caller: what was handed out sealed is opened, and what
/// the terms do not cover is taken out.
///
/// # Errors
///
/// Returns a [`Refusal`] for whatever could be read in more than one way, is of no known method, contradicts its
/// headers, or shows something sealed that was not given to this caller for this.
pub fn read_message_on(
    body: &Bytes,
    headers: &RequestMetadata<'_>,
    backend: &BackendName,
    terms: &Terms<'_>,
) -> Result<ClientMessage, Refusal> {
    let envelope = Envelope::read(body)?;
    let id = envelope.id.clone();
    let params = match &envelope.params {
        Some(params) => object(params).ok_or_else(|| Refusal::params("`params` must be an object", id.clone()))?,
        None => Vec::new(),
    };
    if params.iter().any(|(name, _)| resembles(name, &KNOWN) || is_respelled(name)) {
        return Err(Refusal::request("A member of `params` resembles a known one", id));
    }
    let (era, trace) = era(&envelope, &params, headers)?;
    match (&envelope.method, &envelope.outcome) {
        (Some(_), Some(_)) => Err(Refusal::request("A message has `method`, or `result` or `error`", id)),
        (None, None) => Err(Refusal::request("`method` is missing", id)),
        (None, Some(_)) => response(envelope, era, backend, terms),
        (Some(name), None) => {
            let method = find(name, era, id.as_ref(), terms)?;
            let target = target(method, &params, id.as_ref(), terms)?;
            let required = era == Era::Modern && id.is_some();
            headers.check(name, target.as_ref(), required, id.as_ref())?;
            let kind = if id.is_some() { Kind::Request } else { Kind::Notification };
            let settled = settled(&params, envelope.params.as_ref(), method, era, target.as_ref(), id.as_ref(), terms)?;
            let (method, backend, params) = (Some(method), backend.clone(), settled.or(envelope.params));
            Ok(ClientMessage { backend, kind, era, id, method, target, params, outcome: None, trace })
        }
    }
}

/// The method, if the backend's features have it.
fn find(name: &str, era: Era, id: Option<&RequestId>, terms: &Terms<'_>) -> Result<Method, Refusal> {
    let method = Method::find(name, era, id.is_some()).filter(|method| match method.governance() {
        Governance::Task => terms.features.tasks,
        Governance::Logging => terms.features.logging,
        _ => true,
    });
    method.ok_or_else(|| Refusal::method(era, id.cloned()))
}

/// The new `params`, where something in them has to be opened or taken out.
fn settled(
    members: &[(String, &RawValue)],
    params: Option<&Bytes>,
    method: Method,
    era: Era,
    target: Option<&Target>,
    id: Option<&RequestId>,
    terms: &Terms<'_>,
) -> Result<Option<Bytes>, Refusal> {
    let touches =
        |name: &str| matches!(name, "_meta" | "capabilities" | "requestState" | "task" | "taskId" | "notifications");
    let Some(params) = params.filter(|_| members.iter().any(|(name, _)| touches(name))) else { return Ok(None) };
    let task = if let Some(Target::Task(task)) = target { Some(task) } else { None };
    let message = Settled { method, era, name: target.map(Target::as_str), task };
    let params = std::str::from_utf8(params).unwrap_or_default();
    Ok(settle(params, &message, terms, id)?.map(Bytes::from))
}

fn response(envelope: Envelope, era: Era, backend: &BackendName, terms: &Terms<'_>) -> Result<ClientMessage, Refusal> {
    if era == Era::Modern {
        return Err(Refusal::request("Clients send no responses in this revision", envelope.id));
    }
    if envelope.id.is_none() || envelope.params.is_some() {
        return Err(Refusal::request("A response has an `id` and no `params`", envelope.id));
    }
    let mut outcome = envelope.outcome;
    if let Some(("result", json)) = &outcome {
        let json = std::str::from_utf8(json).unwrap_or_default();
        let settled = settle_outcome(json, terms);
        let settled = settled.map_err(|_foreign| Refusal::unknown("Task not found", envelope.id.clone()))?;
        outcome = settled.map(|json| ("result", Bytes::from(json))).or(outcome);
    }
    Ok(ClientMessage {
        backend: backend.clone(),
        kind: Kind::Response,
        era,
        id: envelope.id,
        method: None,
        target: None,
        params: None,
        outcome,
        trace: None,
    })
}

/// Whether a reader that takes `snake_case` for `camelCase`, or a field's name for its alias, sees a known member.
fn is_respelled(name: &str) -> bool {
    if KNOWN.contains(&name) {
        return false;
    }
    let flat: String = name.chars().filter(|c| !matches!(c, '_' | '-')).collect();
    is_meta_respelled(name) || (flat.len() < name.len() && KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&flat)))
}

fn object(json: &Bytes) -> Option<Vec<(String, &RawValue)>> {
    std::str::from_utf8(json).ok().and_then(members)
}

/// The era of a message: the body says it (`_meta`), and the header must agree (MCP 2026-07-28, versioning).
fn era(
    envelope: &Envelope,
    params: &[(String, &RawValue)],
    headers: &RequestMetadata<'_>,
) -> Result<(Era, Option<TraceContext>), Refusal> {
    let id = || envelope.id.clone();
    let meta = match get(params, "_meta") {
        Some(meta) => members(meta.get()).ok_or_else(|| Refusal::params("`_meta` must be an object", id()))?,
        None => Vec::new(),
    };
    if meta.iter().any(|(name, _)| resembles(name, &KNOWN_META)) {
        return Err(Refusal::request("A member of `_meta` resembles a known one", id()));
    }
    let trace = TraceContext::read(&meta);
    let version = get(&meta, META_VERSION);
    let spoken = if version.is_some() { Era::Modern } else { Era::Legacy };
    let header = match headers.protocol_version.map(trim) {
        Some(text) => Some(ProtocolVersion::parse(text).ok_or_else(|| Refusal::version(text, spoken, id()))?),
        None => None,
    };
    let header_era = header.map(ProtocolVersion::era);
    let Some(version) = version else {
        if header_era == Some(Era::Modern) && envelope.id.is_some() {
            return Err(Refusal::params("`_meta` lacks io.modelcontextprotocol/protocolVersion", id()));
        }
        return Ok((header_era.unwrap_or(Era::Legacy), trace));
    };
    let version = text(version).ok_or_else(|| Refusal::params("The protocol version must be a string", id()))?;
    if header.map(ProtocolVersion::as_str) != Some(version.as_str()) {
        return Err(match (header, ProtocolVersion::parse(&version)) {
            (None, None) => Refusal::version(&version, spoken, id()),
            _ => Refusal::header("MCP-Protocol-Version does not match the body", id()),
        });
    }
    let capabilities = get(&meta, META_CAPABILITIES).is_some_and(|value| value.get().starts_with('{'));
    if header_era == Some(Era::Modern) && envelope.id.is_some() && !capabilities {
        return Err(Refusal::params("`_meta` lacks io.modelcontextprotocol/clientCapabilities", id()));
    }
    Ok((header_era.unwrap_or(Era::Legacy), trace))
}

impl ClientMessage {
    /// The backend it is meant for.
    #[must_use]
    pub fn backend(&self) -> &BackendName {
        &self.backend
    }

    /// Whether it asks, tells or answers.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its era.
    #[must_use]
    pub fn era(&self) -> Era {
        self.era
    }

    /// Its id; a notification has none.
    #[must_use]
    pub fn id(&self) -> Option<&RequestId> {
        self.id.as_ref()
    }

    /// Its method; a response has none.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        self.method
    }

    /// Whether it speaks of other requests of its session, by ids that mean nothing without one.
    #[must_use]
    pub fn is_of_session(&self) -> bool {
        matches!(self.method, Some(Method::Cancelled | Method::Progress | Method::RootsListChanged))
    }

    /// Whether it begins a session of a client that may send batches: it asks for 2025-03-26.
    #[must_use]
    pub fn may_batch(&self) -> bool {
        let asked = || {
            let params = members(std::str::from_utf8(self.params.as_ref()?).ok()?)?;
            text(get(&params, "protocolVersion")?)
        };
        self.method == Some(Method::Initialize) && asked().as_deref() == Some(ProtocolVersion::V2025_03_26.as_str())
    }

    /// What it reaches for.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Where it says that it belongs.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// Its `params` as they leave: an object, as JSON.
    #[must_use]
    pub fn params(&self) -> Option<&Bytes> {
        self.params.as_ref()
    }

    /// The `arguments` of its `params`, as JSON.
    #[must_use]
    pub fn arguments(&self) -> Option<&str> {
        let params = std::str::from_utf8(self.params.as_ref()?).ok()?;
        get(&members(params)?, "arguments").map(RawValue::get)
    }

    /// What `Mcp-Name` says to a backend, encoded as a header value.
    #[must_use]
    pub fn mirrored_name(&self) -> Option<String> {
        self.target().and_then(Target::mirrored_to_backend).map(encode_header)
    }

    /// The message as a backend gets it: members in one order, each value as it was checked.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.encode_with(None, None)
    }

    /// The same with other `arguments`, those that the policy has decided on, and from another place in a trace.
    #[must_use]
    pub fn encode_with(&self, arguments: Option<&str>, trace: Option<&TraceContext>) -> Bytes {
        let changed = arguments.map(|arguments| Bytes::from(self.params_with(arguments)));
        let params = changed.as_ref().or(self.params.as_ref());
        let text = params.and_then(|params| std::str::from_utf8(params).ok());
        let traced = trace.filter(|_| self.method.is_some()).map(|trace| Bytes::from(trace.write(text)));
        let params = traced.as_ref().or(params);
        let size = params.map_or(0, Bytes::len) + self.outcome.as_ref().map_or(0, |(_, json)| json.len());
        let mut out = BytesMut::with_capacity(size + 384);
        out.put_slice(br#"{"jsonrpc":"2.0""#);
        if let Some(id) = &self.id {
            out.put_slice(br#","id":"#);
            out.put_slice(id.as_json().as_bytes());
        }
        if let Some(method) = self.method {
            out.put_slice(br#","method":""#);
            out.put_slice(method.as_str().as_bytes());
            out.put_slice(b"\"");
        }
        if let Some(params) = params {
            out.put_slice(br#","params":"#);
            out.put_slice(params);
        }
        if let Some((name, json)) = &self.outcome {
            out.put_slice(b",\"");
            out.put_slice(name.as_bytes());
            out.put_slice(b"\":");
            out.put_slice(json);
        }
        out.put_slice(b"}");
        out.freeze()
    }

    fn params_with(&self, arguments: &str) -> String {
        let params = self.params.as_deref().and_then(|params| std::str::from_utf8(params).ok()).unwrap_or("{}");
        let mut found = false;
        let changed = edit(params, &mut |name, _| {
            found |= name == "arguments";
            Ok(if name == "arguments" { Edit::Replace(arguments.to_owned()) } else { Edit::Keep })
        });
        match changed {
            Ok(Some(changed)) if found => changed,
            // INVARIANT: a call has params, for it has a name; arguments that it did not have come last.
            _ => match params.strip_suffix('}') {
                Some("{") | None => format!("{{\"arguments\":{arguments}}}"),
                Some(rest) => format!("{rest},\"arguments\":{arguments}}}"),
            },
        }
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
