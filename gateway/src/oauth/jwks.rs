//! The public half of the signing key (RFC 7517 section 5).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::State as Server;
use super::metadata::public;

pub(super) async fn document(State(server): State<Arc<Server>>) -> Response {
    public(Json(json!({ "keys": [server.signing_key.public_jwk()] })))
}

/// The key of assertions for backends, apart: who verifies access tokens does not come across it.
pub(super) async fn of_assertions(State(server): State<Arc<Server>>) -> Response {
    public(Json(json!({ "keys": server.assertion_key.iter().collect::<Vec<_>>() })))
}
