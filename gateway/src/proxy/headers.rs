//! Which headers cross, in either direction. Built from nothing: what is not named here stays behind.
//!
//! Not crossing, among all others: `Authorization` and cookies, whatever claims to forward an identity or an address,
//! `Origin`, everything of one hop; and back: cookies, challenges, redirects, CORS and the backend's own name.

use http::{HeaderMap, HeaderName, header};

/// Headers of a request that a backend gets to see, besides `Mcp-Param-*`.
const TO_BACKEND: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("traceparent"),
];

/// Headers of an answer that a client gets to see.
const TO_CLIENT: [HeaderName; 4] = [
    header::CONTENT_LANGUAGE,
    header::RETRY_AFTER,
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("x-accel-buffering"),
];

const PARAMETER: &str = "mcp-param-";
const MAX_PARAMETERS: usize = 32;
const MAX_VALUE: usize = 4096;

/// The headers of a request that cross, each at most once.
pub(super) fn to_backend(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &[u8])> {
    let parameters = headers.keys().filter(|name| name.as_str().starts_with(PARAMETER)).take(MAX_PARAMETERS);
    let named = headers.keys().filter(|name| TO_BACKEND.contains(name));
    named.chain(parameters).filter_map(|name| single(headers, name).map(|value| (name, value)))
}

/// The headers of an answer that cross.
pub(super) fn to_client(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(TO_CLIENT.len() + 4);
    for name in TO_CLIENT {
        if let (Some(value), true) = (headers.get(&name), single(headers, &name).is_some()) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

/// The only value of a header, when it is visible ASCII of sane length.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    let plain = value.len() <= MAX_VALUE && value.iter().all(|b| (0x20..0x7f).contains(b) || *b == b'\t');
    (plain && values.next().is_none()).then_some(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_named_headers_reach_a_backend() {
        let headers = map(&[
            ("authorization", "Bearer x"), ("cookie", "a=b"), ("x-forwarded-for", "1.2.3.4"), ("x-user", "admin"),
            ("forwarded", "for=1"), ("origin", "https://x"), ("connection", "accept"), ("accept", "application/json"),
            ("mcp-protocol-version", "2025-11-25"), ("mcp-param-city", "Berlin"), ("mcp-session-id", "raw"),
            ("accept-language", "de"), ("accept-language", "en"),
        ]);
        let mut names: Vec<&str> = to_backend(&headers).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "mcp-param-city", "mcp-protocol-version"]);
    }

    #[test]
    fn only_named_headers_reach_a_client() {
        let headers = map(&[
            ("set-cookie", "a=b"), ("server", "x"), ("location", "/"), ("www-authenticate", "Basic"), ("etag", "x"),
            ("access-control-allow-origin", "*"), ("mcp-session-id", "raw"), ("retry-after", "3"), ("connection", "retry-after"),
        ]);
        assert_eq!(to_client(&headers), map(&[("retry-after", "3")]));
    }
}
