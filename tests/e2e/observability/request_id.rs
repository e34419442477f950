//! One name for a request, wherever it is spoken of.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use portcullis_tests::{Backend, WorldBuilder};
use prost::Message;
use serde_json::{Value, json};

fn lines_with<'t>(text: &'t str, id: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.contains(id)).collect()
}

#[tokio::test]
async fn one_id_leads_from_the_answer_to_the_log_the_trail_and_the_trace() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let collector = Backend::start(Arc::new(|_| ok.to_vec())).await;
    let backend = Backend::plain().await;
    let traces = format!("traces: {{ otlp: {{ endpoint: '{}' }} }}\n", collector.url().trim_end_matches("/mcp"));
    let mut world = WorldBuilder::new(&backend).more(&traces).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    let good = world.post(&token, &message).await;
    backend.stop().await;
    // A client's own idea of the id is not taken for ours.
    let bad = world.post_with(&token, &message, &[("x-request-id", "of-the-client")]).await;
    assert_eq!((good.status(), bad.status()), (200.try_into().unwrap(), 502.try_into().unwrap()));
    let id = |answer: &reqwest::Response| answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let (good, bad) = (id(&good), id(&bad));
    assert!(good != bad && !bad.contains("of-the-client"));
    let trail = world.audit(4).await;
    world.gateway.terminate().await;
    let mut traces = Vec::new();
    for request in collector.requests() {
        let export = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
        let scopes = export.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let named = span.attributes.iter().find(|pair| pair.key == "portcullis.request_id");
            if let Some(Any::StringValue(id)) = named.and_then(|pair| pair.value.clone()?.value) {
                traces.push((id, crate::hex(&span.trace_id)));
            }
        }
    }
    for id in [&good, &bad] {
        let of_this: Vec<&Value> = trail.iter().filter(|line| line["request_id"] == **id).collect();
        assert_eq!(of_this.len(), 2, "a decision and an outcome: {of_this:?}");
        let (_, trace) = traces.iter().find(|(of, _)| of == id).unwrap();
        assert!(of_this.iter().all(|line| line["trace_id"] == **trace), "{of_this:?}");
    }
    let said = world.gateway.said();
    let lines = lines_with(&said, &bad);
    assert!(lines.iter().any(|line| line.contains("an exchange with a backend failed")), "{lines:?}");
}

#[tokio::test]
async fn a_decision_says_where_the_request_came_from_as_far_as_proxies_are_believed() {
    for (server, expected) in [("", "127.0.0.1"), ("trusted_proxies: [127.0.0.1]", "2001:db8::7")] {
        let world = WorldBuilder::new(&Backend::plain().await).server(server).start().await;
        let token = world.identity.mint("rita", &Value::Null);
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        for token in [token.as_str(), "no-token"] {
            world.post_with(token, &message, &[("x-forwarded-for", "2001:db8::7")]).await;
        }
        let trail = world.audit(4).await;
        let decisions: Vec<&Value> = trail.iter().filter(|line| line["type"] == "mcp.decision").collect();
        assert_eq!(decisions.len(), 2);
        assert!(decisions.iter().all(|line| line["source"] == expected), "{decisions:?}");
    }
}

#[tokio::test]
async fn the_authorization_servers_answers_and_steps_have_their_id_too() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let metadata = json!({ "client_name": "Tests", "redirect_uris": ["http://127.0.0.1:33418/callback"], "application_type": "native" });
    let answer = world.http().post(format!("{}/register", world.url())).json(&metadata).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let trail = world.audit(1).await;
    assert_eq!((&trail[0]["event"], &trail[0]["request_id"]), (&json!("client_registered"), &json!(id)));
    // And where nothing is, or is to be learnt.
    for path in ["/nothing-here", "/authorize?client_id=nobody", "/.well-known/oauth-authorization-server"] {
        let answer = world.http().get(format!("{}{path}", world.url())).send().await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"), "{path}: {answer:?}");
    }
    // What is refused has one line in the log and one in the trail, and says from where it came: whom the gateway believes
    // about that stands in its configuration.
    let spoofed = world.http().post(format!("{}/token", world.url())).header("x-forwarded-for", "203.0.113.7");
    let form = [("grant_type", "refresh_token"), ("client_id", "nobody"), ("refresh_token", "guessed")];
    let refused = spoofed.form(&form).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let id = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
    let trail = world.audit(3).await;
    let of_this: Vec<&Value> = trail.iter().filter(|line| line["request_id"] == *id).collect();
    assert_eq!((of_this.len(), &of_this[0]["event"]), (1, &json!("token_refused")), "{trail:?}");
    assert_eq!((&of_this[0]["client"], &of_this[0]["source"]), (&json!("nobody"), &json!("127.0.0.1")));
    let said = world.gateway.said();
    let refusals = lines_with(&said, &id).into_iter().filter(|line| line.contains("refused")).count();
    assert_eq!(refusals, 1, "{said}");
    let refused = world.post("no-token", &json!({})).await;
    let id = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
    tokio::time::timeout(Duration::from_secs(5), async {
        while lines_with(&world.gateway.said(), &id).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the log names the request that was refused");
}
