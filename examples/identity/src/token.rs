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

use crate::directory::SignIn;
use crate::{Shared, client, exchange};

pub(crate) const LIFETIME: u64 = 3600;

pub(crate) async fn token(State(shared): State<Arc<Shared>>, Form(form): Form<Vec<(String, String)>>) -> Response {
    let log = form.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("&");
    shared.directory().requests.push(format!("token?{log}"));
    let form: HashMap<String, String> = form.into_iter().collect();
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    if form.contains_key("resource") {
        return fault("invalid_request", 901_002, "The 'resource' request parameter is not supported.");
    }
    if get("client_id") != shared.options.client_id {
        return fault("unauthorized_client", 700_016, "The application was not found in the directory.");
    }
    if let Err((code, text)) = client::check(&shared, &get) {
        return fault("invalid_client", code, text);
    }
    match get("grant_type") {
        "authorization_code" => by_code(&shared, &get),
        "refresh_token" => by_refresh_token(&shared, get("refresh_token")),
        "client_credentials" => {
            let claims = json!({ "idtyp": "app", "scp": null, "azp": "5e7f1ce0-0000-4000-8000-00000000abcd" });
            let token = access_token(&shared, "", &claims);
            Json(json!({ "token_type": "Bearer", "expires_in": LIFETIME, "access_token": token })).into_response()
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => exchange::on_behalf_of(&shared, &get),
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
    tokens(shared, &code.sign_in, &code.scope, code.nonce.as_deref())
}

fn by_refresh_token(shared: &Shared, token: &str) -> Response {
    let found = shared.directory().refresh_tokens.get(token).cloned();
    match found {
        Some((sign_in, scope)) => tokens(shared, &sign_in, &scope, None),
        None => fault("invalid_grant", 50173, "The provided grant has expired due to it being revoked."),
    }
}

fn tokens(shared: &Shared, sign_in: &SignIn, scope: &str, nonce: Option<&str>) -> Response {
    let acrs = if sign_in.acrs.is_empty() { Value::Null } else { sign_in.acrs.clone().into() };
    let proof = json!({ "auth_time": sign_in.auth_time, "acrs": acrs });
    let mut replace = json!({ "nonce": nonce, "azp": null, "scp": null });
    for (name, value) in proof.as_object().into_iter().flatten() {
        replace.as_object_mut().map(|members| members.insert(name.clone(), value.clone()));
    }
    let id_token = shared.keys.sign(&claims(shared, &sign_in.user, &replace));
    let mut answer = json!({
        "token_type": "Bearer", "scope": scope, "expires_in": LIFETIME, "ext_expires_in": LIFETIME,
        "access_token": access_token(shared, &sign_in.user, &proof), "id_token": id_token,
    });
    if scope.split(' ').any(|scope| scope == "offline_access") {
        let token = secret();
        shared.directory().refresh_tokens.insert(token.clone(), (sign_in.clone(), scope.to_owned()));
        insert(&mut answer, "refresh_token", token.into());
    }
    Json(answer).into_response()
}

/// An access token for a person, with some claims replaced.
pub(crate) fn access_token(shared: &Shared, user: &str, replace: &Value) -> String {
    shared.keys.sign(&claims(shared, user, replace))
}

pub(crate) fn claims(shared: &Shared, user: &str, replace: &Value) -> Value {
    let now = now();
    let person = shared.directory().user(user).cloned();
    let oid = person.as_ref().map_or("5e7f1ce0-0000-4000-8000-00000000abcd", |user| user.oid.as_str());
    let pairwise = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{oid}{}", shared.options.client_id)));
    let tenant =
        person.as_ref().and_then(|user| user.tenant.clone()).unwrap_or_else(|| shared.options.tenant_id.clone());
    let mut claims = json!({
        "aud": shared.options.client_id, "iss": shared.issuer(&tenant), "iat": now, "nbf": now, "exp": now + LIFETIME,
        "azp": shared.options.client_id, "azpacr": "1", "scp": "access_as_user", "oid": oid, "sub": pairwise,
        "tid": tenant, "ver": "2.0", "uti": secret(), "preferred_username": format!("{user}@contoso.example"),
    });
    if person.as_ref().is_some_and(|user| user.guest) {
        insert(&mut claims, "idp", "https://sts.windows.net/99999999-8888-4777-8666-555555555555/".into());
    }
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
pub(crate) fn insert(object: &mut Value, name: &str, value: Value) {
    let Some(members) = object.as_object_mut() else { return };
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of its own, without a clock to move")]
pub(crate) fn now() -> u64 {
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
