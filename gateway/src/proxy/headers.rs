//! Which header fields cross the gateway, in each direction: two lists, and nothing beside them.
//!
//! A request to a backend and an answer to a client are built from nothing, so a field that is not named here does
//! not exist on the other side: no token, cookie, origin or forwarding claim reaches a backend, no cookie, challenge
//! or server name a client. Hop-by-hop fields (RFC 9110 section 7.6.1) need no mention. On neither list are those that
//! the gateway writes itself: the session id, which it seals, and `Mcp-Method` and `Mcp-Name`, which say what was
//! decided.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::trace::Context;

/// The prefix of the fields that mirror tool parameters (MCP 2026-07-28, Streamable HTTP).
const PARAMETER: &str = "mcp-param-";
/// More than any honest value has.
const MAX_VALUE: usize = 4096;
/// More parameter fields than any honest tool has.
pub(super) const MAX_PARAMETERS: usize = 32;

/// The session id of revisions up to 2025-11-25.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Where a request belongs (W3C Trace Context).
pub(super) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors keep beside it.
pub(super) const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// The name of a request, in its answer.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// From client to backend, beside `mcp-param-*`.
const TO_BACKEND: [HeaderName; 5] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("mcp-protocol-version"),
    TRACE_PARENT,
    TRACE_STATE,
];

/// From backend to client.
const TO_CLIENT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("x-accel-buffering"),
];

/// Fields that say one thing or nothing: twice is two answers to one question.
const SINGLE: [HeaderName; 16] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::HOST,
    header::ORIGIN,
    header::REFERER,
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
    SESSION_ID,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("sec-fetch-site"),
];

/// The fields of a request that a backend gets to see; values that are not printable ASCII stay behind, and so does a
/// `traceparent` that is none, with what is kept beside it (W3C Trace Context section 3.3).
pub(super) fn to_backend(sent: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &str)> {
    let parent = sent.get(TRACE_PARENT).and_then(printable);
    let is_traced = parent.is_some_and(|parent| Context::parse(parent, None).is_some());
    let is_listed = move |name: &HeaderName| TO_BACKEND.contains(name) && (is_traced || !is_trace(name));
    let crosses = move |name: &HeaderName| is_listed(name) || is_parameter(name);
    sent.iter().filter(move |(name, _)| crosses(name)).filter_map(|(name, value)| Some((name, printable(value)?)))
}

/// The fields of an answer that a client gets to see; the first value of each.
#[must_use]
pub(super) fn to_client(sent: &HeaderMap) -> HeaderMap {
    let mut seen = HeaderMap::with_capacity(TO_CLIENT.len() + 4);
    for name in TO_CLIENT {
        if let Some(value) = sent.get(&name).filter(|value| printable(value).is_some()) {
            seen.insert(name, value.clone());
        }
    }
    seen
}

/// A field that must not be repeated, and is.
#[must_use]
pub(super) fn repeated(sent: &HeaderMap) -> Option<&HeaderName> {
    let is_single = |name: &HeaderName| SINGLE.contains(name) || is_parameter(name);
    sent.keys().find(|name| is_single(name) && sent.get_all(*name).iter().nth(1).is_some())
}

/// How many tool parameters are mirrored.
#[must_use]
pub(super) fn parameters(sent: &HeaderMap) -> usize {
    sent.keys().filter(|name| is_parameter(name)).count()
}

/// Whether a field says where a request belongs.
pub(super) fn is_trace(name: &HeaderName) -> bool {
    *name == TRACE_PARENT || *name == TRACE_STATE
}

/// Whether a field mirrors a tool's parameter.
pub(super) fn is_parameter(name: &HeaderName) -> bool {
    name.as_str().starts_with(PARAMETER)
}

fn printable(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().filter(|value| value.len() <= MAX_VALUE)
}

/// Whether these bytes can stand in a field line and be read in one way.
pub(super) fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        fields.iter().map(pair).collect()
    }

    #[test]
    fn a_backend_sees_the_protocol_and_nothing_of_the_caller() {
        let sent = map(&[
            ("accept", b"application/json, text/event-stream"),
            ("mcp-protocol-version", b"2026-07-28"),
            ("mcp-name", b"get_forecast"),
            ("mcp-param-region", b"eu"),
            ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("authorization", b"Bearer secret"),
            ("proxy-authorization", b"Basic x"),
            ("cookie", b"a=b"),
            ("origin", b"https://evil.example"),
            ("forwarded", b"for=1.2.3.4"),
            ("x-forwarded-user", b"admin"),
            ("x_forwarded_user", b"admin"),
            ("x-original-url", b"/admin"),
            ("mcp-session-id", b"sealed"),
            ("mcp_session_id", b"x"),
            ("connection", b"accept"),
            ("transfer-encoding", b"chunked"),
            ("content-length", b"5"),
            ("host", b"a"),
        ]);
        let mut names: Vec<&str> = to_backend(&sent).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "mcp-param-region", "mcp-protocol-version", "traceparent"]);
    }

    #[test]
    fn a_client_sees_the_answer_and_nothing_of_the_backend() {
        let sent = map(&[
            ("content-type", b"application/json"),
            ("mcp-session-id", b"s"),
            ("set-cookie", b"a=b"),
            ("server", b"uvicorn"),
            ("location", b"http://internal"),
            ("www-authenticate", b"Bearer"),
            ("x-powered-by", b"x"),
            ("access-control-allow-origin", b"*"),
            ("content-encoding", b"gzip"),
            ("etag", b"\"x\""),
            ("keep-alive", b"timeout=5"),
        ]);
        let names: Vec<String> = to_client(&sent).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["content-type"]);
    }

    #[test]
    fn a_trace_that_is_none_stays_behind_with_its_state() {
        let sent = |parent: &'static [u8]| {
            to_backend(&map(&[("traceparent", parent), ("tracestate", b"a=b"), ("accept", b"*/*")])).count()
        };
        assert_eq!(sent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), 3);
        for bad in [b"00-1-2-01".as_slice(), b"", b"root", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"]
        {
            assert_eq!(sent(bad), 1);
        }
        assert_eq!(to_backend(&map(&[("tracestate", b"a=b")])).count(), 0);
    }

    #[test]
    fn values_beyond_ascii_stay_behind() {
        assert_eq!(to_backend(&map(&[("accept", b"caf\xc3\xa9"), ("mcp-param-a", b"\xff")])).count(), 0);
    }

    #[test]
    fn a_field_that_says_one_thing_is_not_said_twice() {
        assert_eq!(repeated(&map(&[("accept", b"a"), ("accept", b"b"), ("mcp-name", b"a")])), None);
        for name in ["authorization", "content-type", "origin", "mcp-name", "mcp-session-id", "mcp-param-x"] {
            let mut twice = map(&[("accept", b"a")]);
            twice.append(name, HeaderValue::from_static("a"));
            assert_eq!(repeated(&twice), None);
            twice.append(name, HeaderValue::from_static("a"));
            assert_eq!(repeated(&twice).map(HeaderName::as_str), Some(name));
        }
    }
}
