//! What takes longer than the configuration under which it began: a body that comes late, a place that is waited for, a
//! connection that is.
//! And what is not waited for: the rest of an answer that says everything in its head.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::backend::{Request, answer, mcp};
use portcullis_tests::flow::user;
use portcullis_tests::{Backend, World, WorldBuilder, raw};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Of several backends, one can be taken out.
const SEVERAL: &str = "
  roles: { Task.Read: { opens: [read], on: ['*'] }, Task.All: { opens: [read, list], on: ['*'] } }
  tools: { weather: { read: ['get_*'], list: ['list_*'] }, crm: { read: ['get_*'] } }
";

/// Who could get may list from here on.
fn lists(text: &str) -> String {
    text.replace("Task.Read: { opens: [read]", "Task.Read: { opens: [list]")
}

fn call(tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

fn calls(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| request.json()["method"] == "tools/call").count()
}

/// A call of which the last byte has not been sent.
async fn begun(world: &World, token: &str, path: &str, tool: &str) -> raw::Connection {
    let body = call(tool).to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         accept: application/json\r\ncontent-length: {}\r\n\r\n",
        world.port,
        body.len()
    );
    let mut connection = raw::Connection::open(world.port).await;
    assert_eq!(connection.say(format!("{head}{}", &body[..body.len() - 1]).as_bytes()).await, "");
    connection
}

/// A server whose queue of connections is full: to connect takes until there is room in it.
struct Queue {
    listener: TcpListener,
    waiting: Vec<TcpStream>,
    server: String,
}

impl Queue {
    async fn before(server: &Backend) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (listener, mut waiting) = (socket.listen(1).unwrap(), Vec::new());
        let connect = async || TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), connect()).await {
            waiting.push(stream);
        }
        Self { listener, waiting, server: server.url().replace("http://", "").replace("/mcp", "") }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.listener.local_addr().unwrap())
    }

    /// The server takes whoever comes.
    fn open(self) {
        drop(self.waiting);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = self.listener.accept().await {
                let mut server = TcpStream::connect(&self.server).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
            }
        });
    }
}

async fn reloaded(world: &World, times: usize) {
    world.until_metric(&format!("portcullis_config_reloads_total{{result=\"applied\"}} {times}")).await;
}

#[tokio::test]
async fn a_call_is_decided_by_what_counts_once_its_body_is_there() {
    let (weather, crm) = (Backend::plain().await, Backend::plain().await);
    let world = WorldBuilder::new(&weather).backend("crm", &crm.url()).backend("other", &crm.url()).policy(SEVERAL);
    let world = world.start().await;
    let rita = world.identity.mint("rita", &Value::Null);
    let begin = async |path, tool| begun(&world, &rita, path, tool).await;
    let mut control = begin("/weather/mcp", "get_forecast").await;
    let mut closed = begin("/weather/mcp", "get_forecast").await;
    let mut opened = begin("/weather/mcp", "list_stations").await;
    let mut gone = begin("/crm/mcp", "get_forecast").await;
    let answer = control.say(b"}").await;
    assert!(raw::status(&answer) == 200 && answer.contains("done"), "the control: {answer}");

    world.configure(|text| {
        let text = lists(text).replace(", crm: { read: ['get_*'] }", "");
        text.split_inclusive('\n').filter(|line| !line.starts_with("  crm:")).collect()
    });
    reloaded(&world, 1).await;
    let fresh = world.http().post(format!("{}/crm/mcp", world.url())).bearer_auth(&rita).json(&call("get_forecast"));
    let fresh = fresh.send().await.unwrap().status().as_u16();
    let answer = closed.say(b"}").await;
    assert!(answer.contains("Unknown tool: get_forecast"), "{answer}");
    let answer = opened.say(b"}").await;
    assert!(raw::status(&answer) == 200 && answer.contains("done"), "what is open by now is not lost: {answer}");
    assert_eq!(raw::status(&gone.say(b"}").await), fresh);
    assert_eq!((calls(&weather), calls(&crm)), (2, 0));
    let lines = world.audit(5).await;
    let decided = lines.iter().filter(|line| line["type"] == "mcp.decision");
    let decided: Vec<(&Value, &Value)> = decided.map(|line| (&line["decision"], &line["policy_hash"])).collect();
    let by = &lines.iter().find(|line| line["event"] == "config_reloaded").unwrap()["policy_hash"];
    assert_eq!(decided[1..], [(&json!("deny"), by), (&json!("allow"), by)], "{lines:?}");
    assert_eq!(decided[0].0, "allow");

    let mut late = begin("/weather/mcp", "list_stations").await;
    world.configure(|text| text.replace("accept_entra_tokens: true", "accept_entra_tokens: false"));
    reloaded(&world, 2).await;
    assert_eq!(raw::status(&late.say(b"}").await), 401, "its token is not taken any more");
    assert_eq!(calls(&weather), 2);
}

#[tokio::test]
async fn who_waits_for_a_place_is_decided_anew_by_what_counts_when_it_is_free() {
    let is_stuck = Arc::new(AtomicBool::new(true));
    let backend = Backend::stuck_while(&is_stuck).await;
    let places = "max_concurrent: 1, max_queued: 4, connect_timeout: 30s";
    // What is decided twice has been asked once.
    let once = SEVERAL.replace("[read, list], on", "[read, list], rate: { calls: 1, per: hour, burst: 1 }, on");
    let world =
        WorldBuilder::new(&backend).backend("crm", &backend.url()).backend_more(places).policy(&once).start().await;
    let [inside, rita, alice] = ["walt", "rita", "alice"].map(|user| world.identity.mint(user, &Value::Null));
    let url = format!("{}/weather/mcp", world.url());
    let ask = |token: &str, tool: &str| {
        let request = world.http().post(&url).bearer_auth(token).json(&call(tool));
        tokio::spawn(request.header("accept", "application/json, text/event-stream").send())
    };
    let first = ask(&inside, "get_forecast");
    world.until_allowed(1).await;
    let (late, control) = (ask(&rita, "get_forecast"), ask(&alice, "get_forecast"));
    world.until_allowed(3).await;
    world.configure(lists);
    reloaded(&world, 1).await;
    is_stuck.store(false, Ordering::Relaxed);
    first.abort();
    let refused = late.await.unwrap().unwrap().text().await.unwrap();
    assert!(refused.contains("Unknown tool: get_forecast"), "{refused}");
    let answered = control.await.unwrap().unwrap().text().await.unwrap();
    assert!(answered.contains("done"), "the control: {answered}");
    assert_eq!(ask(&alice, "get_forecast").await.unwrap().unwrap().status(), 429, "the control: there is a rate");
    assert_eq!(calls(&backend), 2, "the one inside, and the control");
    let lines = world.audit(9).await;
    let denied = lines.iter().find(|line| line["decision"] == "deny").unwrap();
    let of_late: Vec<_> = lines.iter().filter(|line| line["request_id"] == denied["request_id"]).collect();
    let told: Vec<_> = of_late.iter().map(|line| (&line["decision"], &line["error"])).collect();
    let nothing = Value::Null;
    let superseded = json!("superseded");
    let (allow, deny) = (json!("allow"), json!("deny"));
    assert_eq!(told[..3], [(&allow, &nothing), (&nothing, &superseded), (&deny, &nothing)], "{of_late:?}");
}

#[tokio::test]
async fn who_waits_for_a_connection_is_decided_anew_by_what_counts_when_it_is_there() {
    let backend = Backend::plain().await;
    let queue = Queue::before(&backend).await;
    let world = WorldBuilder::with_url(&queue.url()).backend_more("connect_timeout: 30s").start().await;
    let [rita, alice] = ["rita", "alice"].map(|user| world.identity.mint(user, &Value::Null));
    let call = call("get_forecast");
    let (late, control, ()) = tokio::join!(world.post(&rita, &call), world.post(&alice, &call), async {
        world.until_allowed(2).await;
        world.configure(|text| text.replace("Task.Read: { opens: [read] }", "Task.Read: { opens: [write] }"));
        reloaded(&world, 1).await;
        queue.open();
    });
    let (refused, answered) = (late.text().await.unwrap(), control.text().await.unwrap());
    assert!(refused.contains("Unknown tool: get_forecast"), "{refused}");
    assert!(answered.contains("done"), "the control: {answered}");
    assert_eq!(calls(&backend), 1);
    let lines = world.audit(7).await;
    let denied = lines.iter().find(|line| line["decision"] == "deny").unwrap();
    let of_late: Vec<_> = lines.iter().filter(|line| line["request_id"] == denied["request_id"]).collect();
    let told: Vec<_> = of_late.iter().filter(|line| line["type"] == "mcp.outcome").collect();
    let told: Vec<_> = told.iter().map(|line| (&line["forwarded"], &line["error"])).collect();
    assert_eq!(told[0], (&json!(false), &json!("superseded")), "{of_late:?}");
    assert!(told.iter().all(|(forwarded, _)| **forwarded == false), "{of_late:?}");
}

#[tokio::test]
async fn who_is_signed_out_while_a_connection_is_waited_for_is_not_sent_on() {
    let backend = Backend::plain().await;
    let queue = Queue::before(&backend).await;
    let world = WorldBuilder::with_url(&queue.url()).backend_more("connect_timeout: 30s").start().await;
    let (rita, walt) = (world.sign_in("rita").await.access, world.sign_in("walt").await.access);
    let call = call("get_forecast");
    let (late, control, ()) = tokio::join!(world.post(&rita, &call), world.post(&walt, &call), async {
        world.until_allowed(2).await;
        let ended = world.command(&["sessions", "revoke", "--user", &user(&rita)]).await;
        assert!(ended.status.success(), "{ended:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.open();
    });
    let (refused, answered) = (late.text().await.unwrap(), control.text().await.unwrap());
    assert!(refused.contains("-31402"), "{refused}");
    assert!(answered.contains("done"), "the control: {answered}");
    assert_eq!(calls(&backend), 1);
}

#[tokio::test]
async fn who_tells_a_server_something_does_not_wait_for_what_it_says_beside_having_got_it() {
    // Of a body that was promised, a byte comes and no more; the head alone is what counts.
    let script = |request: &Request| match request.json()["method"].as_str() {
        Some("initialize") => {
            let body = mcp(&request.json()).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s";
            format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }
        Some("notifications/initialized") => answer("202 Accepted", "text/plain", ""),
        _ => b"HTTP/1.1 202 Accepted\r\ncontent-type: text/plain\r\ncontent-length: 100000\r\n\r\nx".to_vec(),
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let rita = world.identity.mint("rita", &Value::Null);
    let hello =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello });
    let session = world.post(&rita, &hello).await.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let note = |method: &str| json!({ "jsonrpc": "2.0", "method": method, "params": { "requestId": 1 } });
    for (method, closes) in [("notifications/initialized", 0), ("notifications/cancelled", 1)] {
        let before = backend.closed();
        let note = note(method);
        let told = tokio::time::timeout(Duration::from_secs(20), world.post_with(&rita, &note, &headers)).await;
        assert_eq!(told.expect("the rest is waited for").status(), 202, "{method}");
        while backend.closed() < before + closes {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let before = backend.closed();
    let end = world.http().delete(world.mcp()).bearer_auth(&rita).header("mcp-session-id", &session).send();
    let ended = tokio::time::timeout(Duration::from_secs(20), end).await.expect("the rest is waited for");
    assert_eq!(ended.unwrap().status(), 202);
    while backend.closed() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
