//! Messages of clients: what is accepted is, to every reader, what was decided; and reading what is sent on decides the
//! same again.

use bytes::Bytes;
use portcullis::mcp::{ClientMessage, Kind, RequestMetadata, read_message, split_batch};
use portcullis_policy::BackendName;

use crate::readers::{Json, Takes};

/// Up to three lines of headers (`MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name`; `-` for none), then the body.
pub fn check(data: &[u8]) -> bool {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut header = || parts.next().and_then(|line| std::str::from_utf8(line).ok()).filter(|line| *line != "-");
    let headers = RequestMetadata { protocol_version: header(), method: header(), name: header() };
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let backend = BackendName::try_from("weather").unwrap();
    if let Ok(Some(messages)) = split_batch(&body, &headers) {
        // Each is read by itself; one may hold what is refused then, a number for instance that no reader has room for.
        let each: Option<Vec<Json>> = messages.iter().map(|message| Json::read(message)).collect();
        match (Json::read(&body), each) {
            (Some(Json::List(all)), Some(each)) => assert!(all == each),
            (None, None) => assert!(messages.iter().any(|message| read_message(message, &headers, &backend).is_err())),
            (whole, each) => panic!("{whole:?} is not {each:?}"),
        }
        return true;
    }
    let Ok(message) = read_message(&body, &headers, &backend) else { return false };
    let sent = message.encode();
    let (said, meant) = (Json::read(&body).unwrap(), Json::read(&sent).unwrap());
    assert!(said.is_plain() && meant.is_plain());
    for takes in Takes::ALL {
        agrees(&said, &message, takes);
        agrees(&meant, &message, takes);
    }
    let again = read_message(&sent, &headers, &backend).unwrap();
    assert_eq!(decided(&again), decided(&message));
    assert_eq!(again.encode(), sent, "what is sent is stable");
    true
}

fn decided(message: &ClientMessage) -> (Kind, Option<&str>, Option<&str>, Option<&str>) {
    let method = message.method().map(portcullis::mcp::Method::as_str);
    let id = message.id().map(portcullis::mcp::RequestId::as_json);
    (message.kind(), method, id, message.target().map(portcullis::mcp::Target::as_str))
}

fn agrees(json: &Json, message: &ClientMessage, takes: Takes) {
    let method = json.get("method", takes).and_then(Json::text);
    assert_eq!(method, message.method().map(portcullis::mcp::Method::as_str), "{takes:?}");
    assert_eq!(json.get("id", takes).is_some(), message.id().is_some(), "{takes:?}");
    let params = json.get("params", takes);
    let reached = match method {
        Some("tools/call" | "prompts/get") => params.and_then(|params| params.get("name", takes)),
        Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => {
            params.and_then(|params| params.get("uri", takes))
        }
        _ => return,
    };
    assert_eq!(reached.and_then(Json::text), message.target().map(portcullis::mcp::Target::as_str), "{takes:?}");
}
