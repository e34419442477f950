//! Authorization server metadata (RFC 8414), under the name of `OpenID` Connect Discovery too.
//!
//! The issuer is the configured one, to the byte; nothing of the request is in the answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::json;

use super::configured::Credential;
use super::{Resource, State as Server, device, identity_assertion};
use crate::jose::client_assertion;

pub(super) async fn document(State(server): State<Arc<Server>>) -> Response {
    let issuer = &server.settings.issuer;
    // What wants a stronger sign-in is asked for by name, when a call needs it: a client that asks for all there is must not
    // be sent to one.
    let scopes = server.settings.resources.iter().flat_map(Resource::usual_scopes);
    let mut scopes: BTreeSet<&str> = scopes.map(|scope| scope.name.as_str()).collect();
    scopes.insert("offline_access");
    let mut methods = vec!["none", "private_key_jwt"];
    if server.clients.all_configured().any(|client| matches!(client.credential, Credential::Secret(_))) {
        methods.extend(["client_secret_basic", "client_secret_post"]);
    }
    let mut grants = vec!["authorization_code", "refresh_token"];
    if server.clients.all_configured().any(|client| client.grants.own) {
        grants.push("client_credentials");
    }
    let device = server.settings.device_authorization;
    if device {
        grants.push(device::GRANT);
    }
    // Whose assertions are taken is nobody's to learn (section 9.4 of the draft); that they are, is.
    let assertions = !server.issuers.is_empty();
    if assertions {
        grants.push(identity_assertion::GRANT);
    }
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": client_assertion::ALGORITHMS,
        "registration_endpoint": format!("{issuer}/register"),
        "jwks_uri": format!("{issuer}/jwks"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grants,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": client_assertion::ALGORITHMS,
        "client_id_metadata_document_supported": server.clients.reads_documents(),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    if let Some(members) = document.as_object_mut().filter(|_| device) {
        members.insert("device_authorization_endpoint".to_owned(), format!("{issuer}/device_authorization").into());
    }
    if let Some(members) = document.as_object_mut().filter(|_| assertions) {
        members.insert("authorization_grant_profiles_supported".to_owned(), json!([identity_assertion::PROFILE]));
    }
    public(Json(document))
}

/// How long documents may be kept by whoever reads them.
pub(crate) const MAX_AGE: Duration = Duration::from_mins(5);

/// A document that anybody, from any origin, may read and keep for a while.
pub(super) fn public(document: impl IntoResponse) -> Response {
    let mut response = document.into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(format!("public, max-age={}", MAX_AGE.as_secs())) {
        headers.insert(header::CACHE_CONTROL, value);
    }
    response
}
