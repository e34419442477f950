//! The `Authorization` header as RFC 6750 section 2.1 has it: one header, one scheme, one token.
//!
//! No other place is looked at: not the query, not a cookie, not a body, not a header of a similar name.

use http::{HeaderMap, header};

use super::AuthnError;

/// The token of a request. Another scheme is no bearer token; a header that two readers could read apart is malformed.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, AuthnError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthnError::Missing)?;
    if values.next().is_some() {
        return Err(AuthnError::Malformed);
    }
    let text = value.to_str().map_err(|_error| AuthnError::Malformed)?;
    if text.contains('\t') {
        return Err(AuthnError::Malformed);
    }
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(AuthnError::Missing);
    }
    Ok(token.trim_start_matches(' '))
}

/// `b64token` of RFC 6750 section 2.1; asked of a token that was not verified before.
pub(super) fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, AuthnError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let token = token(&headers)?;
        if is_b64token(token) { Ok(token.to_owned()) } else { Err(AuthnError::Malformed) }
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        for value in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER   a.b-c_d~e+f/g=="] {
            assert_eq!(read(&[value.as_bytes()]).as_deref(), Ok("a.b-c_d~e+f/g=="));
        }
    }

    #[test]
    fn credentials_of_another_scheme_are_no_bearer_token() {
        assert_eq!(read(&[]), Err(AuthnError::Missing));
        for value in ["", "a.b.c", "Basic YTpi", "DPoP abc", "Basic a, Bearer b", "Bearer,x", "Bearer:x"] {
            assert_eq!(read(&[value.as_bytes()]), Err(AuthnError::Missing), "{value}");
        }
    }

    #[test]
    fn a_bearer_that_is_not_exactly_one_token_is_malformed() {
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer Bearer x",
            "Bearer a,b",
            "Bearer a, Bearer b",
            "Bearer a b",
            "Bearer a\tb",
            "Bearer\ta",
            "Bearer =",
            "Bearer a=b",
            "Bearer \"a\"",
            "Bearer a%2Eb",
            "Bearer a;b",
            "Bearer {\"a\":1}",
        ] {
            assert_eq!(read(&[value.as_bytes()]), Err(AuthnError::Malformed), "{value}");
        }
        assert_eq!(read(&[b"Bearer a\xe4"]), Err(AuthnError::Malformed));
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(AuthnError::Malformed));
        assert_eq!(read(&[b"Bearer a", b"Basic b"]), Err(AuthnError::Malformed));
    }

    #[test]
    fn no_other_header_carries_a_token() {
        for name in ["proxy-authorization", "x-authorization", "x-forwarded-authorization", "cookie"] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("Bearer a"));
            assert_eq!(token(&headers), Err(AuthnError::Missing), "{name}");
        }
    }
}
