//! The public halves of the signing keys (RFC 7517 section 5).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::State as Server;
use super::metadata::public;

pub(super) async fn document(State(server): State<Arc<Server>>) -> Response {
    let mut keys = server.signing_keys.public_jwks();
    // No token is verified with it: it is for whoever verifies the trail, and signs nothing else.
    keys.extend(server.trail_key.clone());
    public(Json(json!({ "keys": keys })))
}

/// The keys of assertions for backends, apart: who verifies access tokens does not come across it.
pub(super) async fn of_assertions(State(server): State<Arc<Server>>) -> Response {
    public(Json(json!({ "keys": server.assertion_keys })))
}
