//! The `Authorization` header as RFC 6750 section 2.1 has it: one header, one scheme, one token.

use http::{HeaderMap, header};

use super::AuthnError;

/// The token of a request.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, AuthnError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthnError::Missing)?;
    if values.next().is_some() {
        return Err(AuthnError::Malformed);
    }
    let text = value.to_str().map_err(|_error| AuthnError::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(AuthnError::Malformed)?;
    let token = token.trim_start_matches(' ');
    if !scheme.eq_ignore_ascii_case("Bearer") || !is_b64token(token) {
        return Err(AuthnError::Malformed);
    }
    Ok(token)
}

/// `b64token` of RFC 6750 section 2.1.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, AuthnError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        token(&headers).map(str::to_owned)
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        for value in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER   a.b-c_d~e+f/g=="] {
            assert_eq!(read(&[value.as_bytes()]).as_deref(), Ok("a.b-c_d~e+f/g=="));
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        assert_eq!(read(&[]), Err(AuthnError::Missing));
        for value in
            ["", "Bearer", "Bearer ", "a.b.c", "Basic YTpi", "DPoP abc", "Bearer Bearer x", "Bearer a,b", "Bearer a b", "Bearer a\tb", "Bearer =", "Bearer a=b"]
        {
            assert_eq!(read(&[value.as_bytes()]), Err(AuthnError::Malformed), "{value}");
        }
        assert_eq!(read(&[b"Bearer a\xe4"]), Err(AuthnError::Malformed));
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(AuthnError::Malformed));
    }
}
