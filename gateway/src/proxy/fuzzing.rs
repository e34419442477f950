//! The gate of request heads as the fuzz targets reach it: bytes in, an admitted head out.

use http::{HeaderMap, Method};
use pingora_core::protocols::http::ServerSession;
use tokio::io::AsyncWriteExt;

use super::exchange::keeps_connection;
use super::head_gate;

/// More than any head that is admitted.
const ROOM: usize = 64 * 1024;

/// What the gate admitted.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// Whether another request may come on the connection.
    pub keeps: bool,
    /// The header fields.
    pub fields: HeaderMap,
}

/// Reads one HTTP/1.1 head as a listener does; `None` when it is refused.
pub async fn admit(head: &[u8]) -> Option<Admitted> {
    let (mut client, server) = tokio::io::duplex(ROOM);
    if head.len() >= ROOM {
        return None;
    }
    client.write_all(head).await.ok()?;
    client.shutdown().await.ok()?;
    let mut session = ServerSession::new_http1(Box::new(server));
    if !matches!(session.read_request().await, Ok(true)) {
        return None;
    }
    head_gate::check(&mut session).ok()?;
    let head = session.req_header();
    let (method, path, fields) = (head.method.clone(), head.uri.path().to_owned(), head.headers.clone());
    Some(Admitted { method, path, keeps: keeps_connection(head), fields })
}
