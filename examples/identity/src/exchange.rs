//! The on-behalf-of exchange: a token for another API, for whoever holds a good one for this registration.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::Shared;
use crate::token::{LIFETIME, access_token, fault, now};

pub(crate) fn on_behalf_of<'f>(shared: &Shared, get: &impl Fn(&str) -> &'f str) -> Response {
    if get("requested_token_use") != "on_behalf_of" {
        return fault("invalid_request", 900_144, "A parameter is missing: requested_token_use.");
    }
    let refusal = shared.directory().exchange_refusal;
    if let Some((error, code)) = refusal {
        return fault(error, code, "The exchange is refused.");
    }
    let Some(claims) = shared.keys.open(get("assertion")) else {
        return fault("invalid_grant", 50013, "Assertion failed signature validation.");
    };
    let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    if text("aud") != shared.options.client_id || text("scp").is_empty() {
        return fault("invalid_grant", 500_131, "Assertion audience does not match the client app.");
    }
    if claims.get("exp").and_then(serde_json::Value::as_u64).is_none_or(|exp| exp <= now()) {
        return fault("invalid_grant", 500_133, "Assertion is not within its valid time range.");
    }
    let scope = get("scope");
    let Some((audience, _)) = scope.rsplit_once('/') else {
        return fault("invalid_scope", 70011, "The scope is not valid.");
    };
    let user = text("preferred_username").split('@').next().unwrap_or_default();
    let replace = json!({ "aud": audience, "roles": null, "scp": "user_impersonation" });
    let token = access_token(shared, user, &replace);
    Json(json!({ "token_type": "Bearer", "scope": scope, "expires_in": LIFETIME, "access_token": token }))
        .into_response()
}
