//! What an answer says went wrong, in words of a closed set (OpenTelemetry conventions for MCP, `error.type`).

use memchr::memmem;

use super::jsonrpc::members;
use super::method::Method;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A JSON-RPC code, `rpc_error` for one that the protocol does not know, or `tool_error`.
    pub label: &'static str,
    /// Whether it is for the caller to ask better, so that nothing is wrong with the server.
    pub is_callers: bool,
}

/// A call that its tool says has failed.
const TOOL_ERROR: Fault = Fault { label: "tool_error", is_callers: false };
const UNKNOWN: Fault = Fault { label: "rpc_error", is_callers: false };

/// The codes of JSON-RPC and of MCP, and whose fault each is.
const CODES: [(i64, &str, bool); 11] = [
    (-32700, "-32700", true),
    (-32600, "-32600", true),
    (-32601, "-32601", true),
    (-32602, "-32602", true),
    (-32603, "-32603", false),
    (-32002, "-32002", true),
    (-32001, "-32001", false),
    (-32020, "-32020", true),
    (-32021, "-32021", true),
    (-32022, "-32022", true),
    (-32042, "-32042", true),
];

impl Fault {
    /// What an answer that is an error says.
    #[must_use]
    pub fn of_error(body: &[u8]) -> Self {
        let code = code(body);
        let known = CODES.iter().find(|(number, ..)| code == Some(*number));
        known.map_or(UNKNOWN, |(_, label, is_callers)| Self { label, is_callers: *is_callers })
    }

    /// What an answer that may be an error says.
    #[must_use]
    pub fn of_either(body: &[u8]) -> Option<Self> {
        let message = members(std::str::from_utf8(body).ok()?)?;
        message.iter().any(|(name, _)| name == "error").then(|| Self::of_error(body))
    }

    /// What the result of this method says; a call alone can be a failed one. A result is taken apart only when it
    /// could be.
    #[must_use]
    pub fn of_result(body: &[u8], method: Option<Method>) -> Option<Self> {
        if !matches!(method, Some(Method::ToolsCall | Method::TasksResult | Method::TasksGet)) || !could_fail(body) {
            return None;
        }
        let message = members(std::str::from_utf8(body).ok()?)?;
        let (_, result) = message.iter().find(|(name, _)| name == "result")?;
        let result = members(result.get())?;
        result.iter().any(|(name, value)| name == "isError" && value.get() == "true").then_some(TOOL_ERROR)
    }
}

/// Whether there is an `isError` that is true, wherever it stands.
fn could_fail(body: &[u8]) -> bool {
    const NAME: &[u8] = b"\"isError\"";
    memmem::find_iter(body, NAME).any(|at| {
        let rest = body.get(at + NAME.len()..).unwrap_or_default();
        let rest = rest.iter().skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b':'));
        rest.take(4).eq(b"true")
    })
}

fn code(body: &[u8]) -> Option<i64> {
    let message = members(std::str::from_utf8(body).ok()?)?;
    let (_, error) = message.iter().find(|(name, _)| name == "error")?;
    let error = members(error.get())?;
    error.iter().find(|(name, _)| name == "code")?.1.get().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_named_by_its_code_if_the_protocol_knows_it() {
        for (code, label, is_callers) in [
            ("-32602", "-32602", true),
            ("-32603", "-32603", false),
            ("7", "rpc_error", false),
            ("1.5", "rpc_error", false),
        ] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"x"}}}}"#);
            assert_eq!(Fault::of_error(body.as_bytes()), Fault { label, is_callers }, "{code}");
        }
    }

    #[test]
    fn a_call_has_failed_when_its_result_says_so_and_not_when_its_content_does() {
        for (result, failed) in [
            (r#"{"content":[],"isError":true}"#, true),
            (r#"{"content":[],"isError" : true}"#, true),
            (r#"{"content":[],"isError":false}"#, false),
            (r#"{"content":[{"type":"text","text":"\"isError\":true"}]}"#, false),
            (r#"{"content":[],"structuredContent":{"isError":true}}"#, false),
            (r#"{"content":[],"structuredContent":{"isError":true},"isError":true}"#, true),
            (r#"{"content":[]}"#, false),
        ] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            let fault = Fault::of_result(body.as_bytes(), Some(Method::ToolsCall));
            assert_eq!(fault.is_some(), failed, "{result}");
            assert_eq!(Fault::of_result(body.as_bytes(), Some(Method::ToolsList)), None);
        }
    }
}
