//! A scripted MCP server that keeps every byte it gets: what it did not get, nobody forwarded.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinSet};

/// What the backend answers: raw bytes, by the request's head and body.
pub type Answer = Arc<dyn Fn(&Request) -> Vec<u8> + Send + Sync>;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers, as sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let prefix = format!("{}:", name.to_ascii_lowercase());
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    }
}

/// A backend that is running.
#[derive(Clone, Debug)]
pub struct Backend {
    address: IpAddr,
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    closed: Arc<Mutex<usize>>,
    listening: Arc<Mutex<Option<AbortHandle>>>,
    pushes: broadcast::Sender<Vec<u8>>,
}

impl Backend {
    /// Starts a backend that answers with `answer`.
    pub async fn start(answer: Answer) -> Self {
        Self::start_at("127.0.0.1", 0, answer).await
    }

    /// Starts a backend at an address and port of this machine; at any port when it is 0.
    pub async fn start_at(address: &str, port: u16, answer: Answer) -> Self {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let (address, port) = (listener.local_addr().unwrap().ip(), listener.local_addr().unwrap().port());
        let pushes = broadcast::Sender::new(16);
        let backend =
            Self { address, port, requests: Arc::default(), closed: Arc::default(), listening: Arc::default(), pushes };
        let shared = backend.clone();
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, answer) = (shared.clone(), Arc::clone(&answer));
                connections.spawn(async move {
                    let _ = shared.serve(stream, answer).await;
                    *shared.closed.lock().unwrap() += 1;
                });
            }
        });
        *backend.listening.lock().unwrap() = Some(listening.abort_handle());
        backend
    }

    /// A backend that answers as a small MCP server would.
    pub async fn plain() -> Self {
        Self::start(Arc::new(|request: &Request| json_answer(&mcp(&request.json())))).await
    }

    /// As [`Backend::plain`], but nothing gets an answer while this holds.
    pub async fn stuck_while(is_stuck: &Arc<AtomicBool>) -> Self {
        let stuck = Arc::clone(is_stuck);
        let answer = move |request: &Request| {
            if stuck.load(Ordering::Relaxed) { Vec::new() } else { json_answer(&mcp(&request.json())) }
        };
        Self::start(Arc::new(answer)).await
    }

    /// As [`Backend::plain`], with these tools instead of its own.
    pub async fn with_tools(tools: &[Value]) -> Self {
        let tools = tools.to_vec();
        let answer = move |request: &Request| {
            let mut answer = mcp(&request.json());
            if request.json()["method"] == "tools/list" {
                answer["result"] = json!({ "tools": tools });
            }
            json_answer(&answer)
        };
        Self::start(Arc::new(answer)).await
    }

    /// As [`Backend::plain`], for tests that take long: it forgets what it was asked.
    pub async fn forgetful() -> Self {
        let backend = Self::plain().await;
        let requests = Arc::downgrade(&backend.requests);
        tokio::spawn(async move {
            while let Some(requests) = requests.upgrade() {
                requests.lock().unwrap().clear();
                drop(requests);
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
        backend
    }

    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}/mcp", self.address, self.port)
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Sends bytes on every stream that an answer with `x-held` in its head began.
    pub fn push(&self, bytes: &str) {
        let _ = self.pushes.send(bytes.as_bytes().to_vec());
    }

    /// Closes every connection and the port.
    pub async fn stop(&self) {
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.abort();
        }
        while TcpStream::connect((self.address, self.port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// How many connections have ended.
    #[must_use]
    pub fn closed(&self) -> usize {
        *self.closed.lock().unwrap()
    }

    async fn serve(&self, mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let Some(end) = find(&buffer, b"\r\n\r\n") else {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            let head = String::from_utf8_lossy(buffer.get(..end + 4).unwrap_or_default()).into_owned();
            let mut request = Request { head, body: Vec::new() };
            let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            while buffer.len() < end + 4 + length {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            request.body = buffer.get(end + 4..end + 4 + length).unwrap_or_default().to_vec();
            buffer.drain(..end + 4 + length);
            self.requests.lock().unwrap().push(request.clone());
            let bytes = answer(&request);
            if bytes.is_empty() {
                // Silence: only the other side can end it.
                let mut rest = [0; 1];
                stream.read_exact(&mut rest).await?;
            }
            let mut pushes = find(&bytes, b"\r\nx-held").map(|_| self.pushes.subscribe());
            stream.write_all(&bytes).await?;
            if let Some(pushes) = &mut pushes {
                while let Ok(more) = pushes.recv().await {
                    stream.write_all(&more).await?;
                }
            }
            if bytes.ends_with(b"\r\n\r\nCLOSE") || find(&bytes, b"connection: close").is_some() {
                return Ok(());
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A 200 with JSON.
#[must_use]
pub fn json_answer(body: &Value) -> Vec<u8> {
    answer("200 OK", "application/json", &body.to_string())
}

/// An answer with a true length.
#[must_use]
pub fn answer(status: &str, media: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What a small MCP server answers.
#[must_use]
pub fn mcp(message: &Value) -> Value {
    let result = match message["method"].as_str().unwrap_or_default() {
        "tools/list" => json!({ "tools": [
            { "name": "get_forecast", "inputSchema": { "type": "object" } },
            { "name": "delete_station", "inputSchema": { "type": "object" } },
            { "name": "untagged", "inputSchema": { "type": "object" } } ], "nextCursor": "next", "_meta": { "x": 1 } }),
        "initialize" => {
            json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": { "name": "x", "version": "1" } })
        }
        _ => json!({ "content": [{ "type": "text", "text": "done" }], "isError": false }),
    };
    json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })
}
