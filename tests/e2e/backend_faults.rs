//! MCP servers that are gone, silent, break off, never end or answer for another: what callers get, and what others notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder, fault, measured};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const THREE: &str = "
  roles: { Task.Read: { opens: [read], on: ['*'] } }
  tools: { weather: { read: ['get_*'] }, gone: { read: ['get_*'] }, silent: { read: ['get_*'] } }
";

fn call(id: u64) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "n": id } } })
}

async fn post(world: &World, token: &str, backend: &str, message: &Value) -> reqwest::Response {
    let url = format!("{}/{backend}/mcp", world.url());
    let request = world.http().post(url).bearer_auth(token).json(message);
    request.header("accept", "application/json, text/event-stream").send().await.unwrap()
}

/// How long 99 of a hundred calls took at most; all must be answered.
async fn p99(world: &World, token: &str, backend: &str, count: u64) -> Duration {
    let mut took = Vec::new();
    for id in 0..count {
        let began = Instant::now();
        assert_eq!(post(world, token, backend, &call(id)).await.status(), 200);
        took.push(began.elapsed());
    }
    took.sort();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_or_silent_is_said_so_and_others_do_not_notice() {
    let (good, gone) = (Backend::plain().await, Backend::plain().await);
    let silent = Backend::start(Arc::new(|_: &Request| Vec::new())).await;
    let builder = WorldBuilder::new(&good).backend("gone", &gone.url()).backend("silent", &silent.url());
    gone.stop().await;
    let builder = builder.policy(THREE).backend_more("connect_timeout: 2s, timeout: 1s");
    let world = Arc::new(builder.start().await);
    let token = world.identity.mint("rita", &Value::Null);
    let before = p99(&world, &token, "weather", 500).await;
    let mut failing = tokio::task::JoinSet::new();
    for (backend, status, code) in [("gone", 502, -32002), ("silent", 504, -32002)] {
        let (world, token) = (Arc::clone(&world), token.clone());
        failing.spawn(async move {
            let mut slowest = Duration::ZERO;
            let until = Instant::now() + Duration::from_secs(4);
            let mut id = 0;
            while Instant::now() < until {
                id += 1;
                let began = Instant::now();
                let answer = post(&world, &token, backend, &call(id)).await;
                slowest = slowest.max(began.elapsed());
                assert_eq!(answer.status(), status, "{backend}");
                let body: Value = answer.json().await.unwrap();
                assert!(
                    body["id"] == id && body["error"]["code"].as_i64().is_some_and(|found| found < 0),
                    "{code}: {body}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (backend, slowest)
        });
    }
    let during = p99(&world, &token, "weather", 500).await;
    let (mut refused, mut timed_out) = (Duration::ZERO, Duration::ZERO);
    for (backend, slowest) in failing.join_all().await {
        *(if backend == "gone" { &mut refused } else { &mut timed_out }) = slowest;
    }
    assert!(refused < Duration::from_secs(2), "{refused:?}");
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    let figure = format!(
        "502 within {refused:.1?}, 504 within {timed_out:.1?} (timeout 1 s); p99 of another backend {ratio:.2} x, {before:.1?} before"
    );
    // A few milliseconds of this machine's other work are no fault of the gateway's.
    let is_met = ratio < 1.2 || during < before + Duration::from_millis(5);
    measured(11, &figure, is_met, "502 within 2 s; p99 of others < 1.2 x, or 5 ms");
}

/// What is answered to a message.
type Half = fn(&Value) -> Vec<u8>;

/// A backend that answers with these bytes and then resets the connection.
async fn resetting(bytes: Half) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let Some(message) = read(&mut stream).await else { return };
                counted.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(&bytes(&message)).await;
                // Until the gateway has read it: a reset takes back what was not read.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = stream.set_zero_linger();
            });
        }
    });
    (url, calls)
}

/// The message of the next request.
async fn read(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(message) = serde_json::from_str(body)
        {
            return Some(message);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_never_a_success() {
    let halves: [(&str, Half); 4] = [
        ("with a length", |message| {
            let body = mcp(message).to_string();
            format!("{JSON}content-length: {}\r\n\r\n{}", body.len(), &body[..body.len() / 2]).into_bytes()
        }),
        ("in chunks", |message| {
            let body = mcp(message).to_string();
            let half = &body[..body.len() / 2];
            format!("{JSON}transfer-encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n", half.len()).into_bytes()
        }),
        ("in its head", |_| JSON.as_bytes().to_vec()),
        ("in an event", |_| format!("{EVENTS}10\r\ndata: {{\"jsonrpc\":\r\n").into_bytes()),
    ];
    let (mut tried, mut successes) = (0, 0);
    for (what, bytes) in halves {
        let (url, calls) = resetting(bytes).await;
        let world = WorldBuilder::with_url(&url).start().await;
        let token = world.identity.mint("rita", &Value::Null);
        for id in 0..25 {
            for message in [call(id), json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" })] {
                let response = world.post(&token, &message).await;
                let (status, text) = (response.status().as_u16(), response.text().await.unwrap_or_default());
                tried += 1;
                // A stream has begun before it breaks; then there is an error in it, or no end.
                let ends_well = text.contains("\"result\"");
                successes += usize::from(ends_well);
                assert!(!ends_well && (status == 502 || what == "in an event"), "{what}: {status}: {text}");
            }
        }
        assert!(calls.load(Ordering::Relaxed) >= 50, "{what}: the control");
    }
    fault(12, &format!("{successes} of {tried} answers that broke off looked like a success"), "0 truncated successes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_is_told_at_once() {
    let (url, _) = resetting(|_| format!("{EVENTS}9\r\n: hello\n\n\r\n").into_bytes()).await;
    let world = WorldBuilder::with_url(&url).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let mut slowest = Duration::ZERO;
    for id in 0..20 {
        let response = world.post(&token, &call(id)).await;
        let began = Instant::now();
        let rest = tokio::time::timeout(Duration::from_secs(5), response.text()).await.expect("it hangs");
        slowest = slowest.max(began.elapsed());
        let text = rest.unwrap_or_default();
        assert!(!text.contains("\"result\""), "{text}");
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    fault(13, &format!("20 clients told within {slowest:.1?} of it, none hangs"), "told within 1 s");
}

/// A backend that never comes to an end, as fast as it is read, or a few bytes at a time.
async fn endless(head: String, piece: Vec<u8>, pause: Option<Duration>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (head, piece) = (head.clone(), piece.clone());
            tokio::spawn(async move {
                read(&mut stream).await?;
                stream.write_all(head.as_bytes()).await.ok()?;
                while stream.write_all(&piece).await.is_ok() {
                    if let Some(pause) = pause {
                        tokio::time::sleep(pause).await;
                    }
                }
                Some(())
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_takes_no_more_room_than_it_was_given() {
    let chunk = |text: String| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let event = chunk(format!(
        "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\"info\",\"data\":\"{}\"}}}}\n\n",
        "x".repeat(8000)
    ));
    let json = format!("{JSON}transfer-encoding: chunked\r\n\r\n");
    let mut figures = Vec::new();
    for (what, url, cut) in [
        ("events that nobody reads", endless(EVENTS.to_owned(), event, None).await, false),
        ("one event without end", endless(EVENTS.to_owned(), chunk("x".repeat(9000)), None).await, true),
        ("JSON without end", endless(json, chunk("[".repeat(9000)), None).await, true),
        ("a drip", endless(EVENTS.to_owned(), chunk(": x\n".to_owned()), Some(Duration::from_millis(20))).await, false),
    ] {
        let world = WorldBuilder::with_url(&url).start().await;
        let token = world.identity.mint("rita", &Value::Null);
        // Clients that ask, and then read nothing.
        let mut waiting = Vec::new();
        for id in 0..20 {
            let body = call(id).to_string();
            let request = format!(
                "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                world.port,
                body.len()
            );
            let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            waiting.push(stream);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let warm = world.gateway.memory();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let grown = world.gateway.memory().saturating_sub(warm);
        assert!(grown < 8 * 1024, "{what}: {grown} KB in four seconds");
        if cut {
            for mut stream in waiting {
                let mut answer = Vec::new();
                let read = tokio::time::timeout(Duration::from_secs(20), async {
                    while !String::from_utf8_lossy(&answer).contains("\"error\"")
                        && stream.read_buf(&mut answer).await? > 0
                    {}
                    Ok::<_, std::io::Error>(())
                });
                read.await.unwrap_or_else(|_| panic!("{what}: it goes on for ever")).unwrap();
                let text = String::from_utf8_lossy(&answer);
                assert!(!text.contains("\"result\""), "{what}: {text}");
            }
        }
        figures.push(format!("{what}: +{grown} KB"));
    }
    fault(14, &format!("{} in 4 s with 20 clients", figures.join(", ")), "memory does not grow");
}

/// Many calls of the same id at once, at a backend that answers every third for somebody else.
async fn of_another(calls: u64) {
    let backend = Backend::start(Arc::new(|request: &Request| {
        let message = request.json();
        let (id, canary) = (&message["id"], message["params"]["arguments"]["n"].clone());
        let number = canary.as_u64().unwrap();
        let id = match number % 6 {
            0 => json!(format!("{id}")),
            3 => json!(id.as_u64().unwrap() + 1),
            _ => id.clone(),
        };
        json_answer(&json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": number.to_string() }] } }))
    }))
    .await;
    let world = Arc::new(WorldBuilder::new(&backend).start().await);
    let token = world.identity.mint("rita", &Value::Null);
    let (next, mut clients) = (Arc::new(AtomicU64::new(0)), tokio::task::JoinSet::new());
    for _ in 0..32 {
        let (world, token, next) = (Arc::clone(&world), token.clone(), Arc::clone(&next));
        clients.spawn(async move {
            let (mut own, mut foreign, mut none) = (0_u64, 0_u64, 0_u64);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return (own, foreign, none);
                }
                let mut message = call(number);
                message["id"] = json!(1);
                let answer: Value = world.post(&token, &message).await.json().await.unwrap();
                match answer["result"]["content"][0]["text"].as_str() {
                    Some(text) if text == number.to_string() && number % 3 != 0 => own += 1,
                    Some(_) => foreign += 1,
                    None => none += 1,
                }
            }
        });
    }
    let (mut own, mut foreign, mut none) = (0, 0, 0);
    for found in clients.join_all().await {
        (own, foreign, none) = (own + found.0, foreign + found.1, none + found.2);
    }
    assert_eq!((own + none, foreign), (calls, 0));
    assert!(own == calls - calls.div_ceil(3), "the control: {own}");
    let figure =
        format!("0 of {calls} answers misdelivered, {none} with another id refused, 32 clients that all use the id 1");
    fault(15, &figure, "0 misdelivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_somebody_else_reaches_nobody() {
    of_another(1200).await;
}

/// Some minutes; `make chaos` and `make test-all`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a hundred thousand calls take a minute or two"]
async fn of_a_hundred_thousand_answers_none_reaches_somebody_else() {
    of_another(100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_sent_twice_whatever_becomes_of_its_connection() {
    // One of three is answered, one read and dropped, one answered in part.
    let (url, executed) = resetting(|message| match message["params"]["arguments"]["n"].as_u64().unwrap() % 3 {
        0 => {
            let body = mcp(message).to_string();
            format!("{JSON}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }
        1 => Vec::new(),
        _ => JSON.as_bytes().to_vec(),
    })
    .await;
    let world = Arc::new(WorldBuilder::with_url(&url).start().await);
    let token = world.identity.mint("rita", &Value::Null);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8 {
        let (world, token) = (Arc::clone(&world), token.clone());
        clients.spawn(async move {
            let mut good = 0;
            for number in 0..60 {
                let response = world.post(&token, &call(client * 60 + number)).await;
                good += u64::from(response.status() == 200);
            }
            good
        });
    }
    let good: u64 = clients.join_all().await.iter().sum();
    let executed = executed.load(Ordering::Relaxed);
    assert_eq!((good, executed), (160, 480));
    fault(
        16,
        &format!("480 calls of clients, {executed} at the backend, {good} of them answered"),
        "both ledgers the same",
    );
}
