//! An MCP server that costs next to nothing: one answer to `tools/list`, with 100 tools, one to introductions, one to
//! everything else; a call of `get_watch` opens an event stream that says one thing and then nothing.
//!
//! `backend <listen>`

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The answers to the id that the load generator uses, ready to be sent.
#[derive(Clone)]
struct Answers {
    list: Bytes,
    call: Bytes,
}

impl Answers {
    fn new() -> Self {
        let content = json!([{ "type": "text", "text": "ok 42" }]);
        let call = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": content, "isError": false } });
        let tools: Vec<_> = (0..100).map(tool).collect();
        let list = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": tools } });
        Self { list: list.to_string().into(), call: call.to_string().into() }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let body =
            request.into_body().collect().await.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
        let has = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
        if has(b"\"notifications/") {
            let mut response = Response::new(Either::Left(Full::default()));
            *response.status_mut() = StatusCode::ACCEPTED;
            return Ok(response);
        }
        if has(WATCH) {
            let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(NOTE)))]);
            let stream = StreamBody::new(first.chain(futures_util::stream::pending()));
            let mut response = Response::new(Either::Right(BoxBody::new(stream)));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
            return Ok(response);
        }
        let answer = if has(LIST) {
            self.list
        } else if has(b"\"initialize\"") {
            introduction(&body)
        } else {
            self.call
        };
        let mut response = Response::new(Either::Left(Full::new(with_id_of(&body, answer))));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

/// Introduces itself in the revision that was asked for.
fn introduction(body: &[u8]) -> Bytes {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let revision = asked.pointer("/params/protocolVersion").and_then(Value::as_str).unwrap_or("2025-11-25");
    let server = json!({ "name": "bench", "version": "1" });
    let result = json!({ "protocolVersion": revision, "capabilities": { "tools": {} }, "serverInfo": server });
    json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string().into()
}

/// The answer, to the id of this request where it is another.
fn with_id_of(body: &[u8], answer: Bytes) -> Bytes {
    let has = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
    if has(b"\"id\":1,") || has(b"\"id\":1}") {
        return answer;
    }
    let (asked, mut answer): (Value, Value) =
        (serde_json::from_slice(body).unwrap_or_default(), serde_json::from_slice(&answer).unwrap_or_default());
    if let Some(members) = answer.as_object_mut() {
        members.insert("id".to_owned(), asked.get("id").cloned().unwrap_or_default());
    }
    answer.to_string().into()
}

const LIST: &[u8] = b"\"tools/list\"";
const WATCH: &[u8] = b"\"get_watch\"";
const NOTE: &[u8] =
    b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\n\n";

type Body = Either<Full<Bytes>, BoxBody<Bytes, Infallible>>;

/// Every other tool is one to read with, so that a filter has half of them to take out.
fn tool(number: usize) -> serde_json::Value {
    let verb = if number.is_multiple_of(2) { "get" } else { "delete" };
    json!({
        "name": format!("{verb}_station_{number:03}"),
        "title": format!("Tool number {number}"),
        "description": format!("This tool does thing number {number}. It takes a \"query\", a limit and some options and returns a list of matching rows. Use it when the user asks for data about topic {number}; do not use it for anything else."),
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": { "type": "string", "description": "The query to run, in the query language" },
                "limit": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 50 }
            },
            "required": ["query"],
            "additionalProperties": false
        },
        "annotations": { "readOnlyHint": number.is_multiple_of(2) }
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1).ok_or(std::io::ErrorKind::InvalidInput)?;
    let answers = Answers::new();
    let listener = tokio::net::TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = answers.clone();
        let service = service_fn(move |request| answers.clone().answer(request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
