//! Tokens that end before their time, as clients and operators see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::backend::{Backend, Request, json_answer, mcp};
use portcullis_tests::flow::{Flow, user};
use portcullis_tests::raw;
use portcullis_tests::world::{World, WorldBuilder};
use serde_json::{Value, json};

const HELD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-held: 1\r\n\r\n";

fn list() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })
}

async fn status(world: &World, token: &str) -> u16 {
    world.post(token, &list()).await.status().as_u16()
}

/// Asks until the token is refused.
async fn until_refused(world: &World, token: &str) {
    for _ in 0..400 {
        if status(world, token).await == 401 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the token is believed still");
}

#[tokio::test]
async fn an_operator_ends_sessions_and_calls_and_streams_end_too() {
    // A call is answered by a stream that says nothing.
    let script = |request: &Request| {
        let message = request.json();
        if message["method"] == "tools/call" { HELD.into() } else { json_answer(&mcp(&message)) }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let (rita, walt) = (world.sign_in("rita").await, world.sign_in("walt").await);
    let stream = world.post(&rita.access, &call(7)).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!((status(&world, &rita.access).await, status(&world, &walt.access).await), (200, 200), "the control");
    let ended = world.command(&["sessions", "revoke", "--user", &user(&rita.access)]).await;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && said.contains("1 grant(s) ended"), "{said}{ended:?}");
    let text = stream.text().await.unwrap();
    assert!(text.contains("-31402") && text.contains(r#""id":7"#), "{text}");
    until_refused(&world, &rita.access).await;
    assert_eq!(status(&world, &walt.access).await, 200, "nobody else's session ends");
    let wrong = world.command(&["sessions", "revoke", "--user", "rita"]).await;
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn neither_a_reader_that_is_slow_nor_a_server_that_never_pauses_puts_off_the_end_of_a_stream() {
    // A call is answered by more events than anybody has room for.
    let flood = |request: &Request| {
        let message = request.json();
        if message["method"] != "tools/call" {
            return json_answer(&mcp(&message));
        }
        let said = json!({ "jsonrpc": "2.0", "method": "notifications/message",
            "params": { "level": "info", "data": "x".repeat(64 * 1024) } });
        [HELD.as_bytes(), format!("data: {said}\n\n").repeat(1500).as_bytes()].concat()
    };
    let backend = Backend::start(Arc::new(flood)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": "get_forecast", "arguments": {} } });
    let rita = world.sign_in("rita").await;
    // Nothing of it is read.
    let stream = world.post(&rita.access, &call).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    world.until_metric("portcullis_streams 1").await;
    let ended = world.command(&["sessions", "revoke", "--user", &user(&rita.access)]).await;
    assert!(ended.status.success(), "{ended:?}");
    world.until_metric("portcullis_streams 0").await;
    // Cut within an event, or ended behind a whole one that says why: as it was stuck in one, or had room.
    if let Ok(text) = stream.text().await {
        let last = text.rsplit("data: ").next().unwrap();
        assert!(last.contains("-31402") && last.ends_with("\n\n"), "half an event must not look whole: {last}");
    }
}

fn call(id: u64) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } })
}

#[tokio::test]
async fn of_a_batch_nothing_more_is_sent_once_its_token_has_ended() {
    let script = |request: &Request| {
        let message = request.json();
        if message["id"] == 7 { HELD.into() } else { json_answer(&mcp(&message)) }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let rita = world.sign_in("rita").await;
    let legacy = [("mcp-protocol-version", "2025-03-26")];
    let good = world.post_with(&rita.access, &json!([call(1), call(2)]), &legacy).await;
    let good: Value = good.json().await.unwrap();
    assert!(good[0]["error"].is_null() && good[1]["error"].is_null(), "the control: {good}");
    let batch = json!([call(6), call(7), call(8), call(9)]);
    let ending = async {
        while backend.requests().len() < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.command(&["sessions", "revoke", "--user", &user(&rita.access)]).await
    };
    let (answer, ended) = tokio::join!(world.post_with(&rita.access, &batch, &legacy), ending);
    assert!(ended.status.success(), "{ended:?}");
    let answers: Value = answer.json().await.unwrap();
    let told: Vec<_> = answers.as_array().unwrap().iter().map(|one| (&one["id"], &one["error"]["code"])).collect();
    let over = json!(-31402);
    // The first was answered by then; nobody gets the answer.
    assert_eq!(told, [6, 7, 8, 9].map(|id| (id.into(), over.clone())).each_ref().map(|(id, over)| (id, over)));
    assert_eq!(backend.requests().len(), 4, "two before, the one that was answered, and the one on its way");
}

#[tokio::test]
async fn a_body_that_takes_longer_than_its_token_is_not_sent_on() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let rita = world.sign_in("rita").await;
    let body = call(1).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         accept: application/json\r\ncontent-length: {}\r\n\r\n",
        world.port,
        rita.access,
        body.len()
    );
    let (most, last) = body.split_at(body.len() - 1);
    let mut slow = [raw::Connection::open(world.port).await, raw::Connection::open(world.port).await];
    for connection in &mut slow {
        assert_eq!(connection.say(format!("{head}{most}").as_bytes()).await, "");
    }
    let [control, late] = &mut slow;
    assert_eq!(raw::status(&control.say(last.as_bytes()).await), 200, "the control");
    let ended = world.command(&["sessions", "revoke", "--user", &user(&rita.access)]).await;
    assert!(ended.status.success(), "{ended:?}");
    until_refused(&world, &rita.access).await;
    let answer = late.say(last.as_bytes()).await;
    assert_eq!(raw::status(&answer), 401, "{answer}");
    assert!(answer.contains("error=\"invalid_token\"") && answer.contains("-31402"), "{answer}");
    let called = backend.requests().iter().filter(|request| request.json()["method"] == "tools/call").count();
    assert_eq!(called, 1);
}

#[tokio::test]
async fn who_waits_for_a_place_gets_none_once_their_token_has_ended() {
    let is_stuck = Arc::new(AtomicBool::new(true));
    let backend = Backend::stuck_while(&is_stuck).await;
    let world = WorldBuilder::new(&backend).backend_more("max_concurrent: 1, max_queued: 2").start().await;
    let [first, rita, walt] = [world.sign_in("alice").await, world.sign_in("rita").await, world.sign_in("walt").await];
    let ask = |token: &str| {
        let request = world.http().post(world.mcp()).bearer_auth(token).json(&call(1));
        tokio::spawn(request.header("accept", "application/json, text/event-stream").send())
    };
    let inside = ask(&first.access);
    world.until_allowed(1).await;
    let (late, control) = (ask(&rita.access), ask(&walt.access));
    world.until_allowed(3).await;
    let ended = world.command(&["sessions", "revoke", "--user", &user(&rita.access)]).await;
    assert!(ended.status.success(), "{ended:?}");
    until_refused(&world, &rita.access).await;
    is_stuck.store(false, Ordering::Relaxed);
    inside.abort();
    let refused = late.await.unwrap().unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.text().await.unwrap().contains("-31402"));
    assert_eq!(control.await.unwrap().unwrap().status(), 200, "the control");
    let called = backend.requests().iter().filter(|request| request.json()["method"] == "tools/call").count();
    assert_eq!(called, 2, "the one inside, and the control");
}

#[tokio::test]
async fn an_answer_that_comes_after_its_token_was_revoked_is_not_delivered() {
    let body = json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [{ "type": "text", "text": "late" }] } });
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-held: 1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let script = move |request: &Request| {
        let message = request.json();
        if message["id"] == 7 { head.clone().into_bytes() } else { json_answer(&mcp(&message)) }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let (rita, walt) = (world.sign_in("rita").await, world.sign_in("walt").await);
    let revoked = async {
        while backend.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ended = world.command(&["sessions", "revoke", "--user", &user(&rita.access)]).await;
        assert!(ended.status.success(), "{ended:?}");
        until_refused(&world, &rita.access).await;
        backend.push(&body);
    };
    let (message, other) = (call(7), call(7));
    let (late, control, ()) =
        tokio::join!(world.post(&rita.access, &message), world.post(&walt.access, &other), revoked);
    assert!(control.text().await.unwrap().contains("late"), "the control");
    assert_eq!(late.status(), 401);
    let told = late.text().await.unwrap();
    assert!(told.contains("-31402") && !told.contains("late"), "{told}");
}

#[tokio::test]
async fn a_token_that_is_given_back_is_refused_and_stays_so_after_a_restart() {
    let backend = Backend::plain().await;
    let mut world = WorldBuilder::new(&backend).start().await;
    let (id, given, kept) = {
        let flow = Flow::register(&world).await;
        let code = flow.code("rita").await;
        (flow.client_id.clone(), flow.tokens(&code).await, world.sign_in("walt").await)
    };
    assert_eq!(status(&world, &given.access).await, 200, "the control");
    let form = [("client_id", id.as_str()), ("token", given.refresh.as_str())];
    let answer = world.http().post(format!("{}/revoke", world.url())).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    until_refused(&world, &given.access).await;
    world.restart().await;
    assert_eq!((status(&world, &given.access).await, status(&world, &kept.access).await), (401, 200));
    assert!(world.probe("/metrics").await.contains("portcullis_revocations_age_seconds"));
}

#[tokio::test]
async fn an_operator_ends_everybodys_sessions_and_whoever_comes_afterwards_begins_anew() {
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let (rita, walt) = (world.sign_in("rita").await, world.sign_in("walt").await);
    assert_eq!((status(&world, &rita.access).await, status(&world, &walt.access).await), (200, 200), "the control");
    let ended = world.command(&["sessions", "revoke", "--all"]).await;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && said.contains("2 grant(s) ended"), "{said}{ended:?}");
    until_refused(&world, &rita.access).await;
    until_refused(&world, &walt.access).await;
    // What is issued within a second of the end is taken for older.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let anew = world.sign_in("rita").await;
    assert_eq!(status(&world, &anew.access).await, 200);
    let both = world.command(&["sessions", "revoke", "--all", "--client", "x"]).await;
    assert_eq!(both.status.code(), Some(2), "one of them is named");
}
