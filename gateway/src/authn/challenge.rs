//! `WWW-Authenticate` values (RFC 6750 section 3, RFC 9728 section 5.1).
//!
//! Says where to get a token and which scopes to ask for. Of a token that was refused it says that it was, never why,
//! and nothing of what was sent is in it.

use super::AuthnError;

const LACKS_SCOPE: &str = "The token lacks a scope that this call needs";

/// The challenge of a 401. Only a token that was presented and not believed is `invalid_token` (RFC 6750 section 3.1).
#[must_use]
pub fn unauthorized(failure: &AuthnError, resource_metadata: &str, scope: &str) -> String {
    let error = match failure {
        AuthnError::Missing | AuthnError::Unavailable => None,
        AuthnError::Malformed | AuthnError::Invalid(_) => Some("invalid_token"),
    };
    challenge(&[("error", error), ("resource_metadata", Some(resource_metadata)), ("scope", Some(scope))])
}

/// The challenge of a 403: every scope that this one call needs.
#[must_use]
pub fn insufficient_scope(resource_metadata: &str, scopes: &[String]) -> String {
    challenge(&[
        ("error", Some("insufficient_scope")),
        ("scope", Some(&scopes.join(" "))),
        ("resource_metadata", Some(resource_metadata)),
        ("error_description", Some(LACKS_SCOPE)),
    ])
}

/// The parameters that have a value. What cannot stand between quotes as it is is left out, which costs the client a
/// hint and nothing else.
fn challenge(parameters: &[(&str, Option<&str>)]) -> String {
    let plain =
        |value: &&str| !value.is_empty() && value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
    let written: Vec<String> = parameters
        .iter()
        .filter_map(|(name, value)| value.filter(plain).map(|value| format!("{name}=\"{value}\"")))
        .collect();
    format!("Bearer {}", written.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
    use super::*;

    const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";

    #[test]
    fn a_first_challenge_says_where_to_go_and_blames_nothing() {
        for failure in [AuthnError::Missing, AuthnError::Unavailable] {
            let want = format!(r#"Bearer resource_metadata="{METADATA}", scope="read write""#);
            assert_eq!(unauthorized(&failure, METADATA, "read write"), want);
        }
        assert_eq!(
            unauthorized(&AuthnError::Missing, METADATA, ""),
            format!(r#"Bearer resource_metadata="{METADATA}""#)
        );
    }

    #[test]
    fn every_refused_token_gets_the_same_challenge() {
        let want = format!(r#"Bearer error="invalid_token", resource_metadata="{METADATA}", scope="read""#);
        for failure in [AuthnError::Malformed, Reason::UnknownIssuer.into(), Reason::NotAcceptedHere.into()] {
            assert_eq!(unauthorized(&failure, METADATA, "read"), want);
        }
    }

    #[test]
    fn a_missing_scope_is_named_with_every_other_one_the_call_needs() {
        let value = insufficient_scope(METADATA, &["read".to_owned(), "admin".to_owned()]);
        let start = format!(r#"Bearer error="insufficient_scope", scope="read admin", resource_metadata="{METADATA}""#);
        assert!(value.starts_with(&start), "{value}");
    }

    #[test]
    fn what_would_break_out_of_its_quotes_is_left_out() {
        for bad in ["a\" error=\"x", "a\\", "a\r\nb", "ä"] {
            assert_eq!(
                unauthorized(&AuthnError::Missing, METADATA, bad),
                format!(r#"Bearer resource_metadata="{METADATA}""#)
            );
        }
    }
}
