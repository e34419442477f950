//! Raw HTTP over a socket, for what no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection on which one thing is said after another.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects to a port of this machine.
    pub async fn open(port: u16) -> Self {
        Self(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    /// Sends bytes and gives back what came until the peer closed or fell silent.
    pub async fn say(&mut self, bytes: &[u8]) -> String {
        let _ = self.0.write_all(bytes).await;
        let mut answer = Vec::new();
        let silence = Duration::from_millis(700);
        loop {
            match tokio::time::timeout(silence, self.0.read_buf(&mut answer)).await {
                Ok(Ok(read)) if read > 0 => {}
                Ok(_) => {
                    answer.extend_from_slice(b"<closed>");
                    break;
                }
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Sends bytes on a connection of their own and gives back what came until the peer closed or fell silent.
pub async fn send(port: u16, bytes: &[u8]) -> String {
    Connection::open(port).await.say(bytes).await
}

/// The status of the first answer; 0 when there is none.
#[must_use]
pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}
