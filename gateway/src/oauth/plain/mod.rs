//! Plain endpoints for scripts and for people who have no MCP client (`server.auth_endpoints`); off unless turned on.
//!
//! A person signs in by a link and gets a code on a page; a script trades the code for tokens, renews and ends them.
//! The same records, checks and consent as everywhere: the client is one of the gateway's own, which exists here alone,
//! so that no code or token of these endpoints is of use at the others, nor theirs at these.

mod exchange;
mod info;
mod login;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

use super::clients::{Known, Source};
use super::{State as Server, authorize, cors, no_head};
use crate::store::Client;

/// The client of these endpoints, as tokens, policy and audit trail name it.
pub const CLIENT: &str = "portcullis-login";
/// What the consent page calls it.
const NAME: &str = "A script or command-line tool";

/// The endpoints; `limits` counts what costs something.
pub(super) fn routes() -> Router<Arc<Server>> {
    let open = Router::new()
        .route("/", get(info::root))
        .route("/auth/info", get(info::info))
        .route("/auth/exchange", post(exchange::exchange))
        .route("/auth/refresh", post(exchange::refresh))
        .route("/auth/logout", post(exchange::logout))
        .layer(middleware::from_fn(cors::open));
    Router::new()
        .route("/auth/login", get(login::begin).head(no_head))
        .route("/auth/authorize", get(authorize::by_query).post(authorize::by_form).head(no_head))
        .merge(open)
}

/// What the other endpoints would know of the client, could anybody name it there.
pub(super) fn client() -> Client {
    Client {
        client_id: CLIENT.to_owned(),
        client_name: Some(NAME.to_owned()),
        redirect_uris: Vec::new(),
        application_type: "native".to_owned(),
        may_refresh: true,
        device: false,
        registered_at: 0,
        keys: None,
    }
}

fn known() -> Known {
    Known { client: client(), source: Source::Own }
}
