//! The ways the authorization server says no: to a client (RFC 6749 section 5.2), to a client through the browser
//! (section 4.1.2.1), and to a person.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::page;
use super::refused::Refusal;
use crate::store::{SealError, StoreError};

/// An answer of the token or registration endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OAuthError {
    /// Something is missing, doubled or mistyped.
    InvalidRequest(&'static str),
    /// The client is unknown, or authenticates when it should not.
    InvalidClient(&'static str),
    /// The code or refresh token is not good, or not good here.
    InvalidGrant,
    /// The resource is not one of ours, or not the granted one.
    InvalidTarget,
    /// The scope was not granted.
    InvalidScope,
    /// The client may not ask for this type of grant.
    UnauthorizedClient,
    /// Nobody has decided on the device yet (RFC 8628 section 3.5).
    AuthorizationPending,
    /// The device asks too often.
    SlowDown,
    /// The device's code is over, or never was.
    ExpiredToken,
    /// The person said no, or could not sign in.
    AccessDenied,
    /// The grant is of another type.
    UnsupportedGrantType,
    /// A redirect URI cannot be registered (RFC 7591 section 3.2.2).
    InvalidRedirectUri(&'static str),
    /// The metadata cannot be registered.
    InvalidClientMetadata(&'static str),
    /// The identity provider or the store does not answer; nothing was lost.
    TemporarilyUnavailable,
}

impl OAuthError {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::InvalidRequest(text) => (bad, "invalid_request", text),
            Self::InvalidClient(text) => (StatusCode::UNAUTHORIZED, "invalid_client", text),
            Self::InvalidGrant => (bad, "invalid_grant", "The grant is not valid; authorize again"),
            Self::InvalidTarget => (bad, "invalid_target", "The resource is not the one that was granted"),
            Self::InvalidScope => (bad, "invalid_scope", "The scope is more than was granted"),
            Self::UnauthorizedClient => (bad, "unauthorized_client", "The client may not use this grant type"),
            Self::AuthorizationPending => (bad, "authorization_pending", "Nobody has decided yet; ask again"),
            Self::SlowDown => (bad, "slow_down", "Ask less often: five seconds more between two requests"),
            Self::ExpiredToken => (bad, "expired_token", "The device code is over; begin again"),
            Self::AccessDenied => (bad, "access_denied", "The request was declined"),
            Self::UnsupportedGrantType => (bad, "unsupported_grant_type", "Use authorization_code or refresh_token"),
            Self::InvalidRedirectUri(text) => (bad, "invalid_redirect_uri", text),
            Self::InvalidClientMetadata(text) => (bad, "invalid_client_metadata", text),
            Self::TemporarilyUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "Try again in a moment")
            }
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, error, description) = self.parts();
        let mut response = (status, Json(json!({ "error": error, "error_description": description }))).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6749 section 5.2: in the scheme that a client may have tried.
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"portcullis\""));
        }
        match self {
            Self::TemporarilyUnavailable => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            // A device is told to go on asking.
            Self::AuthorizationPending | Self::SlowDown => {}
            _ => Refusal::mark(error, description, &mut response),
        }
        response
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::TemporarilyUnavailable
    }
}

impl From<SealError> for OAuthError {
    fn from(error: SealError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<SealError> for PageError {
    fn from(error: SealError) -> Self {
        StoreError::from(error).into()
    }
}

/// What a person in a browser is told, when there is no client to send them back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageError {
    /// The link is not one that a client may send.
    BadRequest(&'static str),
    /// The login is over, was finished before, or never was.
    LoginOver,
    /// The form or the browser is not the one that the login began in.
    OtherBrowser,
    /// Consent to nothing.
    NothingTicked,
    /// The gateway cannot do it at the moment.
    Unavailable,
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::Unavailable
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, text) = match self {
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, "This link cannot be used", text),
            Self::LoginOver => (
                StatusCode::BAD_REQUEST,
                "This sign-in is over",
                "It was finished before, or took too long. Go back to your application and connect again.",
            ),
            Self::OtherBrowser => (
                StatusCode::FORBIDDEN,
                "This sign-in began elsewhere",
                "It can only be finished in the browser that it was approved in. Go back to your application and connect again.",
            ),
            Self::NothingTicked => (
                StatusCode::BAD_REQUEST,
                "Nothing is selected",
                "Go back and select what the application may do, or decline.",
            ),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not available", "Please try again in a moment."),
        };
        let mut response = page::error(status, title, text);
        if self != Self::Unavailable {
            Refusal::mark(title, text, &mut response);
        }
        response
    }
}
