//! An HTTP/1.1 client that sends any bytes and tells how the answer ended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

/// How long a quiet connection is waited on before it counts as open.
const QUIET: Duration = Duration::from_millis(700);

/// What came back, and whether the connection is open after it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the framing says that the body is complete.
    pub(crate) complete: bool,
    pub(crate) closed: bool,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.status() == 200 && self.complete
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let is = |line: &&str| line.split(':').next().unwrap().eq_ignore_ascii_case(name);
        self.head.lines().skip(1).find(is)?.split_once(": ").map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.unwrap(), buffer: Vec::new(), closed: false }
    }

    /// A gateway that has already answered and closed makes this fail, which is not a fault of the test.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    pub(crate) async fn finish_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads one answer; `100 Continue` is one too.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more().await {
                answer.closed = self.closed;
                return answer;
            }
        };
        answer.head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let bodiless = matches!(answer.status(), 100..=199 | 204 | 304);
        if bodiless {
            answer.complete = true;
        } else if answer.field("transfer-encoding").is_some() {
            answer.complete = self.chunks(&mut answer.body).await;
        } else if let Some(length) = answer.field("content-length").map(|length| length.parse::<usize>().unwrap()) {
            while self.buffer.len() < length && self.more().await {}
            answer.complete = self.buffer.len() >= length;
            answer.body = self.buffer.drain(..length.min(self.buffer.len())).collect();
        }
        answer.closed = self.closed;
        answer
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(end) = find(&self.buffer, b"\r\n") else {
                if self.more().await {
                    continue;
                }
                return false;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..end]).unwrap(), 16).unwrap();
            while self.buffer.len() < end + 2 + size + 2 {
                if !self.more().await {
                    return false;
                }
            }
            body.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
            self.buffer.drain(..end + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
    }

    /// Reads until the first event of a stream; its head comes first.
    pub(crate) async fn first_event(&mut self) -> String {
        while find(&self.buffer, b"\n\n").is_none() && self.more().await {}
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    /// Whether the gateway closes the connection, and nothing comes before.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let more = !self.closed && self.more().await;
        self.closed && !more && self.buffer.is_empty()
    }

    /// Whether something comes, or the end, within this time.
    pub(crate) async fn has_something(&mut self, within: Duration) -> bool {
        match tokio::time::timeout(within, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(read)) if read > 0 => true,
            Ok(_) => {
                self.closed = true;
                true
            }
            Err(_) => !self.buffer.is_empty(),
        }
    }

    /// Everything up to the end of the connection, or until it is quiet.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    async fn more(&mut self) -> bool {
        match tokio::time::timeout(QUIET, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(read)) if read > 0 => true,
            Ok(_) => {
                self.closed = true;
                false
            }
            Err(_) => false,
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl World {
    /// A POST with a `Content-Length`, on a connection of its own.
    pub(crate) async fn post(&self, body: impl AsRef<str>) -> Answer {
        self.raw(with_length(body.as_ref())).await
    }

    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = Client::connect(self.gateway).await;
        client.send(request).await;
        client.answer().await
    }
}

pub(crate) fn with_length(body: &str) -> String {
    with_fields("", body)
}

pub(crate) fn with_fields(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: mcp.example\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n{body}"
    )
}

/// The same in chunks of an odd size.
pub(crate) fn in_chunks(body: &str) -> Vec<u8> {
    let mut out = b"POST /mcp HTTP/1.1\r\nhost: mcp.example\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.as_bytes().chunks(30_011) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
