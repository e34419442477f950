//! What is refused here leaves one line in the trail, or one of a count where there are too many, and one in the log, whoever
//! says no and how.
//!
//! A handler answers with an error, a page or a redirect that refuses; that is marked on the answer. Who asks and what
//! exactly was wrong is noted on the way, where it is known. Both meet here, once, behind every endpoint. Who polls, or
//! comes while a store is down, is not refused.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::State as Server;
use crate::audit::{Authorization, Step};

/// What a client calls itself may be anything.
const MAX_CLIENT: usize = 512;

tokio::task_local! {
    static ASKED: Asked;
}

/// What is known of the request.
#[derive(Debug, Default)]
struct Asked {
    client: OnceCell<String>,
    why: OnceCell<String>,
    /// Whether the trail has it already, in other words.
    told: Cell<bool>,
}

/// An answer that refuses; among the extensions of the response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// A code of RFC 6749 or RFC 7591, or the title of a page.
    pub(super) error: &'static str,
    /// What the caller is told.
    pub(super) text: &'static str,
}

impl Refusal {
    /// Marks an answer as refusing.
    pub(super) fn mark(error: &'static str, text: &'static str, response: &mut Response) {
        response.extensions_mut().insert(Self { error, text });
    }
}

/// This client asks; whether it is itself may not be known yet.
pub(super) fn by(client: &str) {
    let client = || client.chars().take(MAX_CLIENT).collect();
    // Outside of a request, as in tests of a part, nobody asks.
    let _ = ASKED.try_with(|asked| asked.client.get_or_init(client).len());
}

/// What was wrong, for the operator: the caller is told less.
pub(super) fn because(why: &str) {
    let _ = ASKED.try_with(|asked| asked.why.get_or_init(|| why.to_owned()).len());
}

/// The trail has a line of what is refused already.
pub(super) fn told() {
    let _ = ASKED.try_with(|asked| asked.told.set(true));
}

/// Lets a request through and tells of its refusal, if it is one.
pub(super) async fn tell(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answered = async {
        let response = next.run(request).await;
        if let Some(refusal) = response.extensions().get::<Refusal>() {
            ASKED.with(|asked| record(&server, &path, *refusal, asked));
        }
        response
    };
    ASKED.scope(Asked::default(), answered).await
}

fn record(server: &Server, path: &str, Refusal { error, text }: Refusal, asked: &Asked) {
    let client = asked.client.get().map(String::as_str).unwrap_or_default();
    let why = asked.why.get().map_or(text, String::as_str);
    tracing::info!(endpoint = path, client = %client.escape_debug(), error, reason = why, "refused");
    if !asked.told.get() {
        server.record_refusal(Authorization::new(step(path), client).because(format!("{error}: {why}")));
    }
}

fn step(path: &str) -> Step {
    match path {
        "/register" => Step::RegistrationRefused,
        "/token" | "/revoke" | "/auth/exchange" | "/auth/refresh" | "/auth/logout" => Step::TokenRefused,
        "/auth/callback" => Step::SignInFailed,
        _ => Step::AuthorizationRefused,
    }
}
