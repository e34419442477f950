//! Counts what the authorization server answers, by endpoint.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::State as Server;

/// Lets a request through and counts its answer.
pub(super) async fn count(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let endpoint = endpoint(request.uri().path());
    let response = next.run(request).await;
    if let Some(metrics) = &server.metrics {
        metrics.identity.answered(endpoint, response.status().as_u16());
    }
    response
}

/// The label of a path: of a closed set, whatever is asked for.
fn endpoint(path: &str) -> &'static str {
    match path {
        "/authorize" | "/auth/authorize" => "authorize",
        "/consent" => "consent",
        "/auth/callback" => "callback",
        "/register" => "register",
        "/token" => "token",
        "/revoke" => "revoke",
        "/jwks" | "/jwks/assertion" => "jwks",
        path if path.starts_with("/.well-known/") => "metadata",
        path if path.starts_with("/device") => "device",
        path if path.starts_with("/auth/") => "auth",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_somebody_invents_is_no_label() {
        assert_eq!((endpoint("/token"), endpoint("/tokens"), endpoint("/auth/x")), ("token", "other", "auth"));
    }
}
