//! Which endpoints a page of another origin may call (Fetch, CORS protocol): documents, registration and tokens.
//!
//! They act on what the request says and on no cookie, so any origin may. What a person decides in a browser (authorize,
//! consent, callback) is closed to other origins by not being listed here.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};

/// Answers preflight requests, and lets every other answer be read.
pub(super) async fn open(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return allow(preflight());
    }
    allow(next.run(request).await)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, mcp-protocol-version"),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn allow(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
