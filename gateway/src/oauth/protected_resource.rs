//! Protected resource metadata (RFC 9728): whose tokens a backend takes, and which scopes there are.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::metadata::public;
use super::{Resource, State as Server};

/// `/.well-known/oauth-protected-resource`: when there is one resource only.
pub(super) async fn root(State(server): State<Arc<Server>>) -> Response {
    match server.settings.resources.as_slice() {
        [single] => document(&server, single),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `/.well-known/oauth-protected-resource{path}`: the well-known part goes between host and path (section 3.1).
pub(super) async fn of_path(State(server): State<Arc<Server>>, Path(path): Path<String>) -> Response {
    let path = format!("/{}", path.trim_end_matches('/'));
    match server.settings.resources.iter().find(|resource| resource.path == path) {
        Some(resource) => document(&server, resource),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn document(server: &Server, resource: &Resource) -> Response {
    // Clients ask for all of these at once; a stronger sign-in is asked for when a call wants it.
    let scopes: Vec<&str> = resource.usual_scopes().map(|scope| scope.name.as_str()).collect();
    public(Json(json!({
        "resource": resource.url,
        "authorization_servers": [server.settings.issuer],
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "resource_name": resource.name,
    })))
}
