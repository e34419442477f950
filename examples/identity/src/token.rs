//! The token endpoint, and what tokens say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Shared;

const LIFETIME: u64 = 3600;

pub(crate) async fn token(State(shared): State<Arc<Shared>>, Form(form): Form<Vec<(String, String)>>) -> Response {
    let log = form.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("&");
    shared.directory().requests.push(format!("token?{log}"));
    let form: HashMap<String, String> = form.into_iter().collect();
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    if shared.directory().down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if form.contains_key("resource") {
        return fault("invalid_request", 901_002, "The 'resource' request parameter is not supported.");
    }
    if get("client_id") != shared.options.client_id {
        return fault("unauthorized_client", 700_016, "The application was not found in the directory.");
    }
    if get("client_secret") != shared.options.client_secret {
        return fault("invalid_client", 7_000_215, "Invalid client secret provided.");
    }
    match get("grant_type") {
        "authorization_code" => by_code(&shared, &get),
        "refresh_token" => by_refresh_token(&shared, get("refresh_token")),
        "client_credentials" => {
            let claims = json!({ "idtyp": "app", "scp": null, "azp": "5e7f1ce0-0000-4000-8000-00000000abcd" });
            let token = access_token(&shared, "", &claims);
            Json(json!({ "token_type": "Bearer", "expires_in": LIFETIME, "access_token": token })).into_response()
        }
        _ => fault("unsupported_grant_type", 70003, "The app requested an unsupported grant type."),
    }
}

fn by_code<'f>(shared: &Shared, get: &impl Fn(&str) -> &'f str) -> Response {
    let Some(code) = shared.directory().codes.remove(get("code")) else {
        return fault("invalid_grant", 70008, "The provided authorization code has expired or was redeemed.");
    };
    if code.redirect_uri != get("redirect_uri") {
        return fault("invalid_grant", 50011, "The redirect URI does not match.");
    }
    if URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier"))) != code.challenge {
        return fault("invalid_grant", 501_481, "The Code_Verifier does not match the code_challenge.");
    }
    tokens(shared, &code.user, &code.scope, code.nonce.as_deref())
}

fn by_refresh_token(shared: &Shared, token: &str) -> Response {
    let found = shared.directory().refresh_tokens.get(token).cloned();
    match found {
        Some((user, scope)) => tokens(shared, &user, &scope, None),
        None => fault("invalid_grant", 50173, "The provided grant has expired due to it being revoked."),
    }
}

fn tokens(shared: &Shared, user: &str, scope: &str, nonce: Option<&str>) -> Response {
    let id_token = shared.keys.sign(&claims(shared, user, &json!({ "nonce": nonce, "azp": null, "scp": null })));
    let mut answer = json!({
        "token_type": "Bearer", "scope": scope, "expires_in": LIFETIME, "ext_expires_in": LIFETIME,
        "access_token": access_token(shared, user, &Value::Null), "id_token": id_token,
    });
    if scope.split(' ').any(|scope| scope == "offline_access") {
        let token = secret();
        shared.directory().refresh_tokens.insert(token.clone(), (user.to_owned(), scope.to_owned()));
        insert(&mut answer, "refresh_token", token.into());
    }
    Json(answer).into_response()
}

/// An access token for a person, with some claims replaced.
pub(crate) fn access_token(shared: &Shared, user: &str, replace: &Value) -> String {
    shared.keys.sign(&claims(shared, user, replace))
}

fn claims(shared: &Shared, user: &str, replace: &Value) -> Value {
    let now = now();
    let person = shared.directory().user(user).cloned();
    let oid = person.as_ref().map_or("5e7f1ce0-0000-4000-8000-00000000abcd", |user| user.oid.as_str());
    let pairwise = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{oid}{}", shared.options.client_id)));
    let mut claims = json!({
        "aud": shared.options.client_id, "iss": shared.issuer(), "iat": now, "nbf": now, "exp": now + LIFETIME,
        "azp": shared.options.client_id, "azpacr": "1", "scp": "access_as_user", "oid": oid, "sub": pairwise,
        "tid": shared.options.tenant_id, "ver": "2.0", "uti": secret(), "preferred_username": format!("{user}@contoso.example"),
    });
    let roles = person.map(|user| user.roles).unwrap_or_default();
    if !roles.is_empty() {
        insert(&mut claims, "roles", roles.into());
    }
    for (name, value) in replace.as_object().into_iter().flatten() {
        insert(&mut claims, name, value.clone());
    }
    claims
}

/// Sets a member of an object; `null` takes it away.
fn insert(object: &mut Value, name: &str, value: Value) {
    let Some(members) = object.as_object_mut() else { return };
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of its own, without a clock to move")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// What nobody can guess.
pub(crate) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// An error in Entra's form.
pub(crate) fn fault(error: &str, code: u32, text: &str) -> Response {
    let (trace, correlation) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let description = format!("AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation}");
    let body = json!({ "error": error, "error_description": description, "error_codes": [code], "trace_id": trace.to_string(), "correlation_id": correlation.to_string() });
    let status = if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    (status, Json(body)).into_response()
}
