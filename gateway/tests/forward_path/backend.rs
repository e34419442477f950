//! A backend that does what the called tool is named after, and keeps every request as it came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Which one on its connection, from 1.
    pub(crate) nth: usize,
}

/// What came so far.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) connections: usize,
    pub(crate) requests: Vec<Request>,
    /// How often the gateway went away while its answer was awaited.
    pub(crate) abandoned: usize,
}

/// One event, and the end.
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nf\r\ndata: {\"n\":1}\n\n\r\n0\r\n\r\n";

/// The scripted backend.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self { address: socket.local_addr().unwrap(), log: Arc::default() };
        let serving = backend.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = socket.accept().await {
                let backend = serving.clone();
                tokio::spawn(async move { backend.serve(connection).await });
            }
        });
        backend
    }

    /// A backend whose connections somebody else accepts.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, log: Arc::default() }
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    pub(crate) fn forget(&self) {
        *self.log() = Log::default();
    }

    /// Waits until the log says so; at most a second.
    pub(crate) async fn eventually(&self, what: &str, is: impl Fn(&Log) -> bool) {
        for _ in 0..100 {
            if is(&self.log()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", self.log());
    }

    pub(crate) async fn serve(&self, mut connection: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        self.log().connections += 1;
        let mut buffer = Vec::new();
        for nth in 1.. {
            let (head, tool) = self.read(&mut connection, &mut buffer, nth).await?;
            let tool = match head.split(' ').next() {
                Some("POST") => tool.as_str(),
                Some("GET") if head.contains("last-event-id: closes-reused") => "closes_reused",
                _ => "stream",
            };
            let keep = self.answer(&mut connection, tool, nth).await?;
            if !keep {
                break;
            }
        }
        connection.shutdown().await.ok()
    }

    async fn read(
        &self,
        connection: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
        nth: usize,
    ) -> Option<(String, String)> {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            more(connection, buffer).await?;
        };
        let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        if length > 2 << 20 && head.contains("unread") {
            return None;
        }
        while buffer.len() < length {
            more(connection, buffer).await?;
        }
        let body: Vec<u8> = buffer.drain(..length).collect();
        let said = String::from_utf8_lossy(&body);
        let tool =
            said.split_once(r#""name":""#).and_then(|(_, rest)| rest.split_once('"')).map_or("", |(tool, _)| tool);
        let tool = tool.to_owned();
        self.log().requests.push(Request { head: head.clone(), body, nth });
        Some((head, tool))
    }

    /// Whether the connection stays open.
    #[expect(clippy::too_many_lines, reason = "one table, a line or two for each case")]
    async fn answer(&self, to: &mut (impl AsyncRead + AsyncWrite + Unpin), tool: &str, nth: usize) -> Option<bool> {
        let last = self.log().requests.last().map_or(0, |request| request.body.len());
        let plain = |body: &str| json("", body);
        let chunked = |body: &str| {
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{body}")
        };
        let (answer, keep) = match tool {
            "no_content" => ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), true),
            "accepted" => ("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(), true),
            "not_modified" => ("HTTP/1.1 304 Not Modified\r\ncontent-length: 55\r\n\r\n".to_owned(), true),
            "interim" => (format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{}", plain("{}")), true),
            "interim_flood" => ("HTTP/1.1 102 Processing\r\n\r\n".repeat(50) + &plain("{}"), true),
            "switching" => ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(), true),
            "chunked" => (chunked("5\r\n{\"ok\"\r\n3\r\n:1}\r\n0\r\n\r\n"), true),
            "bad_chunk" => (chunked("ZZ\r\n"), true),
            "chunks_cut" => (chunked("5\r\n{\"ok\"\r\n"), false),
            "until_close" => ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"ok\":1}".to_owned(), false),
            "truncated" => ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"ok\":1}".to_owned(), false),
            "two_framings" => (json("transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"), true),
            "two_lengths" => ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ".to_owned(), true),
            "coded_twice" => ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(), true),
            "folded" => (json("x-a: 1\r\n 2\r\n", "{}"), true),
            "bare_lf" => ("HTTP/1.1 200 OK\ncontent-length: 2\n\n{}".to_owned(), true),
            "nul" => (json("x-a: a\0b\r\n", "{}"), true),
            "old_http" => ("{\"ok\":1}\r\n\r\n".to_owned(), false),
            "big_head" => (json(&format!("x-a: {}\r\n", "a".repeat(70_000)), "{}"), true),
            "big_answer" => (plain(&"1".repeat((1 << 20) + 1)), true),
            "half_a_mebibyte" => (plain(&"1".repeat(1 << 19)), true),
            "gzip" => (json("content-encoding: gzip\r\n", "xx"), true),
            "nosy" => (
                json("connection: x-a\r\nx-a: 1\r\nkeep-alive: timeout=5\r\nset-cookie: a=b\r\nserver: s\r\nlocation: /\r\nretry-after: 3\r\nmcp-session-id: raw\r\n", "{}"),
                true,
            ),
            "extra" => (plain("{\"ok\":1}") + "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL", true),
            "goodbye" => (json("connection: close\r\n", "{}"), false),
            "leaves" => (plain("{}"), false),
            "closes" => (String::new(), false),
            "closes_reused" if nth > 1 => (String::new(), false),
            "hangs" => {
                let mut byte = [0; 1];
                let _ = to.read(&mut byte).await;
                self.log().abandoned += 1;
                return None;
            }
            "stalls" => (chunked("5\r\n{\"ok\"\r\n"), true),
            "stream" => {
                to.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
                to.write_all(b"f\r\ndata: {\"n\":1}\n\n\r\n").await.ok()?;
                let mut byte = [0; 1];
                let _ = to.read(&mut byte).await;
                self.log().abandoned += 1;
                return None;
            }
            "events" | "closes_reused" => (EVENTS.to_owned(),
                true,
            ),
            "events_cut" => (
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nf\r\ndata: {\"n\":1}\n\n\r\n".to_owned(),
                false,
            ),
            _ => (plain(&format!("{{\"len\":{last}}}")), true),
        };
        to.write_all(answer.as_bytes()).await.ok()?;
        to.flush().await.ok()?;
        Some(keep)
    }
}

fn json(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

async fn more(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    (from.read_buf(buffer).await.ok()? > 0).then_some(())
}
