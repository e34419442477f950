//! Ways in which the provider fails when it is told to.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use crate::Shared;

/// An endpoint that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Where people sign in.
    Authorize,
    /// Where codes and refresh tokens are traded.
    Token,
    /// Discovery and keys.
    Keys,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers with a page of this status.
    Status(u16),
    /// It answers 200 with something that is no JSON.
    Garbage,
    /// It begins an answer and breaks off.
    Half,
    /// It takes this long, and answers then.
    Slow(Duration),
}

impl Endpoint {
    fn of(path: &str) -> Option<Self> {
        match path {
            path if path.ends_with("/authorize") => Some(Self::Authorize),
            path if path.ends_with("/token") => Some(Self::Token),
            path if path.ends_with("/keys") || path.contains("/.well-known/") => Some(Self::Keys),
            _ => None,
        }
    }
}

pub(crate) async fn apply(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let fault = Endpoint::of(request.uri().path()).and_then(|one| shared.directory().faults.get(&one).copied());
    match fault {
        None => next.run(request).await,
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Html("<html>Service unavailable</html>")).into_response()
        }
        Some(Fault::Garbage) => "{\"keys\":[{\"kty\":\"RSA\",\"kid\":".into_response(),
        Some(Fault::Half) => {
            let parts = [Ok("{\"keys\":"), Err(std::io::Error::other("the line broke"))];
            Body::from_stream(futures_util::stream::iter(parts)).into_response()
        }
        Some(Fault::Slow(pause)) => {
            tokio::time::sleep(pause).await;
            next.run(request).await
        }
    }
}
