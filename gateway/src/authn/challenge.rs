//! `WWW-Authenticate` values (RFC 6750 section 3, RFC 9728 section 5.1).

use super::AuthnError;

/// The challenge of a 401. A token that was presented and not believed is `invalid_token`; nothing says why.
#[must_use]
pub fn unauthorized(failure: &AuthnError, resource_metadata: &str, scope: &str) -> String {
    let error = match failure {
        AuthnError::Missing | AuthnError::Unavailable => "",
        AuthnError::Malformed | AuthnError::Invalid(_) => "error=\"invalid_token\", ",
    };
    let scope = if scope.is_empty() { String::new() } else { format!(", scope=\"{scope}\"") };
    format!("Bearer {error}resource_metadata=\"{resource_metadata}\"{scope}")
}

/// The challenge of a 403: every scope that this one call needs.
#[must_use]
pub fn insufficient_scope(resource_metadata: &str, scopes: &[String]) -> String {
    let scope = scopes.join(" ");
    format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{resource_metadata}\"")
}
