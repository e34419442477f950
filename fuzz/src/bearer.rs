//! The `Authorization` header: a caller is known exactly when there is one header, of one scheme and one good token.

use http::{HeaderMap, HeaderValue, header};
use portcullis::authn::AuthnError;

use crate::token::{GATEWAY, filled};

/// Header values separated by line feeds; `%T` in them stands for a good token.
pub fn check(data: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    let mut values = Vec::new();
    for value in data.split(|byte| *byte == b'\n').take(4) {
        let value = filled(value, b"%T", &GATEWAY.token);
        let Ok(header) = HeaderValue::from_bytes(&value) else { continue };
        headers.append(header::AUTHORIZATION, header);
        values.push(value);
    }
    let result = GATEWAY.authenticate(&headers);
    let expected = match values.as_slice() {
        [value] => token(value),
        _ => None,
    };
    let known = result.is_ok();
    match (result, expected) {
        (Ok(_), expected) => assert_eq!(expected, Some(GATEWAY.token.as_bytes())),
        (Err(error), Some(token)) => {
            assert_ne!(token, GATEWAY.token.as_bytes(), "{error}");
            assert!(matches!(error, AuthnError::Invalid(_) | AuthnError::Malformed), "{error}");
        }
        (Err(error), None) => {
            let empty = values.is_empty();
            assert!(!empty || error == AuthnError::Missing, "{error}");
            assert!(values.len() < 2 || error == AuthnError::Malformed, "{error}");
        }
    }
    known
}

/// `Bearer` of any case, spaces, and a `b64token` (RFC 6750 section 2.1), character by character.
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let start = rest.iter().position(|byte| *byte != b' ')?;
    let token = &rest[start..];
    let end = token.iter().rposition(|byte| *byte != b'=')? + 1;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    (scheme.eq_ignore_ascii_case(b"bearer") && start > 0 && token[..end].iter().all(plain)).then_some(token)
}
