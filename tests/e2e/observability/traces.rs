//! Traces, as a collector gets them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span as Proto;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use prost::Message;
use serde_json::{Value, json};

use crate::hex;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";

/// A span, readable.
#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    links: Vec<String>,
    name: String,
    server: bool,
    failed: bool,
    nanoseconds: (u64, u64),
    attributes: Vec<(String, String)>,
}

impl Span {
    fn of(span: &Proto) -> Self {
        let text = |value: &Any| match value {
            Any::StringValue(text) => text.clone(),
            Any::IntValue(number) => number.to_string(),
            other => panic!("{other:?}"),
        };
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
            name: span.name.clone(),
            server: span.kind == i32::from(SpanKind::Server),
            failed: span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error)),
            nanoseconds: (span.start_time_unix_nano, span.end_time_unix_nano),
            attributes: span
                .attributes
                .iter()
                .map(|pair| (pair.key.clone(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap())))
                .collect(),
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

async fn collector() -> Backend {
    Backend::start(Arc::new(|_| OK.to_vec())).await
}

fn configured(collector: &Backend, more: &str) -> String {
    let origin = collector.url().trim_end_matches("/mcp").to_owned();
    format!("traces: {{ otlp: {{ endpoint: '{origin}', headers: {{ x-key: k }} }}{more} }}\n")
}

fn spans_so_far(collector: &Backend) -> Vec<Span> {
    let exports = collector.requests();
    let exports = exports.iter().map(|request| ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap());
    let resources = exports.flat_map(|export| export.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| Span::of(&span)).collect()
}

/// The spans that a collector has got, once there are so many.
async fn spans(collector: &Backend, count: usize) -> Vec<Span> {
    for _ in 0..400 {
        let spans = spans_so_far(collector);
        if spans.len() >= count {
            return spans;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("fewer than {count} spans come: {:?}", spans_so_far(collector));
}

fn call(id: u64, tool: &str, arguments: &Value, meta: Option<Value>) -> Value {
    let mut params = json!({ "name": tool, "arguments": arguments });
    if let Some(meta) = meta {
        params["_meta"] = meta;
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

async fn post(world: &World, token: &str, message: &Value, headers: &[(&str, &str)]) {
    world.post_with(token, message, headers).await.bytes().await.unwrap();
}

#[tokio::test]
async fn a_call_is_a_span_of_the_callers_trace_and_the_backends_goes_on_from_it() {
    let (collector, backend) = (collector().await, Backend::plain().await);
    let world = WorldBuilder::new(&backend).more(&configured(&collector, "")).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let meta = json!({ "traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01"), "tracestate": "v=1", "kept": [1] });
    let secret = json!({ "city": "a-value-that-nobody-may-see" });
    let from = format!("00-{OTHER}-b7ad6b7169203331-01");
    post(
        &world,
        &token,
        &call(7, "get_forecast", &secret, Some(meta)),
        &[("traceparent", &from), ("tracestate", "w=2")],
    )
    .await;
    let spans = spans(&collector, 2).await;
    let (server, client) =
        (&spans.iter().find(|span| span.server).unwrap(), spans.iter().find(|span| !span.server).unwrap());
    // What the message says counts, and what its request says is linked.
    assert_eq!((server.trace.as_str(), server.parent.as_str()), (TRACE, "00f067aa0ba902b7"));
    assert_eq!(server.links, [OTHER]);
    assert_eq!((client.trace.as_str(), &client.parent), (TRACE, &server.id));
    for span in &spans {
        assert_eq!(span.name, "tools/call get_forecast");
        assert!(
            !span.failed && span.nanoseconds.0 > 1_700_000_000_000_000_000 && span.nanoseconds.1 > span.nanoseconds.0
        );
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "get_forecast"),
            ("network.transport", "tcp"),
            ("network.protocol.name", "http"),
        ] {
            assert_eq!(span.get(key), Some(value), "{key} of {span:?}");
        }
        assert_eq!(span.get("error.type"), None);
    }
    assert!(server.nanoseconds.0 <= client.nanoseconds.0 && client.nanoseconds.1 <= server.nanoseconds.1);
    assert_eq!((server.get("jsonrpc.request.id"), server.get("portcullis.decision")), (Some("7"), Some("allow")));
    assert_eq!(client.get("server.address"), Some("127.0.0.1"));
    // In both places the backend is told of the exchange, and of nothing else.
    let got = &backend.requests()[0];
    let expected = format!("00-{TRACE}-{}-01", client.id);
    assert_eq!(got.header("traceparent").as_deref(), Some(expected.as_str()));
    assert_eq!(got.header("tracestate").as_deref(), Some("v=1"));
    let meta = &got.json()["params"]["_meta"];
    assert_eq!(*meta, json!({ "traceparent": expected, "tracestate": "v=1", "kept": [1] }));
    assert_eq!(got.head.matches("traceparent").count(), 1);
    let request = &collector.requests()[0];
    assert!(request.head.starts_with("POST /v1/traces ") && request.header("x-key").as_deref() == Some("k"));
    let everything: Vec<u8> = collector.requests().iter().flat_map(|request| request.body.clone()).collect();
    let everything = String::from_utf8_lossy(&everything);
    for secret in [token.as_str(), "nobody-may-see", "rita", "Task.Read", "0a5c0000", "v=1", "done"] {
        assert!(!everything.contains(secret), "`{secret}` is in a span");
    }
}

#[tokio::test]
async fn without_a_context_a_trace_begins_and_what_comes_of_a_request_is_told() {
    let answers = |request: &Request| {
        let message = request.json();
        let mut answer = mcp(&message);
        match message["params"]["name"].as_str() {
            Some("get_angry") => answer["result"]["isError"] = json!(true),
            Some("get_lost") => {
                answer = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32603, "message": "no" } });
            }
            Some("get_it_wrong") => {
                answer = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32602, "message": "no" } });
            }
            _ => {}
        }
        json_answer(&answer)
    };
    let (collector, backend) = (collector().await, Backend::start(Arc::new(answers)).await);
    let world = WorldBuilder::new(&backend).more(&configured(&collector, "")).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    for tool in ["get_angry", "get_lost", "get_it_wrong", "delete_station", "invented-by-a-caller"] {
        post(&world, &token, &call(1, tool, &json!({}), None), &[("traceparent", "not-one")]).await;
    }
    post(&world, &token, &json!({ "jsonrpc": "2.0", "id": "a", "method": "ping" }), &[]).await;
    // Who is nobody has no trace, whatever they say of it.
    post(&world, "no-token", &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }), &[]).await;
    backend.stop().await;
    post(&world, &token, &call(9, "get_forecast", &json!({}), None), &[]).await;
    let spans = spans(&collector, 12).await;
    assert_eq!(spans.len(), 12, "{spans:?}");
    let of = |name: &str, server: bool| {
        spans
            .iter()
            .find(|span| span.name == name && span.server == server)
            .unwrap_or_else(|| panic!("{name}: {spans:?}"))
    };
    for (name, server, error, code) in [
        ("tools/call get_angry", true, Some("tool_error"), None),
        ("tools/call get_angry", false, Some("tool_error"), None),
        ("tools/call get_lost", true, Some("-32603"), Some("-32603")),
        // The caller's fault is none of the server's.
        ("tools/call get_it_wrong", true, None, Some("-32602")),
        ("tools/call get_it_wrong", false, Some("-32602"), Some("-32602")),
        ("tools/call get_forecast", true, Some("connect"), None),
        ("tools/call get_forecast", false, Some("connect"), None),
        ("ping", true, None, None),
    ] {
        let span = of(name, server);
        // A connection that was kept may end under the request, before a new one is refused.
        let broken = Some("broken").filter(|_| error == Some("connect") && span.get("error.type") == Some("broken"));
        let error = broken.or(error);
        assert_eq!((span.get("error.type"), span.get("rpc.response.status_code")), (error, code), "{span:?}");
        assert_eq!(span.failed, error.is_some(), "{span:?}");
        assert!(!server || span.parent.is_empty(), "{span:?}");
    }
    let refused: Vec<&Span> = spans.iter().filter(|span| span.get("portcullis.decision") == Some("deny")).collect();
    assert_eq!(refused.len(), 2);
    for span in refused {
        assert_eq!((span.name.as_str(), span.failed), ("tools/call", false), "a name that nobody opens is not told");
        assert_eq!(span.get("portcullis.reason"), Some("policy"));
    }
    assert_eq!(of("ping", true).get("jsonrpc.request.id"), Some("a"));
    // Also where the client sent no `_meta` and no context.
    let got = backend.requests();
    assert!(
        got.iter()
            .all(|request| request.json()["params"]["_meta"]["traceparent"] == *request.header("traceparent").unwrap())
    );
}

#[tokio::test]
async fn who_is_traced_is_configured_and_without_configuration_nobody_is() {
    let parent = |sampled: u8| format!("00-{TRACE}-00f067aa0ba902b7-0{sampled}");
    for (more, sampled, traced) in [
        (", sample: 0", 1, true),
        (", sample: 0", 0, false),
        (", sample: 0, follow_callers: false", 1, false),
        (", sample: 1, follow_callers: false", 0, true),
    ] {
        let (collector, backend) = (collector().await, Backend::plain().await);
        let mut world = WorldBuilder::new(&backend).more(&configured(&collector, more)).start().await;
        let token = world.identity.mint("rita", &Value::Null);
        let sent = parent(sampled);
        let meta = json!({ "traceparent": sent });
        post(&world, &token, &call(1, "get_forecast", &json!({}), Some(meta)), &[("traceparent", &sent)]).await;
        // Its end sends what is left.
        world.gateway.terminate().await;
        assert_eq!(spans_so_far(&collector).len(), if traced { 2 } else { 0 }, "{more} {sampled}");
        let got = &backend.requests()[0];
        let unchanged =
            got.header("traceparent").unwrap() == sent && got.json()["params"]["_meta"]["traceparent"] == sent;
        assert_eq!(unchanged, !traced, "{more} {sampled}");
    }
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    post(&world, &token, &call(1, "get_forecast", &json!({}), None), &[("traceparent", &parent(1))]).await;
    let got = &backend.requests()[0];
    assert_eq!((got.header("traceparent"), got.json()["params"].get("_meta")), (Some(parent(1)), None));
}

#[tokio::test]
async fn each_message_of_a_batch_has_its_span_and_a_session_is_told_apart_and_not_told() {
    let with_session = |request: &Request| {
        let answer = mcp(&request.json()).to_string();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: the-backends-own\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )
        .into_bytes()
    };
    let (collector, backend) = (collector().await, Backend::start(Arc::new(with_session)).await);
    let mut world = WorldBuilder::new(&backend).more(&configured(&collector, "")).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } });
    let answer = world.post(&token, &hello).await;
    let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "tools/list" },
        call(2, "get_forecast", &json!({}), None),
        call(3, "delete_station", &json!({}), None),
    ]);
    post(&world, &token, &batch, &[("mcp-session-id", &session), ("mcp-protocol-version", "2025-03-26")]).await;
    world.gateway.terminate().await;
    let spans = spans_so_far(&collector);
    let names: Vec<(&str, bool)> = spans.iter().map(|span| (span.name.as_str(), span.server)).collect();
    for expected in [
        ("tools/list", true),
        ("tools/list", false),
        ("tools/call get_forecast", true),
        ("tools/call get_forecast", false),
        ("tools/call", true),
    ] {
        assert!(names.contains(&expected), "{expected:?} is not in {names:?}");
    }
    let digests: Vec<&str> = spans.iter().filter_map(|span| span.get("mcp.session.id")).collect();
    assert_eq!(digests.len(), 3);
    assert!(digests.iter().all(|digest| digest.len() == 16 && *digest == digests[0] && !session.contains(digest)));
}

#[tokio::test]
async fn a_collector_that_is_gone_or_silent_fails_and_slows_nothing() {
    let silent = Backend::start(Arc::new(|_| Vec::new())).await;
    for silent in [true, false].map(|is_silent| is_silent.then(|| silent.clone())) {
        let gone = collector().await;
        if silent.is_none() {
            gone.stop().await;
        }
        let collector = silent.unwrap_or(gone);
        let world = WorldBuilder::new(&Backend::plain().await).more(&configured(&collector, "")).start().await;
        let token = world.identity.mint("rita", &Value::Null);
        // More than the queue takes, while nobody empties it.
        let one = async || {
            for _ in 0..200 {
                let answer = world.ask(&token, "tools/call", json!({ "name": "get_forecast" })).await;
                assert!(answer.get("result").is_some(), "{answer}");
            }
        };
        let all = async || {
            tokio::join!(one(), one(), one(), one(), one(), one(), one(), one(), one(), one(), one(), one());
        };
        all().await;
        let metrics = world.probe("/metrics").await;
        let value = |outcome: &str| -> u64 {
            let name = format!("portcullis_trace_spans_total{{outcome=\"{outcome}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
        };
        assert_eq!(value("exported"), 0);
        assert!(value("dropped") + value("failed") > 0, "{metrics}");
    }
}
