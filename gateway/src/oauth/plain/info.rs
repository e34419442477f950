//! `GET /` and `GET /auth/info`: what is here and how to get in, for people and scripts. `docs/scripts.md` has the fields.
//!
//! Made of the configuration alone, and of nothing that the metadata documents do not say too.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::metadata::public;
use super::super::{CODE_LIFETIME, Resource, State as Server};

pub(super) async fn root(State(server): State<Arc<Server>>) -> Response {
    let issuer = &server.settings.issuer;
    public(Json(json!({
        "name": "Portcullis",
        "info": format!("{issuer}/auth/info"),
        "login": format!("{issuer}/auth/login"),
        "health": format!("{issuer}/health"),
        "metadata": format!("{issuer}/.well-known/oauth-authorization-server"),
    })))
}

pub(super) async fn info(State(server): State<Arc<Server>>) -> Response {
    let settings = &server.settings;
    let at = |path: &str| format!("{}{path}", settings.issuer);
    let resources: Vec<Value> = settings.resources.iter().map(of_resource).collect();
    public(Json(json!({
        "issuer": settings.issuer,
        "login_endpoint": at("/auth/login"),
        "exchange_endpoint": at("/auth/exchange"),
        "refresh_endpoint": at("/auth/refresh"),
        "logout_endpoint": at("/auth/logout"),
        "me_endpoint": at("/auth/me"),
        "authorization_endpoint": at("/auth/authorize"),
        "token_endpoint": at("/token"),
        "client_id": super::CLIENT,
        "code_challenge_methods_supported": ["S256"],
        "code_lifetime": CODE_LIFETIME.as_secs(),
        "access_token_lifetime": settings.access_token_lifetime.as_secs(),
        "default_resource": server.default_resource().map(|resource| &resource.url),
        "resources": resources,
    })))
}

fn of_resource(resource: &Resource) -> Value {
    let scopes = resource.scopes.iter();
    let scopes: Vec<Value> = scopes
        .map(|scope| json!({ "name": scope.name, "title": scope.title, "step_up": scope.step_up.is_some() }))
        .collect();
    json!({ "name": resource.name, "resource": resource.url, "scopes": scopes })
}
