//! What the head of a request must be before anything else looks at it (RFC 9110, RFC 9112, read strictly).
//!
//! Two readers of one request must see one request: whatever has its framing, target or host open to two readings is
//! refused, over HTTP/1.1 and HTTP/2 alike; but a fragment in `:path`, which the parser of HTTP/2 drops before anybody
//! sees it, is nobody's. Knows no route and no policy: which hosts, paths and methods exist is
//! decided later.

use http::{HeaderMap, Method, StatusCode, Version, header, uri};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;

use super::{headers, raw_head};

/// As much as common servers take; Pingora would take 1 MiB.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;
/// Room for the identity provider's codes, which come back to the callback in the query.
const MAX_TARGET: usize = 8 * 1024;
const MAX_HOST: usize = 255;

/// Why a head is refused: the status, and words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) StatusCode, pub(super) &'static str);

const fn bad(text: &'static str) -> Fault {
    Fault(StatusCode::BAD_REQUEST, text)
}

/// Checks a head that Pingora's parser has read.
pub(super) fn check(session: &mut ServerSession) -> Result<(), Fault> {
    let has_body = !session.is_body_empty();
    let head = session.req_header();
    size(&head.headers)?;
    let raw = session.as_http1().map(HttpSession::get_headers_raw_bytes);
    if let Some(raw) = &raw {
        sound(raw, head.version)?;
    }
    method(&head.method, has_body)?;
    target(raw.as_deref().map_or_else(|| head.raw_path(), raw_head::target))?;
    host(&head.headers, head.uri.authority())?;
    fields(&head.headers)
}

/// Whether Pingora refused to read a head because there was too much of it.
pub(super) fn is_too_large(error: &pingora_core::Error) -> bool {
    let said = error.to_string();
    said.contains("too many headers") || said.contains("header larger than")
}

pub(super) const TOO_LARGE: Fault =
    Fault(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The header fields are too large");

fn size(fields: &HeaderMap) -> Result<(), Fault> {
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    let fits =
        bytes <= MAX_HEAD && fields.len() <= MAX_FIELDS && headers::parameters(fields) <= headers::MAX_PARAMETERS;
    if fits { Ok(()) } else { Err(TOO_LARGE) }
}

fn sound(head: &[u8], version: Version) -> Result<(), Fault> {
    raw_head::check(head, version != Version::HTTP_11).map_err(|unsound| {
        tracing::debug!(%unsound, "a request head is refused");
        bad("The head of the request is malformed")
    })
}

fn method(method: &Method, has_body: bool) -> Result<(), Fault> {
    match *method {
        Method::CONNECT | Method::TRACE => Err(Fault(StatusCode::METHOD_NOT_ALLOWED, "The method is not served")),
        Method::POST => Ok(()),
        _ if has_body => Err(bad("Only a POST has a body")),
        _ => Ok(()),
    }
}

/// Origin form only (RFC 9112 section 3.2.1), in printable ASCII.
///
/// Pingora percent-encodes what its parser cannot take, a CR or a space for instance, and then what is not ASCII as well;
/// no path here has any of it in either form, so the encoded ones stand for the raw ones.
fn target(target: &[u8]) -> Result<(), Fault> {
    if target.len() > MAX_TARGET {
        return Err(Fault(StatusCode::URI_TOO_LONG, "The request target is too long"));
    }
    let printable = target.iter().all(|byte| (0x21..0x7f).contains(byte) && !matches!(byte, b'#' | b'\\'));
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if target.first() == Some(&b'/') && printable && !has_control(path) && !is_mended(path) {
        Ok(())
    } else {
        Err(bad("The request target is malformed"))
    }
}

/// Whether there is a control character in a target, percent-encoded: by an honest client in its query, or by Pingora.
///
/// To something in front that ends a line at a CR, the head had other lines; the connection is not used again then.
pub(super) fn has_control(target: &[u8]) -> bool {
    target.windows(3).any(|three| matches!(three, [b'%', b'0' | b'1', _] | [b'%', b'7', b'f' | b'F']))
}

/// Exactly one host, written as `uri-host [":" port]` (RFC 9110 section 7.2); HTTP/2 has it in `:authority`.
fn host(fields: &HeaderMap, authority: Option<&uri::Authority>) -> Result<(), Fault> {
    const MALFORMED: Fault = bad("The host is missing or malformed");
    let mut hosts = fields.get_all(header::HOST).iter().map(http::HeaderValue::as_bytes);
    let (first, second) = (hosts.next(), hosts.next());
    let host = match (first, authority.map(|authority| authority.as_str().as_bytes())) {
        (Some(host), None) | (None, Some(host)) => host,
        (Some(host), Some(authority)) if host == authority => host,
        _ => return Err(MALFORMED),
    };
    if second.is_none() && host.len() <= MAX_HOST && is_host(host) { Ok(()) } else { Err(MALFORMED) }
}

fn is_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, rest))) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", rest),
        Some(_) => return false,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let named =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let ported = match port.strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    named && ported
}

fn fields(fields: &HeaderMap) -> Result<(), Fault> {
    if let Some(name) = headers::repeated(fields) {
        tracing::debug!(%name, "a request repeats a field");
        return Err(bad("A header field is repeated"));
    }
    upgrade(fields)?;
    if fields.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "An encoded body is not accepted"));
    }
    match fields.get(header::EXPECT) {
        Some(expected) if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Fault(StatusCode::EXPECTATION_FAILED, "The expectation is not known"))
        }
        _ => Ok(()),
    }
}

/// An offer to go on in another protocol may be left unanswered (RFC 9110 section 7.8). The one of `h2c` is: clients
/// send it with ordinary requests (Java's `HttpClient` by default) and go on in HTTP/1.1 without an answer to it. Any
/// other asks for a tunnel, which does not exist here; who believes in it would read the answer as the tunnel's.
fn upgrade(fields: &HeaderMap) -> Result<(), Fault> {
    let other = |offer: &http::HeaderValue| !offer.as_bytes().eq_ignore_ascii_case(b"h2c");
    if fields.get_all(header::UPGRADE).iter().any(other) { Err(bad("Upgrades are not served")) } else { Ok(()) }
}

/// The other characters that Pingora encodes: space, quotation mark, angle brackets, and what is not ASCII.
fn is_mended(path: &[u8]) -> bool {
    let mended = |three: &[u8]| match three {
        [b'%', high, low] => match high {
            b'2' => matches!(low, b'0' | b'2'),
            b'3' => matches!(low, b'c' | b'C' | b'e' | b'E'),
            high => matches!(high, b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F'),
        },
        _ => false,
    };
    path.windows(3).any(mended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_of_h2c_is_ignored_and_any_other_refused() {
        let offering =
            |offer: &'static str| HeaderMap::from_iter([(header::UPGRADE, http::HeaderValue::from_static(offer))]);
        for ignored in ["h2c", "H2C"] {
            assert_eq!(upgrade(&offering(ignored)), Ok(()), "{ignored}");
        }
        for refused in ["websocket", "h2c, websocket", "TLS/1.0", "connect-udp", ""] {
            assert!(upgrade(&offering(refused)).is_err(), "{refused}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_an_honest_port() {
        for host in ["a", "mcp.example.com:443", "127.0.0.1:8080", "[::1]", "[::1]:80", "my_host"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a:", "a:0", "a:99999", "a:+8", "a b", "a,b", "a/x", "a?x", "a#x", "u@a", "[::1", "[::1]x",
            "[a]", "a:1:2",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn targets_are_in_origin_form_and_printable() {
        for good in ["/", "/mcp", "/a%2fb?x=%0D%0A", "/weather/mcp?a=b%00%20"] {
            assert_eq!(target(good.as_bytes()), Ok(()), "{good}");
        }
        for malformed in [
            "",
            "*",
            "mcp",
            "http://a/mcp",
            "/a#b",
            "/a\\b",
            "/a b",
            "/ä",
            "/a%0Db",
            "/%00",
            "/%1f/mcp",
            "/a%20b",
            "/a%22",
            "/%3Ca",
            "/%c3%A4",
        ] {
            assert!(target(malformed.as_bytes()).is_err(), "{malformed}");
        }
        assert!(has_control(b"/a?b%0d") && has_control(b"/?%7F") && !has_control(b"/a%20?b=%41%7e%70"));
        assert_eq!(target(&[b'/'; MAX_TARGET]), Ok(()));
        assert_eq!(target(&[b'/'; MAX_TARGET + 1]).unwrap_err().0, StatusCode::URI_TOO_LONG);
    }
}
