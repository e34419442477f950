//! Pages of other origins that call a backend's path (Fetch, CORS protocol): which may, and what they may read.
//!
//! An origin is listed or it is foreign; a listed one is named in every answer, refusals included, so that its page
//! can read a challenge. There is no answer for everybody (`*`), and no credentials: a page brings a bearer, and no
//! cookie counts here. The authorization server's own endpoints have `oauth/cors.rs`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::exchange::Exchange;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Mcp-Session-Id, WWW-Authenticate, MCP-Protocol-Version, Retry-After, X-Request-Id");
/// As long as Chromium remembers a preflight answer at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// What a page may send, beside `Mcp-*`; `Mcp-Param-*` is open-ended (MCP 2026-07-28, Streamable HTTP).
const SENDABLE: [&str; 7] =
    ["authorization", "content-type", "accept", "accept-language", "last-event-id", "traceparent", "tracestate"];
/// More fields than any honest page asks for.
const MAX_ASKED: usize = 64;

/// What every answer to a page of this origin carries.
pub(super) fn fields(origin: &HeaderValue) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(3);
    fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    fields.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    fields.insert(header::VARY, HeaderValue::from_static("Origin"));
    fields
}

/// The answer to a preflight request; `None` for any other.
pub(super) fn preflight(exchange: &Exchange) -> Option<Response<Bytes>> {
    let sent = |name| exchange.headers().contains_key(name);
    let asks = sent(header::ORIGIN) && sent(header::ACCESS_CONTROL_REQUEST_METHOD);
    if *exchange.method() != Method::OPTIONS || !asks {
        return None;
    }
    let asked = exchange.header(&header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if let Ok(granted) = HeaderValue::from_str(&granted(asked)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, granted);
    }
    Some(response)
}

/// Of the fields that a page asks to send, those it may.
fn granted(asked: &str) -> String {
    let names = asked.split(',').take(MAX_ASKED).map(|name| name.trim().to_ascii_lowercase());
    let may = |name: &String| {
        let sendable = SENDABLE.contains(&name.as_str()) || name.starts_with("mcp-");
        sendable && HeaderName::from_bytes(name.as_bytes()).is_ok()
    };
    names.filter(may).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_send_what_the_protocol_has_and_nothing_else() {
        let asked = "authorization,Content-Type, mcp-protocol-version,MCP-Param-City,x-forwarded-for, cookie,mcp-a b,";
        assert_eq!(granted(asked), "authorization, content-type, mcp-protocol-version, mcp-param-city");
        assert_eq!(granted(""), "");
        assert_eq!(granted(&"mcp-a,".repeat(1000)).split(',').count(), MAX_ASKED);
    }

    #[test]
    fn an_answer_names_the_one_origin() {
        let fields = fields(&HeaderValue::from_static("https://app.example"));
        assert_eq!(fields[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(fields[header::VARY], "Origin");
        assert!(!fields.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
}
