//! The authorization endpoint: a page to choose a person, or none when `login_hint` names one.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::Value;
use url::Url;

use crate::Shared;
use crate::directory::{Code, SignIn};

pub(crate) async fn authorize(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    RawQuery(raw): RawQuery,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let get = |name: &str| query.get(name).map_or("", String::as_str);
    shared.directory().requests.push(format!("authorize?{}", raw.as_deref().unwrap_or("")));
    // As at Entra, these are shown on a page and never come back.
    if get("client_id") != shared.options.client_id {
        return page(700_016, "The application was not found in the directory.");
    }
    if !shared.options.redirect_uris.iter().any(|known| known == get("redirect_uri")) {
        return page(50011, "The redirect URI does not match the ones configured for the application.");
    }
    if tenant != shared.options.tenant_id && !(tenant == "organizations" && shared.options.several_tenants) {
        return page(50194, "The application is not configured as a multi-tenant application.");
    }
    if query.contains_key("resource") {
        return back(
            &query,
            &[
                ("error", "invalid_target"),
                ("error_description", "AADSTS9010010: The resource parameter doesn't match."),
            ],
        );
    }
    if get("response_type") != "code" || get("code_challenge_method") != "S256" || get("code_challenge").is_empty() {
        return back(
            &query,
            &[("error", "invalid_request"), ("error_description", "AADSTS900144: A parameter is missing.")],
        );
    }
    let name = [get("username"), get("login_hint")].into_iter().find(|name| !name.is_empty());
    let Some(name) = name else { return choose(&shared, raw.as_deref().unwrap_or("")) };
    let refusal = shared.directory().refusal;
    if let Some((error, code)) = refusal {
        let description = format!("AADSTS{code}: <b>words of the identity provider</b> Trace ID: t");
        return back(&query, &[("error", error), ("error_description", &description)]);
    }
    let Some(user) = shared.directory().user(name).cloned() else {
        return page(50034, "The user account does not exist in the directory.");
    };
    if tenant == shared.options.tenant_id && user.tenant.as_ref().is_some_and(|of| *of != tenant) {
        return page(50020, "The user account does not exist in the tenant and cannot access the application.");
    }
    let code = Code {
        sign_in: sign_in(&shared, &user.name, &query),
        redirect_uri: get("redirect_uri").to_owned(),
        challenge: get("code_challenge").to_owned(),
        nonce: query.get("nonce").cloned(),
        scope: get("scope").to_owned(),
    };
    let id = crate::token::secret();
    shared.directory().codes.insert(id.clone(), code);
    back(&query, &[("code", &id), ("session_state", &crate::token::secret())])
}

/// How a person signs in: by the session that they have, or anew when the request wants it; with the authentication
/// contexts that it wants and they can satisfy.
fn sign_in(shared: &Shared, user: &str, query: &HashMap<String, String>) -> SignIn {
    let anew = query.get("prompt").is_some_and(|prompt| prompt == "login");
    let max_age = query.get("max_age").and_then(|age| age.parse().ok());
    let claims: Value = query.get("claims").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let several = claims.pointer("/id_token/acrs/values").and_then(Value::as_array).into_iter().flatten();
    let wanted = several.chain(claims.pointer("/id_token/acrs/value")).filter_map(Value::as_str);
    let wanted: Vec<String> = wanted.map(str::to_owned).collect();
    shared.directory().sign_in(user, anew, max_age, &wanted, crate::token::now())
}

fn back(query: &HashMap<String, String>, answer: &[(&str, &str)]) -> Response {
    let target = query.get("redirect_uri").map_or("", String::as_str);
    let Ok(mut url) = Url::parse(target) else { return page(50011, "The redirect URI is malformed.") };
    url.query_pairs_mut().extend_pairs(answer);
    if let Some(state) = query.get("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    Redirect::to(url.as_str()).into_response()
}

fn choose(shared: &Shared, query: &str) -> Response {
    let mut links = String::new();
    // Not in the head of the loop, where the lock would be held through all of it.
    let names = shared.directory().names();
    for name in names {
        let roles = shared.directory().user(&name).map(|user| user.roles.join(", ")).unwrap_or_default();
        let query = query.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        let _ = write!(links, "<li><a href=\"?{query}&amp;username={name}\">{name}</a> <small>{roles}</small></li>");
    }
    Html(format!("<!DOCTYPE html><title>Sign in</title><h1>Sign in</h1><p>This is a stand-in: choose who you are.</p><ul>{links}</ul>"))
        .into_response()
}

fn page(code: u32, text: &str) -> Response {
    let html = format!("<!DOCTYPE html><title>Sign in</title><h1>Sign in</h1><p>AADSTS{code}: {text}</p>");
    (StatusCode::BAD_REQUEST, Html(html)).into_response()
}
