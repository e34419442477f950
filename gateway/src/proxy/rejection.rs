//! Every way the data plane says no: one closed enum, one answer each.
//!
//! The caller learns what they can act on and nothing else; what the operator needs is in the log and the audit
//! trail under the request's id. A body is a JSON-RPC error wherever a client would otherwise take a bare 4xx for
//! an older server and fall back (MCP 2026-07-28, versioning). The file is
//! long so that every way to say no stands in one place.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use portcullis_policy::{Denial, DenialKind};

use super::ending::End;
use super::exchange::BodyFault;
use super::mount::Mount;
use crate::authn::{self, AuthnError, challenge};
use crate::limit::TooOften;
use crate::mcp::{Era, Refusal, RequestId, error_body};
use crate::metrics::Reason;

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Rejection {
    /// A browser page of another origin is calling.
    ForeignOrigin,
    /// A header that something is decided by is there twice, or unreadable.
    AmbiguousHeader,
    /// The body cannot be read.
    Body(BodyFault),
    /// Not POST, GET or DELETE; or a stream or session end without a session.
    MethodNotAllowed,
    /// A POST that is not `application/json`, or is encoded.
    UnsupportedMediaType,
    /// No token, or one that does not verify.
    Unauthenticated(AuthnError),
    /// The token was good when the request began, and is no more; or the rules that it came under have gone.
    Over {
        /// The request's id.
        id: Option<RequestId>,
        /// What ended it.
        end: End,
    },
    /// Not a message that can be decided.
    Unreadable(Refusal),
    /// A batch that introduces a client, or uses an id twice.
    BadBatch,
    /// The policy does not open it to this caller: answered as if it did not exist.
    Unknown {
        /// The request's id; a notification has none and is dropped.
        id: Option<RequestId>,
        /// What would have been reached.
        what: Unknown,
        /// Whose codes to use.
        era: Era,
    },
    /// As that, by a policy that explains what it does not open.
    NotOpen {
        /// The request's id.
        id: Option<RequestId>,
        /// What the caller is told.
        told: String,
    },
    /// It is open, and refused with these arguments: told in a way that a model can do better by.
    Refused {
        /// The request's id.
        id: Option<RequestId>,
        /// What was asked for.
        what: Unknown,
        /// Whose form to use.
        era: Era,
        /// What the caller is told.
        told: String,
    },
    /// It is open, but the token's scopes or its sign-in do not cover it.
    InsufficientScope {
        /// The request's id.
        id: Option<RequestId>,
        /// Every scope the call needs.
        scopes: Vec<String>,
    },
    /// The caller asks too often.
    TooOften {
        /// The request's id.
        id: Option<RequestId>,
        /// How long to wait.
        wait: TooOften,
    },
    /// The caller has as many event streams as one caller may have.
    TooManyStreams {
        /// The request's id.
        id: Option<RequestId>,
    },
    /// The caller has as many requests as one caller may have at once.
    TooManyAtOnce,
    /// The identity provider gives no token for the backend's API in this caller's name.
    NotOnBehalf {
        /// The request's id.
        id: Option<RequestId>,
    },
    /// The session does not exist, for this caller.
    UnknownSession,
    /// It answers what nobody has asked, or what is answered already.
    NotAsked,
    /// `Last-Event-ID` was not sent in this session.
    UnknownEvent,
    /// The gateway cannot decide or record at the moment.
    Unavailable {
        /// The request's id.
        id: Option<RequestId>,
    },
    /// The backend could not be reached, or its answer cannot be used.
    BadGateway {
        /// The request's id.
        id: Option<RequestId>,
    },
    /// The backend has as much to do as it may have, or no server of it is in use.
    NoServer {
        /// The request's id.
        id: Option<RequestId>,
        /// When to come again.
        wait: Duration,
    },
    /// The backend waits for as many requests of the caller as it may, for others to find a place.
    TooManyThere {
        /// The request's id.
        id: Option<RequestId>,
        /// When to come again.
        wait: Duration,
    },
    /// The backend took too long.
    GatewayTimeout {
        /// The request's id.
        id: Option<RequestId>,
    },
}

/// What a caller asked for that does not exist for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// A tool.
    Tool(String),
    /// A prompt.
    Prompt(String),
    /// A resource.
    Resource(String),
    /// Everything: the tenant reaches nothing here.
    Everything,
}

const INVALID_REQUEST: i64 = -32600;
const INVALID_PARAMS: i64 = -32602;
const INTERNAL_ERROR: i64 = -32603;
/// What revisions before 2026-07-28 say of a resource that is not there.
const RESOURCE_NOT_FOUND: i64 = -32002;
/// Outside the ranges that JSON-RPC and MCP keep for themselves (MCP 2026-07-28, basic/index section Error Codes).
const FORBIDDEN: i64 = -31403;
/// When to come again where nothing says how long it takes.
const COME_AGAIN: Duration = Duration::from_secs(5);
const TOO_MANY_REQUESTS: i64 = -31429;

impl Rejection {
    /// The rejection of what the policy refused.
    #[must_use]
    pub(super) fn denied(denial: &Denial, id: Option<RequestId>, what: Unknown, era: Era) -> Self {
        match denial.kind() {
            DenialKind::NotOpen => match denial.explained() {
                Some(told) => Self::NotOpen { id, told: told.to_owned() },
                None => Self::Unknown { id, what, era },
            },
            DenialKind::Refused { told } => Self::Refused { id, what, era, told: told.clone() },
            DenialKind::NotKnownYet => Self::Unavailable { id },
            DenialKind::ScopeMissing { scopes } => {
                Self::InsufficientScope { id, scopes: scopes.iter().map(|tag| tag.as_ref().to_owned()).collect() }
            }
        }
    }

    /// Its label in metrics.
    #[must_use]
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Body(BodyFault::NoRoom)
            | Self::Unauthenticated(AuthnError::Unavailable)
            | Self::Over { end: End::Unknown | End::News | End::Unanswered, .. }
            | Self::Unavailable { .. } => Reason::Unavailable,
            Self::Body(BodyFault::OverShare)
            | Self::TooManyAtOnce
            | Self::TooOften { .. }
            | Self::TooManyStreams { .. } => Reason::Rate,
            Self::ForeignOrigin
            | Self::AmbiguousHeader
            | Self::Body(_)
            | Self::MethodNotAllowed
            | Self::UnsupportedMediaType => Reason::Http,
            Self::Unauthenticated(_) | Self::Over { end: End::Token | End::Revoked, .. } | Self::NotOnBehalf { .. } => {
                Reason::Token
            }
            Self::Unreadable(_) | Self::BadBatch => Reason::Message,
            Self::Unknown { .. }
            | Self::NotOpen { .. }
            | Self::Refused { .. }
            | Self::Over { end: End::Closed, .. } => Reason::Policy,
            Self::InsufficientScope { .. } => Reason::Scope,
            Self::UnknownSession | Self::NotAsked | Self::UnknownEvent => Reason::Session,
            Self::BadGateway { .. }
            | Self::GatewayTimeout { .. }
            | Self::NoServer { .. }
            | Self::TooManyThere { .. } => Reason::None,
        }
    }

    /// What it is, for the audit trail.
    #[must_use]
    pub(super) fn operator_text(&self) -> String {
        match self {
            Self::ForeignOrigin => "the origin is not allowed; see `server.allowed_origins`".to_owned(),
            Self::AmbiguousHeader => "a header is there twice, or malformed".to_owned(),
            Self::Body(fault) => format!("the body cannot be read: {fault:?}"),
            Self::MethodNotAllowed => "the HTTP method is not served here".to_owned(),
            Self::UnsupportedMediaType => "the body is not plain application/json".to_owned(),
            Self::Unauthenticated(failure) => failure.to_string(),
            Self::Over { end: End::News, .. } => {
                "the rest of a batch is not sent: a reload came in between, and something of the batch was".to_owned()
            }
            Self::Over { end, .. } => {
                format!("the token was good when the request began, and is no more: {}", end.label())
            }
            Self::Unreadable(refusal) => format!("{} ({})", refusal.message(), refusal.code()),
            Self::BadBatch => "a batch initializes, or uses an id twice".to_owned(),
            Self::TooOften { .. } => {
                "the caller asks too often; see `limits.calls_per_minute`, and `rate` of roles".to_owned()
            }
            Self::TooManyStreams { .. } => {
                "the caller has too many event streams; see `limits.streams_per_caller`".to_owned()
            }
            Self::TooManyAtOnce => {
                "the caller has too many requests at once; see `limits.requests_per_caller`".to_owned()
            }
            Self::UnknownSession => "the session is not this caller's".to_owned(),
            Self::NotAsked => "it answers what was not asked in this session, or is answered already".to_owned(),
            Self::UnknownEvent => "`Last-Event-ID` was not sent in this session".to_owned(),
            Self::Unknown { .. } | Self::NotOpen { .. } | Self::Refused { .. } | Self::InsufficientScope { .. } => {
                "the policy says no".to_owned()
            }
            Self::NotOnBehalf { .. } => "there is no token for the backend's API in this caller's name".to_owned(),
            Self::Unavailable { .. } => "the gateway cannot decide at the moment".to_owned(),
            Self::NoServer { .. } => "no server of the backend takes the request".to_owned(),
            Self::TooManyThere { .. } => {
                "the backend waits for as many of the caller's requests as are free; see its `max_concurrent`"
                    .to_owned()
            }
            Self::BadGateway { .. } | Self::GatewayTimeout { .. } => "the backend gave no usable answer".to_owned(),
        }
    }

    /// The answer that the caller gets from this mount.
    #[must_use]
    pub(super) fn response(&self, mount: &Mount) -> Response<Bytes> {
        match self {
            Self::AmbiguousHeader => {
                error(StatusCode::BAD_REQUEST, None, INVALID_REQUEST, "A header is there twice, or malformed")
            }
            Self::Body(fault) => unread(*fault),
            Self::Unauthenticated(AuthnError::Unavailable) => unavailable(None),
            Self::ForeignOrigin => error(StatusCode::FORBIDDEN, None, INVALID_REQUEST, "Origin not allowed"),
            Self::MethodNotAllowed => {
                let response = error(StatusCode::METHOD_NOT_ALLOWED, None, INVALID_REQUEST, "Method not allowed");
                with(response, header::ALLOW, "POST, GET, DELETE")
            }
            Self::UnsupportedMediaType => error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                None,
                INVALID_REQUEST,
                "Content-Type must be application/json, without Content-Encoding",
            ),
            Self::Unauthenticated(failure) => {
                let value = challenge::unauthorized(failure, &mount.resource_metadata, &mount.scope);
                with(plain(StatusCode::UNAUTHORIZED, ""), header::WWW_AUTHENTICATE, &value)
            }
            Self::Over { id, end } => over(id.as_ref(), *end, mount),
            Self::Unreadable(refusal) => json(refusal.status(), refusal.body()),
            Self::BadBatch => {
                let why = "A batch cannot initialize, or use an id twice";
                error(StatusCode::BAD_REQUEST, None, INVALID_REQUEST, why)
            }
            Self::Unknown { .. } | Self::NotOpen { .. } | Self::Refused { .. } => self.by_policy(),
            Self::InsufficientScope { id, scopes } => {
                let value = challenge::insufficient_scope(&mount.resource_metadata, scopes);
                let response = error(StatusCode::FORBIDDEN, id.as_ref(), FORBIDDEN, "Insufficient scope");
                with(response, header::WWW_AUTHENTICATE, &value)
            }
            Self::TooOften { id, wait } => too_many(id.as_ref(), "Too many requests", *wait),
            Self::TooManyStreams { id } => too_many(id.as_ref(), "Too many event streams", TooOften(COME_AGAIN)),
            Self::TooManyAtOnce => too_many(None, "Too many requests at once", TooOften(COME_AGAIN)),
            Self::NotOnBehalf { id } => error(
                StatusCode::FORBIDDEN,
                id.as_ref(),
                FORBIDDEN,
                "Your account may not use the service behind this server; sign in again or ask your administrator",
            ),
            Self::UnknownSession => error(StatusCode::NOT_FOUND, None, INVALID_REQUEST, "Session not found"),
            // No 404: a client would begin a new session (2025-11-25, Streamable HTTP section Session Management).
            Self::NotAsked => {
                error(StatusCode::BAD_REQUEST, None, INVALID_REQUEST, "Nothing was asked that this answers")
            }
            Self::UnknownEvent => error(StatusCode::BAD_REQUEST, None, INVALID_REQUEST, "Unknown Last-Event-ID"),
            Self::Unavailable { id } => unavailable(id.as_ref()),
            Self::BadGateway { id } => error(
                StatusCode::BAD_GATEWAY,
                id.as_ref(),
                INTERNAL_ERROR,
                "The MCP server did not give a usable answer",
            ),
            Self::NoServer { id, wait } => no_server(id.as_ref(), *wait),
            Self::TooManyThere { id, wait } => too_many(id.as_ref(), "Too many requests at once", TooOften(*wait)),
            Self::GatewayTimeout { id } => {
                error(StatusCode::GATEWAY_TIMEOUT, id.as_ref(), INTERNAL_ERROR, "The MCP server took too long")
            }
        }
    }

    /// The answer to what the policy does not open.
    fn by_policy(&self) -> Response<Bytes> {
        match self {
            Self::Unknown { id: Some(id), what, era } => unknown(Some(id), what, *era),
            Self::Refused { id: Some(id), what: Unknown::Tool(_), era, told } => {
                json(StatusCode::OK, refused_call(id, *era, told))
            }
            Self::NotOpen { id: Some(id), told } | Self::Refused { id: Some(id), told, .. } => {
                error(StatusCode::OK, Some(id), INVALID_PARAMS, told)
            }
            // A notification has no answer.
            _ => plain(StatusCode::ACCEPTED, ""),
        }
    }
}

fn too_many(id: Option<&RequestId>, why: &str, wait: TooOften) -> Response<Bytes> {
    let response = error(StatusCode::TOO_MANY_REQUESTS, id, TOO_MANY_REQUESTS, why);
    with(response, header::RETRY_AFTER, &wait.seconds().to_string())
}

fn no_server(id: Option<&RequestId>, wait: Duration) -> Response<Bytes> {
    let why = "The MCP server takes no more requests at the moment";
    let response = error(StatusCode::SERVICE_UNAVAILABLE, id, INTERNAL_ERROR, why);
    with(response, header::RETRY_AFTER, &TooOften(wait).seconds().to_string())
}

fn unknown(id: Option<&RequestId>, what: &Unknown, era: Era) -> Response<Bytes> {
    let (code, message) = match what {
        Unknown::Tool(name) => (INVALID_PARAMS, format!("Unknown tool: {name}")),
        Unknown::Prompt(name) => (INVALID_PARAMS, format!("Unknown prompt: {name}")),
        Unknown::Resource(uri) => {
            let code = if era == Era::Modern { INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
            (code, format!("Resource not found: {uri}"))
        }
        Unknown::Everything => (INVALID_PARAMS, "Nothing here is open to this account".to_owned()),
    };
    error(StatusCode::OK, id, code, &message)
}

/// A tool's own way to say that a call went wrong (MCP, server/tools section Error Handling).
fn refused_call(id: &RequestId, era: Era, told: &str) -> Bytes {
    let kind = if era == Era::Modern { "\"resultType\":\"complete\"," } else { "" };
    let (id, text) = (id.as_json(), serde_json::Value::from(told));
    let content = format!("[{{\"type\":\"text\",\"text\":{text}}}]");
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{{kind}\"content\":{content},\"isError\":true}}}}").into()
}

fn unread(fault: BodyFault) -> Response<Bytes> {
    let (status, why) = match fault {
        BodyFault::NoRoom => return unavailable(None),
        BodyFault::OverShare => return too_many(None, "Too many large bodies at once", TooOften(COME_AGAIN)),
        BodyFault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
        BodyFault::Broken => (StatusCode::BAD_REQUEST, "The body is malformed"),
        BodyFault::TooSlow | BodyFault::Ended => (StatusCode::REQUEST_TIMEOUT, "The body did not arrive"),
    };
    error(status, None, INVALID_REQUEST, why)
}

fn over(id: Option<&RequestId>, end: End, mount: &Mount) -> Response<Bytes> {
    let body = end.error(id);
    match end {
        End::Token | End::Revoked => {
            // Whatever ended a token, the challenge is the one of a token that is good no more.
            let ended = AuthnError::from(authn::Reason::Revoked);
            let value = challenge::unauthorized(&ended, &mount.resource_metadata, &mount.scope);
            with(json(StatusCode::UNAUTHORIZED, body), header::WWW_AUTHENTICATE, &value)
        }
        End::Unknown | End::News | End::Unanswered => {
            with(json(StatusCode::SERVICE_UNAVAILABLE, body), header::RETRY_AFTER, "5")
        }
        End::Closed => json(StatusCode::OK, body),
    }
}

fn unavailable(id: Option<&RequestId>) -> Response<Bytes> {
    let response = error(StatusCode::SERVICE_UNAVAILABLE, id, INTERNAL_ERROR, "Temporarily unavailable");
    with(response, header::RETRY_AFTER, "5")
}

fn error(status: StatusCode, id: Option<&RequestId>, code: i64, message: &str) -> Response<Bytes> {
    json(status, error_body(id, code, message, None))
}

fn json(status: StatusCode, body: Bytes) -> Response<Bytes> {
    with(body_of(status, body), header::CONTENT_TYPE, "application/json")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let response = body_of(status, Bytes::from_static(text.as_bytes()));
    if text.is_empty() { response } else { with(response, header::CONTENT_TYPE, "text/plain; charset=utf-8") }
}

fn body_of(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn with(mut response: Response<Bytes>, name: header::HeaderName, value: &str) -> Response<Bytes> {
    // Every value here is made of configuration and fixed texts; one that is not a header value is left out, which
    // costs the client a hint and nothing else.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
