//! Why a message is refused before any policy is asked: JSON-RPC 2.0 section 5.1 and the codes of MCP 2026-07-28.

use bytes::Bytes;
use http::StatusCode;

use super::jsonrpc::RequestId;
use super::version::{Era, ProtocolVersion};

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;
/// More than any revision's name has.
const LONGEST_VERSION: usize = 16;

/// A message that is not decided because it cannot be read in one way only, or asks for what is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: i64,
    message: &'static str,
    id: Option<RequestId>,
    data: Option<String>,
}

impl Refusal {
    pub(super) fn parse(message: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: PARSE_ERROR, message, id: None, data: None }
    }

    pub(super) fn request(message: &'static str, id: Option<RequestId>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: INVALID_REQUEST, message, id, data: None }
    }

    pub(super) fn params(message: &'static str, id: Option<RequestId>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: INVALID_PARAMS, message, id, data: None }
    }

    /// What is asked for does not exist for this caller: an answer like any other, not a broken request.
    pub(super) fn unknown(message: &'static str, id: Option<RequestId>) -> Self {
        Self { status: StatusCode::OK, code: INVALID_PARAMS, message, id, data: None }
    }

    pub(super) fn header(message: &'static str, id: Option<RequestId>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: HEADER_MISMATCH, message, id, data: None }
    }

    pub(super) fn method(era: Era, id: Option<RequestId>) -> Self {
        let status = match (era, &id) {
            (_, None) => StatusCode::BAD_REQUEST,
            (Era::Modern, Some(_)) => StatusCode::NOT_FOUND,
            (Era::Legacy, Some(_)) => StatusCode::OK,
        };
        Self { status, code: METHOD_NOT_FOUND, message: "Method not found", id, data: None }
    }

    /// The revision is not spoken. A message that names its revision itself can name those of its era only.
    #[must_use]
    pub fn version(requested: &str, era: Era, id: Option<RequestId>) -> Self {
        let of_era = |version: &ProtocolVersion| era == Era::Legacy || version.era() == era;
        let supported: Vec<_> = ProtocolVersion::ALL.into_iter().filter(of_era).map(ProtocolVersion::as_str).collect();
        // It is said again, as the protocol wants it; what is longer than any revision's name may be anything else.
        let requested: String = requested.chars().take(LONGEST_VERSION).collect();
        let data = serde_json::json!({ "supported": supported, "requested": requested }).to_string();
        let message = "Unsupported protocol version";
        Self { status: StatusCode::BAD_REQUEST, code: UNSUPPORTED_VERSION, message, id, data: Some(data) }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in fixed words.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// The JSON-RPC error code.
    #[must_use]
    pub fn code(&self) -> i64 {
        self.code
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> Bytes {
        error_body(self.id.as_ref(), self.code, self.message, self.data.as_deref())
    }
}

/// A JSON-RPC error answer. `data` is JSON; without an id the answer says `null` (JSON-RPC 2.0 section 5).
#[must_use]
pub fn error_body(id: Option<&RequestId>, code: i64, message: &str, data: Option<&str>) -> Bytes {
    let id = id.map_or("null", RequestId::as_json);
    let message = serde_json::Value::from(message);
    let data = data.map_or_else(String::new, |data| format!(r#","data":{data}"#));
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_body_is_json_whatever_the_message() {
        let body = error_body(None, -32602, "Unknown tool: \"\u{1}\n", None);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["message"], "Unknown tool: \"\u{1}\n");
        assert!(value["id"].is_null());
    }
}
