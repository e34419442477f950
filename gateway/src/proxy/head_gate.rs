//! What Pingora accepts of a request's head and this gateway does not (RFC 9112, read strictly).
//!
//! Two readers of one request must see one request: anything whose framing, target or host could be read in two ways
//! is refused before anything is decided by it.

use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora_core::protocols::http::ServerSession;

const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// The callback carries codes of the identity provider, which are long.
const MAX_TARGET: usize = 12 * 1024;

/// Why a head is refused: the status and the words.
pub(super) type Fault = (StatusCode, &'static str);

/// Checks a head that Pingora has accepted.
pub(super) fn check(session: &ServerSession) -> Result<(), Fault> {
    let bad = |text| Err((StatusCode::BAD_REQUEST, text));
    let head = session.req_header();
    let headers = &head.headers;
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > MAX_HEAD || headers.len() > MAX_HEADERS {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large"));
    }
    let target = head.raw_path();
    if target.len() > MAX_TARGET {
        return Err((StatusCode::URI_TOO_LONG, "The request target is too long"));
    }
    if !target.starts_with(b"/") || target.iter().any(|b| !(0x21..0x7f).contains(b) || matches!(b, b'#' | b'\\')) {
        return bad("The request target is malformed");
    }
    check_host(headers, session)?;
    if let Some(h1) = session.as_http1() {
        check_raw(&h1.get_headers_raw_bytes())?;
        check_framing(headers, head.version)?;
    }
    check_method(&head.method, headers, session)?;
    match headers.get(header::EXPECT).map(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        Some(false) => Err((StatusCode::EXPECTATION_FAILED, "The expectation is not known")),
        _ => Ok(()),
    }
}

/// Every line ends with CR LF, and neither stands anywhere else.
fn check_raw(raw: &[u8]) -> Result<(), Fault> {
    let mut previous = 0;
    for &byte in raw {
        if (byte == b'\n') != (previous == b'\r') {
            return Err((StatusCode::BAD_REQUEST, "A line ending is malformed"));
        }
        previous = byte;
    }
    let twice = raw.split(|&b| b == b'\n').filter(|line| has_name(line, b"content-length")).count();
    let chunked = raw.split(|&b| b == b'\n').filter(|line| has_name(line, b"transfer-encoding")).count();
    if twice > 1 || chunked > 1 || (twice > 0 && chunked > 0) {
        return Err((StatusCode::BAD_REQUEST, "The body is framed in more than one way"));
    }
    Ok(())
}

fn has_name(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        && line.get(name.len()).is_some_and(|next| matches!(next, b':' | b' ' | b'\t'))
}

fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Fault> {
    let Some(coding) = headers.get(header::TRANSFER_ENCODING) else { return Ok(()) };
    if version != Version::HTTP_11 || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err((StatusCode::BAD_REQUEST, "The transfer coding is not accepted"));
    }
    Ok(())
}

fn check_host(headers: &HeaderMap, session: &ServerSession) -> Result<(), Fault> {
    let bad = Err((StatusCode::BAD_REQUEST, "The host is missing or malformed"));
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let authority = session.req_header().uri.authority();
    if second.is_some() {
        return bad;
    }
    let host = match (host, authority) {
        (Some(host), None) => host.as_bytes(),
        (None, Some(authority)) if session.is_http2() => authority.as_str().as_bytes(),
        (Some(host), Some(authority)) if session.is_http2() && host.as_bytes() == authority.as_str().as_bytes() => {
            host.as_bytes()
        }
        _ => return bad,
    };
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if host.is_empty() || host.len() > 255 || !host.iter().all(plain) { bad } else { Ok(()) }
}

fn check_method(method: &Method, headers: &HeaderMap, session: &ServerSession) -> Result<(), Fault> {
    if !matches!(*method, Method::GET | Method::POST | Method::DELETE | Method::HEAD | Method::OPTIONS) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "The method is not served"));
    }
    let framed = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if *method != Method::POST && framed {
        return Err((StatusCode::BAD_REQUEST, "Only a POST has a body"));
    }
    if !session.is_http2() && headers.contains_key(header::UPGRADE) {
        return Err((StatusCode::BAD_REQUEST, "Upgrades are not accepted"));
    }
    Ok(())
}
