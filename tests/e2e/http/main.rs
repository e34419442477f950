//! Requests that no client library would send, pages of other origins, and clients that are slow, many or gone.

mod admin;
mod budgets;
mod early;
mod fields;
mod framing;
mod hosts;
mod origins;
mod shares;

use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

pub(crate) async fn world() -> (World, Backend, String) {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, backend, token)
}

pub(crate) fn call() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } }).to_string()
}

/// A good request with some of its lines changed.
pub(crate) fn request(world: &World, token: &str, line: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "{line}\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json\r\n{headers}\r\n{body}",
        world.port
    )
    .into_bytes()
}
