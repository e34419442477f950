//! Authorization server metadata (RFC 8414), under the name of `OpenID` Connect Discovery too.
//!
//! The issuer is the configured one, to the byte; nothing of the request is in the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::json;

use super::State as Server;

pub(super) async fn document(State(server): State<Arc<Server>>) -> Response {
    let issuer = &server.settings.issuer;
    let scopes = server.settings.resources.iter().flat_map(|resource| &resource.scopes);
    let mut scopes: BTreeSet<&str> = scopes.map(|scope| scope.name.as_str()).collect();
    scopes.insert("offline_access");
    public(Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "jwks_uri": format!("{issuer}/jwks"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })))
}

/// A document that anybody, from any origin, may read and keep for a while.
pub(super) fn public(document: impl IntoResponse) -> Response {
    let mut response = document.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}
