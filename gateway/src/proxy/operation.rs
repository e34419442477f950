//! What is measured and traced of one message on its way: how long it took as its client sees it, and as the gateway
//! sees the backend, and what came of it.
//!
//! A span says what was asked and what came of it, and of the caller nothing: who it was is in the audit trail, under
//! the request's id.

use std::sync::{Arc, OnceLock};

use http::Version;
use sha2::{Digest, Sha256};

use super::door::{Failure, Visit};
use super::exchange::Exchange;
use super::headers;
use super::rejection::Rejection;
use crate::backend::Upstream;
use crate::clock::Stopwatch;
use crate::mcp::{ClientMessage, Fault, Method, ProtocolVersion, RequestId, Target, TraceContext};
use crate::metrics::Reason;
use crate::metrics::operations::{Side, Timed};
use crate::trace::context::Hex;
use crate::trace::{Context, Span};

/// Names and ids in a span are cut to that.
const MAX_TEXT: usize = 128;

/// One message on its way.
pub(super) struct Operation {
    method: Option<Method>,
    started: Stopwatch,
    timed: Option<Arc<Timed>>,
    /// While the backend works on it.
    at_backend: Option<Stopwatch>,
    traced: Option<Traced>,
}

/// Its spans.
struct Traced {
    server: Span,
    client: Option<Span>,
    /// What the caller's vendors keep, where its trace is gone on with.
    state: Option<String>,
}

/// What an answer says went wrong; told once.
pub(super) type Told = OnceLock<Fault>;

impl Visit<'_> {
    /// A message of a verified caller has been read.
    pub(super) fn begin(&mut self, exchange: &Exchange, message: &ClientMessage, started: Stopwatch) {
        let standing = self.door.standing();
        let (named, backend) = (message.target(), &self.mount.name);
        let name = match named {
            Some(Target::Tool(name) | Target::Prompt(name)) => Some(name.as_str()),
            _ => None,
        };
        let known = |name: &str| match named {
            Some(Target::Prompt(_)) => standing.knows_prompt(backend, name),
            _ => standing.knows_tool(backend, name),
        };
        let method = message.method();
        let timed = method.and_then(|method| self.mount.series.operations.of(method, name, known));
        let mut traced = self.trace(exchange, message, started);
        if let (Some(traced), Some(tool)) = (&mut traced, timed.as_ref().and_then(|timed| timed.tool())) {
            traced.name(method, "gen_ai.tool.name", tool);
        }
        self.fault = None;
        self.trace = traced.as_ref().map(|traced| traced.server.trace_id());
        self.operation = Some(Operation { method, started, timed, at_backend: None, traced });
    }

    /// Its span, if it is sampled. What the message says of its place comes before what its request says
    /// (OpenTelemetry conventions for MCP, Context propagation).
    fn trace(&self, exchange: &Exchange, message: &ClientMessage, started: Stopwatch) -> Option<Traced> {
        let tracer = self.door.tracer.as_ref()?;
        let method = message.method()?;
        let of_message = message.trace().and_then(|trace| Context::parse(&trace.parent, trace.state.as_deref()));
        let of_request = exchange
            .header(&headers::TRACE_PARENT)
            .and_then(|parent| Context::parse(parent, exchange.header(&headers::TRACE_STATE)));
        let parent = of_message.as_ref().or(of_request.as_ref());
        let mut span = tracer.begin(parent)?;
        if let (Some(message), Some(request)) = (&of_message, &of_request)
            && message.span_id != request.span_id
        {
            span.link(request);
        }
        span.since(started);
        span.call(method.as_str().to_owned());
        describe(&mut span, method, message.id());
        span.set("portcullis.request_id", self.id.to_string());
        span.set("portcullis.backend", self.mount.name.to_string());
        let version = exchange.header(&super::door::VERSION).and_then(ProtocolVersion::parse);
        if let Some(version) = version {
            span.set("mcp.protocol.version", version.as_str());
        }
        if let Some(session) = exchange.header(&headers::SESSION_ID) {
            span.set("mcp.session.id", digest(session));
        }
        let version = if exchange.version() == Version::HTTP_2 { "2" } else { "1.1" };
        span.set("network.protocol.version", version);
        Some(Traced { server: span, client: None, state: parent.and_then(|parent| parent.state.clone()) })
    }

    /// The policy opens it: what it is called can be told.
    pub(super) fn opened(&mut self, message: &ClientMessage) {
        let Some(operation) = &mut self.operation else { return };
        let Some(traced) = &mut operation.traced else { return };
        match message.target() {
            Some(Target::Tool(name)) => traced.name(operation.method, "gen_ai.tool.name", name),
            Some(Target::Prompt(name)) => traced.name(operation.method, "gen_ai.prompt.name", name),
            _ => {}
        }
    }

    /// It is sent to a server; what it says there of its place.
    pub(super) fn sent(&mut self, upstream: &Upstream) -> Option<TraceContext> {
        let operation = self.operation.as_mut()?;
        operation.at_backend = Some(Stopwatch::start());
        let method = operation.method?;
        let traced = operation.traced.as_mut()?;
        let mut span = traced.server.client();
        describe(&mut span, method, None);
        span.set("server.address", upstream.host().to_owned());
        span.set("server.port", upstream.port());
        span.set("network.protocol.version", "1.1");
        let context = span.context(traced.state.clone());
        traced.client = Some(span);
        Some(TraceContext { parent: context.parent(), state: context.state })
    }

    /// The server has nothing more to say to it, or is not listened to any more.
    pub(super) fn heard(&mut self) {
        let Some(operation) = &mut self.operation else { return };
        let Some(since) = operation.at_backend.take() else { return };
        let error = self.error.or(self.fault.map(|fault| fault.label));
        if let Some(timed) = &operation.timed {
            self.mount.series.operations.observe(Side::Client, timed, since.elapsed(), error);
        }
        let client = operation.traced.as_mut().and_then(|traced| traced.client.take());
        if let (Some(mut span), Some(tracer)) = (client, &self.door.tracer) {
            tell(&mut span, error, self.fault);
            tracer.take(span);
        }
    }

    /// What the answer says went wrong, if it says so.
    pub(super) fn note(&mut self, told: &Told) {
        self.fault = told.get().copied();
    }

    /// It is over.
    pub(super) fn done<T>(&mut self, result: &Result<T, Failure>) {
        self.heard();
        let Some(operation) = self.operation.take() else { return };
        let refused = match result {
            Err(Failure::Rejected(rejection)) => Some(rejection).filter(|one| one.reason() != Reason::None),
            _ => None,
        };
        let failed = match result {
            Err(Failure::Gone | Failure::Outdated) => Some(self.error.unwrap_or("client_gone")),
            _ => self.error.or(self.fault.filter(|fault| !fault.is_callers).map(|fault| fault.label)),
        };
        let error = failed.or(refused.map(|rejection| rejection.reason().as_str()));
        if let Some(timed) = &operation.timed {
            self.mount.series.operations.observe(Side::Server, timed, operation.started.elapsed(), error);
        }
        if let (Some(Traced { server: mut span, .. }), Some(tracer)) = (operation.traced, &self.door.tracer) {
            decided(&mut span, refused);
            let unavailable = refused.filter(|rejection| rejection.reason() == Reason::Unavailable);
            tell(&mut span, failed.or(unavailable.map(|_| Reason::Unavailable.as_str())), self.fault);
            tracer.take(span);
        }
    }
}

impl Traced {
    /// What is called or asked for.
    fn name(&mut self, method: Option<Method>, key: &'static str, name: &str) {
        if self.server.has(key) {
            return;
        }
        let name = cut(name);
        let method = method.map_or("", Method::as_str);
        self.server.call(format!("{method} {name}"));
        self.server.set(key, name);
    }
}

/// What both spans of an operation say.
fn describe(span: &mut Span, method: Method, id: Option<&RequestId>) {
    span.set("mcp.method.name", method.as_str());
    if method == Method::ToolsCall {
        span.set("gen_ai.operation.name", "execute_tool");
    }
    if let Some(id) = id {
        span.set("jsonrpc.request.id", cut(id.as_json().trim_matches('"')));
    }
    span.set("network.transport", "tcp");
    span.set("network.protocol.name", "http");
}

/// What went wrong, if anything did.
fn tell(span: &mut Span, error: Option<&'static str>, fault: Option<Fault>) {
    if let Some(fault) = fault.filter(|fault| fault.label.starts_with('-')) {
        span.set("rpc.response.status_code", fault.label);
    }
    if let Some(error) = error {
        span.fail(error);
    }
}

/// What was decided. That somebody is refused is no failure of the gateway's.
fn decided(span: &mut Span, refused: Option<&Rejection>) {
    let decision = match refused {
        None => "allow",
        Some(Rejection::InsufficientScope { .. }) => "challenge",
        Some(_) => "deny",
    };
    span.set("portcullis.decision", decision);
    if let Some(rejection) = refused {
        span.set("portcullis.reason", rejection.reason().as_str());
    }
}

/// Tells sessions apart without telling what they are.
fn digest(session: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(session).into();
    Hex(digest.get(..8).unwrap_or_default()).to_string()
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
