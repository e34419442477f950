//! The authorization endpoint: a page to choose a person, or none when `login_hint` names one.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use url::Url;

use crate::Shared;
use crate::directory::Code;

pub(crate) async fn authorize(
    State(shared): State<Arc<Shared>>,
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
    let Some(user) = shared.directory().user(name).map(|user| user.name.clone()) else {
        return page(50034, "The user account does not exist in the directory.");
    };
    let code = Code {
        user,
        redirect_uri: get("redirect_uri").to_owned(),
        challenge: get("code_challenge").to_owned(),
        nonce: query.get("nonce").cloned(),
        scope: get("scope").to_owned(),
    };
    let id = crate::token::secret();
    shared.directory().codes.insert(id.clone(), code);
    back(&query, &[("code", &id), ("session_state", &crate::token::secret())])
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
    for name in shared.directory().names() {
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
