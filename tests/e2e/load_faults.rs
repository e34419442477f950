//! Too much at once, names that change, a processor that others use up: what a gateway does when its machine is not its own.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::load::{Load, MIXED, backend};
use portcullis_tests::{Backend, Process, World, WorldBuilder, fault, measured};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

fn call(id: u64) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "n": id } } })
}

/// A request as bytes.
fn request(world: &World, token: &str, id: u64) -> Vec<u8> {
    let body = call(id).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\naccept: application/json, text/event-stream\r\n",
        world.port
    );
    format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// How many files this process, and its children, may have open.
fn files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

/// The sum of a series over its labels.
async fn series(world: &World, name: &str) -> f64 {
    let text = world.probe("/metrics").await;
    let values = text
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// Connects, asks, and waits for the answer; whether it was a 200.
async fn once(port: u16, request: &[u8]) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") && stream.read_buf(&mut answer).await? > 0 {}
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200"))
    };
    asked.await.unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_comes_back_at_once_is_served_and_keys_are_fetched_once() {
    // Each is a file here and at most two at the gateway.
    let clients = (files() / 2 - 500).min(10_000);
    let builder = WorldBuilder::new(&Backend::plain().await).backend_more("max_concurrent: 1024");
    // All of them have one token here.
    let mut world = builder.more("limits: { calls_per_minute: 0, requests_per_caller: 0 }\n").start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let bytes = Arc::new(request(&world, &token, 1));
    world.restart().await;
    let began = Instant::now();
    let port = world.port;
    let crowd = (0..clients).map(|_| {
        let bytes = Arc::clone(&bytes);
        tokio::spawn(async move {
            // Whoever is told to come again does, as clients do.
            while !once(port, &bytes).await {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
    });
    let all = futures_util::future::join_all(crowd);
    tokio::time::timeout(Duration::from_mins(2), all).await.expect("not everybody is served");
    let took = began.elapsed();
    let fetches = series(&world, "portcullis_jwks_refreshes_total{").await;
    assert!(fetches <= 1.0, "{fetches} fetches of keys");
    let figure =
        format!("{clients} clients at once after a restart, all served within {took:.1?}; {fetches} fetch of keys");
    measured(28, &figure, took < Duration::from_secs(30), "all served within 30 s, 1 fetch");
}

/// A process that uses up a processor.
fn busy(world: &World, number: u32) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do :; done"]);
    Process::start(command, world.directory().join(format!("busy-{number}.log")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_machine_without_a_free_processor_health_is_honest_and_calls_go_on() {
    let backend = backend().await;
    let world = WorldBuilder::new(&backend).start().await;
    let load = Load::start(&world, world.http(), MIXED);
    load.calls(100).await;
    let spinning: Vec<Process> = (0..4).map(|number| busy(&world, number)).collect();
    let (mut probes, mut bad, mut slowest) = (0, 0, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        for path in ["/livez", "/readyz"] {
            let url = format!("http://127.0.0.1:{}{path}", world.admin_port);
            let began = Instant::now();
            let answer = world.http().get(url).timeout(Duration::from_secs(3)).send().await;
            slowest = slowest.max(began.elapsed());
            probes += 1;
            bad += usize::from(!answer.is_ok_and(|answer| answer.status().is_success()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(spinning);
    load.calls(50).await;
    let ledger = load.settle("no processor is free", &backend).await;
    assert_eq!((bad, ledger.failed.len()), (0, 0));
    let calls = ledger.answered.len() + ledger.refused.len();
    let figure = format!(
        "{probes} of {probes} probes were 200, the slowest after {slowest:.1?}; 0 of {calls} calls failed, 4 loops on the processors"
    );
    fault(35, &figure, "no probe fails, no call is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_name_moves_is_found_and_a_resolver_that_fails_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let names = directory.path().join("names");
    // Two servers of one port, at two addresses of this machine.
    let server = |text: &'static str| {
        move |request: &Request| {
            let mut answer = mcp(&request.json());
            answer["result"]["content"][0]["text"] = json!(text);
            json_answer(&answer)
        }
    };
    let first = Backend::start(Arc::new(server("first"))).await;
    let port = first.url().rsplit(':').next().unwrap().trim_end_matches("/mcp").parse::<u16>().unwrap();
    let second = Backend::start_at("127.0.0.2", port, Arc::new(server("second"))).await;
    std::fs::write(&names, "weather.test 127.0.0.1\n").unwrap();
    let builder = WorldBuilder::with_url(&format!("http://weather.test:{port}/mcp"));
    let world = builder.unlucky(directory.path(), "NAMES", &names).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let who = async || {
        let answer: Value = world.post(&token, &call(1)).await.json().await.unwrap();
        answer["result"]["content"][0]["text"].as_str().map(str::to_owned)
    };
    assert_eq!(who().await.as_deref(), Some("first"));
    let until = async |wanted: Option<&str>| {
        let began = Instant::now();
        while who().await.as_deref() != wanted {
            assert!(began.elapsed() < Duration::from_secs(40), "never {wanted:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        began.elapsed()
    };
    // It moves, and the old server is switched off.
    std::fs::write(&names, "weather.test 127.0.0.2\n").unwrap();
    first.stop().await;
    let moved = until(Some("second")).await;
    // The resolver fails: what is open goes on; nothing else is made up.
    std::fs::write(&names, "weather.test -\n").unwrap();
    second.stop().await;
    until(None).await;
    let third = Backend::start_at("127.0.0.3", port, Arc::new(server("third"))).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(who().await, None, "nobody knows where it is");
    std::fs::write(&names, "weather.test 127.0.0.3\n").unwrap();
    let back = until(Some("third")).await;
    assert!(!third.requests().is_empty());
    let (moved, back) = (moved.as_secs_f64(), back.as_secs_f64());
    assert!(moved < 20.0 && back < 20.0, "{moved} s, {back} s");
    let figure = format!(
        "a server that moved is found after {moved:.1} s, one behind a failing resolver {back:.1} s after it answers; nothing is sent elsewhere"
    );
    fault(34, &figure, "recovers within the 10 s that an address is kept, and fails closed");
}

/// What a caller may have open, as `limits` has it.
const STREAMS_PER_CALLER: usize = 100;
const NEWS: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"x\"}}\n\n";

/// A backend that begins sessions, and streams that say nothing until they are told to.
async fn quiet() -> Backend {
    let begun = AtomicUsize::new(0);
    let script = move |request: &Request| {
        if request.head.starts_with("GET") {
            return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-held: 1\r\n\r\n".to_vec();
        }
        let answer = String::from_utf8(json_answer(&mcp(&request.json()))).unwrap();
        let session = format!("\r\nmcp-session-id: s{}\r\n\r\n", begun.fetch_add(1, Ordering::Relaxed));
        answer.replacen("\r\n\r\n", &session, 1).into_bytes()
    };
    Backend::start(Arc::new(script)).await
}

/// A stream of news.
enum News {
    Http1(TcpStream),
    Http2(h2::RecvStream),
}

impl News {
    /// Whether an event comes.
    async fn come(&mut self) -> bool {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("data:") {
            let is_more = match self {
                Self::Http1(stream) => stream.read_buf(&mut seen).await.is_ok_and(|count| count > 0),
                Self::Http2(stream) => {
                    let piece = stream.data().await.and_then(Result::ok).unwrap_or_default();
                    seen.extend_from_slice(&piece);
                    !piece.is_empty()
                }
            };
            if !is_more {
                return false;
            }
        }
        true
    }
}

/// All the streams that one caller may have: on one HTTP/2 connection, or each on one of its own.
async fn streams(world: &World, caller: usize, is_http2: bool) -> Vec<News> {
    let who = json!({ "oid": format!("00000000-0000-4000-8000-{caller:012x}") });
    let token = world.identity.mint("rita", &who);
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } });
    let session = world.post(&token, &hello).await.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let connect = async || TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let fields = [
        ("authorization", format!("Bearer {token}")),
        ("accept", "text/event-stream".to_owned()),
        ("mcp-session-id", session),
    ];
    let mut open = Vec::new();
    if is_http2 {
        let (mut client, connection) = h2::client::handshake(connect().await).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..STREAMS_PER_CALLER {
            let mut request = http::Request::get(world.mcp());
            for (name, value) in &fields {
                request = request.header(*name, value);
            }
            client = client.ready().await.unwrap();
            let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            open.push(News::Http2(answer.into_body()));
        }
        return open;
    }
    let fields = fields.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let request = format!("GET /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{fields}\r\n", world.port);
    for _ in 0..STREAMS_PER_CALLER {
        let mut stream = connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        open.push(News::Http1(stream));
    }
    open
}

/// What streams cost that nobody says anything on.
struct Idle {
    streams: u64,
    /// Megabytes of the whole process.
    memory: u64,
    /// Kilobytes of one stream over HTTP/2, and of one over HTTP/1.1.
    each: [u64; 2],
    /// Percent of one processor.
    processor: f64,
}

/// Opens so many streams, or as many as there are files for, half of them over HTTP/2, and leaves them alone for a while.
async fn idle(wanted: usize, quiet_for: Duration) -> Idle {
    // A stream is one file of the backend, which is here, and one of the gateway; over HTTP/1.1 it is one more at each end.
    let callers = ((files() - 500) * 2 / 3).min(wanted) / STREAMS_PER_CALLER;
    let backend = quiet().await;
    let world = WorldBuilder::new(&backend).start().await;
    let (before, files_before) = (world.gateway.memory(), world.gateway.open_files());
    let opened = async |callers: std::ops::Range<usize>, is_http2| {
        let all = stream::iter(callers).map(|caller| streams(&world, caller, is_http2));
        let open: Vec<News> = all.buffer_unordered(8).collect::<Vec<_>>().await.into_iter().flatten().collect();
        let used = world.gateway.processor();
        tokio::time::sleep(quiet_for).await;
        (open, world.gateway.memory(), world.gateway.processor().saturating_sub(used))
    };
    let (mut open, half, _) = opened(0..callers / 2, true).await;
    let (others, all, used) = opened(callers / 2..callers, false).await;
    let of = |more: u64, streams: &[News]| more / streams.len() as u64;
    let each = [of(half - before, &open), of(all - half, &others)];
    open.extend(others);
    let streams = open.len() as u64;
    // The control: each of them is there, and the places of all are given back.
    world.until_metric(&format!("portcullis_budget_used{{budget=\"streams\"}} {streams}")).await;
    backend.push(NEWS);
    let come = futures_util::future::join_all(open.iter_mut().map(News::come));
    let come = tokio::time::timeout(Duration::from_mins(1), come).await.expect("news do not come");
    assert!(come.iter().all(|came| *came), "a stream ended");
    drop(open);
    world.until_metric("portcullis_budget_used{budget=\"streams\"} 0").await;
    let files_after = world.gateway.open_files();
    assert!(files_after < files_before + 100, "{files_after} files, {files_before} before");
    let processor = 100.0 * used.div_duration_f64(quiet_for);
    Idle { streams, memory: all / 1024, each, processor }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_streams_are_there_when_news_come_and_take_little_memory() {
    let Idle { each, .. } = idle(1000, Duration::from_secs(1)).await;
    assert!(each.iter().all(|kilobytes| *kilobytes < 100), "{each:?} KiB a stream");
}

/// Two minutes; `make chaos` and `make test-all`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten thousand streams take a while to open"]
async fn ten_thousand_idle_streams_take_memory_and_no_processor() {
    let Idle { streams, memory, each: [over_http2, over_http1], processor } =
        idle(10_000, Duration::from_secs(20)).await;
    let figure = format!(
        "{streams} streams: {memory} MB in all; half of them over HTTP/2, {over_http2} KiB each, half over HTTP/1.1, {over_http1} KiB each; {processor:.1} % of one processor while they are idle"
    );
    measured(27, &figure, memory <= 700 && processor < 5.0, "<= 700 MB in all, CPU < 5 %");
}

/// Calls, sign-ins, lists and connections that break, some sixty requests and then a breath: a soak is about time.
async fn everything(world: Arc<World>, over: Arc<AtomicBool>) -> u64 {
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        let token = world.identity.mint("rita", &Value::Null);
        let tokens = world.sign_in("rita").await;
        for id in 0..20 {
            assert_eq!(world.post(&tokens.access, &call(id)).await.status(), 200);
            let list = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });
            assert_eq!(world.post(&token, &list).await.status(), 200);
            assert_eq!(world.post("nonsense", &list).await.status(), 401);
        }
        let bytes = request(&world, &token, 1);
        let mut broken = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
        broken.write_all(&bytes[..bytes.len() - 5]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        rounds += 1;
    }
    rounds
}

/// Ten minutes unless `SOAK` says how many seconds; `make chaos` and `make test-all`. From an hour on, what counts is
/// how much it grows in one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a soak takes its time"]
async fn nothing_grows_however_long_it_runs() {
    let seconds = std::env::var_os("SOAK")
        .map_or(600, |seconds| seconds.to_string_lossy().parse().expect("SOAK is a number of seconds"));
    let world =
        Arc::new(WorldBuilder::new(&Backend::forgetful().await).audit("rotate: 1048576, keep: 2").start().await);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2).map(|_| tokio::spawn(everything(Arc::clone(&world), Arc::clone(&over)))).collect();
    // A quarter of the time to get warm; then twenty looks.
    tokio::time::sleep(Duration::from_secs(seconds / 4)).await;
    let first_files = world.gateway.open_files();
    let mut looks = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(seconds) * 3 / 80).await;
        looks.push(world.gateway.memory());
    }
    over.store(true, Ordering::Relaxed);
    let mut rounds = 0;
    for client in clients {
        rounds += client.await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let more_files = world.gateway.open_files().saturating_sub(first_files);
    let _ = writeln!(std::io::stderr(), "memory at each look, in KB: {looks:?}");
    // The least of the first looks and of the last ones: what comes and goes is no growth.
    let least = |looks: &[u64]| looks.iter().min().copied().unwrap_or_default();
    let (early, late) = (least(&looks[..10]), least(&looks[10..]));
    let grown = late.saturating_sub(early);
    assert!(more_files < 20, "{more_files} files more");
    // Between the two halves of the looks lie three eighths of the time.
    let an_hour = grown * 3600 * 8 / (seconds * 3).max(1);
    let is_flat = if seconds >= 3600 { an_hour < 1024 } else { grown < 4096 };
    let pace = if seconds >= 3600 { format!(", {an_hour} KB an hour") } else { String::new() };
    let figure = format!(
        "{seconds} s, {} requests: memory {early} KB, later {late} KB (+{grown} KB{pace}); {more_files} files more",
        rounds * 61
    );
    measured(29, &figure, is_flat, "files flat; < 4 MB more after it is warm, from an hour on < 1 MB an hour");
}
