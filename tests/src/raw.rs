//! Raw HTTP over a socket, for what no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes and gives back what came until the peer closed or fell silent.
pub async fn send(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let silence = Duration::from_millis(700);
    while let Ok(Ok(read)) = tokio::time::timeout(silence, stream.read_buf(&mut answer)).await {
        if read == 0 {
            answer.extend_from_slice(b"<closed>");
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of the first answer; 0 when there is none.
#[must_use]
pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}
