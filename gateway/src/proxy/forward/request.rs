//! What goes to a backend: written from nothing but a permitted act and allow-listed fields.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use portcullis_policy::{Act, BackendName, Permitted};

use super::super::headers;
use crate::backend::Upstream;
use crate::backend::caller::Field;
use crate::mcp::{ClientMessage, EndSession, Era, OpenStream, TraceContext, encode_header};

/// A body up to here is written together with the head.
const ONE_WRITE: usize = 16 * 1024;
const HEAD_CAPACITY: usize = 1024;

/// One complete request, as bytes.
pub struct UpstreamRequest {
    backend: BackendName,
    head: BytesMut,
    body: Bytes,
    /// Whether sending it twice does nothing twice.
    repeatable: bool,
}

impl UpstreamRequest {
    /// A message as it was decided; `session` is the backend's own id.
    #[must_use]
    pub fn message<'h>(
        upstream: &Upstream,
        message: &Permitted<ClientMessage>,
        sent: impl Into<Sent<'h>>,
        session: Option<&str>,
    ) -> Self {
        let permit = message.permit();
        let sent = sent.into();
        let body = message.act().encode_with(permit.arguments(), sent.trace);
        let fields = Sent { parameters: permit.mirrored().is_none(), ..sent };
        let mut head = begin(b"POST", upstream, fields, session, body.len().min(ONE_WRITE));
        for (name, value) in permit.mirrored().unwrap_or_default() {
            line(&mut head, &format!("mcp-param-{name}"), &encode_header(value));
        }
        if let (Some(method), Era::Modern) = (message.act().method(), message.act().era()) {
            line(&mut head, "mcp-method", method.as_str());
            if let Some(name) = message.act().mirrored_name() {
                line(&mut head, "mcp-name", &name);
            }
        }
        line(&mut head, "content-type", "application/json");
        line(&mut head, "content-length", &body.len().to_string());
        head.put_slice(b"\r\n");
        let backend = message.act().backend().clone();
        if body.len() > ONE_WRITE {
            return Self { backend, head, body, repeatable: false };
        }
        head.put_slice(&body);
        Self { backend, head, body: Bytes::new(), repeatable: false }
    }

    /// The stream of a session, from after `last_event` if one is named.
    #[must_use]
    pub fn stream<'h>(
        upstream: &Upstream,
        act: &Permitted<OpenStream>,
        sent: impl Into<Sent<'h>>,
        session: &str,
        last_event: Option<&str>,
    ) -> Self {
        let mut head = begin(b"GET", upstream, sent.into(), Some(session), 0);
        if let Some(event) = last_event {
            line(&mut head, "last-event-id", event);
        }
        Self::without_body(act.act().backend(), head, true)
    }

    /// The end of a session.
    #[must_use]
    pub fn end<'h>(upstream: &Upstream, act: &Permitted<EndSession>, sent: impl Into<Sent<'h>>, session: &str) -> Self {
        Self::without_body(act.act().backend(), begin(b"DELETE", upstream, sent.into(), Some(session), 0), false)
    }

    fn without_body(backend: &BackendName, mut head: BytesMut, repeatable: bool) -> Self {
        head.put_slice(b"\r\n");
        Self { backend: backend.clone(), head, body: Bytes::new(), repeatable }
    }

    /// With fields of the gateway's own, which no client can send: those it sent are not among the ones that cross.
    #[must_use]
    pub fn with_fields(mut self, fields: &[Field]) -> Self {
        if fields.is_empty() {
            return self;
        }
        let mut more = BytesMut::with_capacity(HEAD_CAPACITY);
        for (name, value) in fields {
            line(&mut more, name, value);
        }
        // Behind the request line, which begin() wrote.
        if let Some(end) = memchr::memmem::find(&self.head, b"\r\n") {
            let rest = self.head.split_off(end + 2);
            self.head.unsplit(more);
            self.head.unsplit(rest);
        }
        self
    }

    pub(super) fn backend(&self) -> &BackendName {
        &self.backend
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    pub(super) fn bytes(&self) -> impl Buf {
        Buf::chain(&self.head[..], &self.body[..])
    }
}

/// What the client sent, and whether its mirrors of parameters still say what is in the body.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'h> {
    fields: &'h HeaderMap,
    parameters: bool,
    trace: Option<&'h TraceContext>,
}

impl<'h> From<&'h HeaderMap> for Sent<'h> {
    fn from(fields: &'h HeaderMap) -> Self {
        Self { fields, parameters: true, trace: None }
    }
}

impl<'h> Sent<'h> {
    /// From this place in a trace; without one, from where the client says.
    #[must_use]
    pub fn from_span(self, trace: Option<&'h TraceContext>) -> Self {
        Self { trace, ..self }
    }
}

/// Request line and fields, without the last line break.
fn begin(method: &[u8], upstream: &Upstream, sent: Sent<'_>, session: Option<&str>, body: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(HEAD_CAPACITY + body);
    head.put_slice(method);
    head.put_u8(b' ');
    head.put_slice(upstream.target().as_bytes());
    head.put_slice(b" HTTP/1.1\r\n");
    line(&mut head, "host", upstream.host_header());
    line(&mut head, "accept-encoding", "identity");
    for (name, value) in headers::to_backend(sent.fields) {
        let is_replaced = sent.trace.is_some() && headers::is_trace(name);
        if is_replaced || (headers::is_parameter(name) && !sent.parameters) {
            continue;
        }
        line(&mut head, name.as_str(), value);
    }
    if let Some(trace) = sent.trace {
        line(&mut head, "traceparent", &trace.parent);
        if let Some(state) = &trace.state {
            line(&mut head, "tracestate", state);
        }
    }
    if let Some(session) = session {
        line(&mut head, "mcp-session-id", session);
    }
    head
}

/// A field line. INVARIANT: nothing that could end the line gets into it; such a value is left out.
fn line(head: &mut BytesMut, name: &str, value: &str) {
    if !headers::is_printable(value.as_bytes()) {
        return;
    }
    for part in [name, ": ", value, "\r\n"] {
        head.put_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_would_end_its_line_is_left_out() {
        let mut head = BytesMut::new();
        line(&mut head, "mcp-name", "a\r\nx-evil: 1");
        line(&mut head, "mcp-name", "ä");
        line(&mut head, "mcp-name", "a b");
        assert_eq!(head, "mcp-name: a b\r\n");
    }
}
