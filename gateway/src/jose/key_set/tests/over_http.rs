//! The whole fetch over a real socket: discovery, keys, and every way an answer goes wrong.

use std::sync::Mutex as Lock;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::outbound::{Outbound, Settings};

const TENANT: &str = "11111111-2222-4333-8444-555555555555";

/// What one path answers.
#[derive(Clone, Debug)]
enum Answer {
    Json(String),
    Status(&'static str, String),
    /// Chunks without end.
    Endless,
    /// Nothing more after the head.
    Silent,
    HangUp,
}

struct Provider {
    origin: String,
    discovery: Arc<Lock<Answer>>,
    jwks: Arc<Lock<Answer>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (issuer, jwks_uri) = (format!("{origin}/{TENANT}/v2.0"), format!("{origin}/keys"));
        let discovery = json!({ "issuer": issuer, "jwks_uri": jwks_uri, "cloud_instance_name": "cloud" });
        let discovery = Arc::new(Lock::new(Answer::Json(discovery.to_string())));
        let jwks = Arc::new(Lock::new(Answer::Json(keys("good"))));
        let answers = (Arc::clone(&discovery), Arc::clone(&jwks));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone()));
            }
        });
        Self { origin, discovery, jwks }
    }

    fn key_set(&self) -> Arc<KeySet> {
        let outbound = Outbound::new(&Settings { timeout: Duration::from_millis(500), ..Settings::default() }).unwrap();
        let source = EntraKeys::new(outbound, &self.origin, TENANT);
        let clock = ManualClock::new(Timestamp::from_secs(1_000_000));
        Arc::new(KeySet::new(Box::new(source), Arc::new(clock)))
    }
}

fn keys(kid: &str) -> String {
    let n = format!("{}AQ", "pa".repeat(170));
    json!({ "keys": [{ "kty": "RSA", "use": "sig", "kid": kid, "n": n, "e": "AQAB" }] }).to_string()
}

async fn serve(mut stream: TcpStream, (discovery, jwks): (Arc<Lock<Answer>>, Arc<Lock<Answer>>)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let of_keys = head.starts_with(b"GET /keys ");
    let answer = if of_keys { jwks.lock().unwrap().clone() } else { discovery.lock().unwrap().clone() };
    let _ = reply(&mut stream, answer).await;
}

async fn reply(stream: &mut TcpStream, answer: Answer) -> std::io::Result<()> {
    let plain = |status: &str, more: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}", body.len())
    };
    match answer {
        Answer::Json(body) => stream.write_all(plain("200 OK", "", &body).as_bytes()).await,
        Answer::Status(status, more) => stream.write_all(plain(status, &more, &keys("evil")).as_bytes()).await,
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
        Answer::Silent => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await?;
            std::future::pending().await
        }
        Answer::HangUp => Ok(()),
    }
}

#[tokio::test]
async fn keys_arrive_by_way_of_discovery() {
    let provider = Provider::start().await;
    let set = provider.key_set();
    assert!(set.refresh().await, "{:?}", set.status());
    assert!(matches!(set.find("good").await, Lookup::Found(_)));
}

#[tokio::test]
async fn a_bad_answer_keeps_the_old_set() {
    let bad = [
        Answer::Status("500 Internal Server Error", String::new()),
        Answer::Status("404 Not Found", String::new()),
        Answer::Status("204 No Content", String::new()),
        Answer::Json("\u{1f}\u{8}compressed although nobody asked".to_owned()),
        Answer::Json("<html>Sign in to the Wi-Fi</html>".to_owned()),
        Answer::Json(String::new()),
        Answer::Json("{}".to_owned()),
        Answer::Json(r#"{"keys":[]}"#.to_owned()),
        Answer::Json(r#"{"keys":null}"#.to_owned()),
        Answer::Json(keys("evil").replace("]}", "")),
        Answer::Json(keys("evil") + "x"),
        Answer::Json(keys("evil").replacen('{', r#"{"keys":[],"#, 1)),
        Answer::Json("\u{feff}".to_owned() + &keys("evil")),
        Answer::Json(" ".repeat((1 << 20) + 1) + &keys("evil")),
        Answer::Endless,
        Answer::Silent,
        Answer::HangUp,
    ];
    let provider = Provider::start().await;
    let set = provider.key_set();
    assert!(set.refresh().await);
    for answer in bad {
        let shown = format!("{answer:?}").chars().take(80).collect::<String>();
        *provider.jwks.lock().unwrap() = answer;
        assert!(!set.refresh().await, "{shown}");
        assert!(set.status().last_error.is_some());
        assert!(matches!(set.find("good").await, Lookup::Found(_)), "{shown}");
    }
    *provider.jwks.lock().unwrap() = Answer::Json(keys("new"));
    assert!(set.refresh().await);
    assert!(matches!(set.find("good").await, Lookup::Unknown));
}

/// The other host is alive and its keys are good: only the rule stands between.
#[tokio::test]
async fn keys_of_another_host_are_not_taken() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    assert!(provider.key_set().refresh().await && other.key_set().refresh().await);
    let good = provider.discovery.lock().unwrap().clone();
    let issuer = format!("{}/{TENANT}/v2.0", provider.origin);
    let elsewhere = json!({ "issuer": issuer, "jwks_uri": format!("{}/keys", other.origin) });
    *provider.discovery.lock().unwrap() = Answer::Json(elsewhere.to_string());
    assert!(!provider.key_set().refresh().await);
    *provider.discovery.lock().unwrap() = good;
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("location: {}/keys\r\n", other.origin);
        *provider.jwks.lock().unwrap() = Answer::Status(status, location);
        assert!(!provider.key_set().refresh().await, "{status}");
    }
}

#[tokio::test]
async fn discovery_must_be_of_this_issuer_and_keys_on_this_host() {
    let provider = Provider::start().await;
    let (origin, good) = (&provider.origin, provider.discovery.lock().unwrap().clone());
    let discovery =
        |issuer: &str, jwks_uri: &str| Answer::Json(json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string());
    let (issuer, jwks) = (format!("{origin}/{TENANT}/v2.0"), format!("{origin}/keys"));
    let other_port = format!("http://127.0.0.1:1/keys?{origin}");
    for bad in [
        discovery(&format!("{issuer}/"), &jwks),
        discovery(&format!("{origin}/common/v2.0"), &jwks),
        discovery(&format!("{origin}/{{tenantid}}/v2.0"), &jwks),
        discovery(&issuer, "https://evil.example/keys"),
        discovery(&issuer, &jwks.replace("http:", "https:")),
        discovery(&issuer, &other_port),
        discovery(&issuer, &jwks.replace("127.0.0.1", "127.0.0.1@evil.example")),
        discovery(&issuer, &jwks.replace("127.0.0.1", "127.0.0.1.evil.example")),
        discovery(&issuer, "data:application/json,{}"),
        discovery(&issuer, "/keys"),
        Answer::Json(json!({ "issuer": issuer }).to_string()),
        Answer::Json("[]".to_owned()),
    ] {
        *provider.discovery.lock().unwrap() = bad.clone();
        assert!(!provider.key_set().refresh().await, "{bad:?}");
    }
    *provider.discovery.lock().unwrap() = good;
    assert!(provider.key_set().refresh().await);
}

#[tokio::test]
async fn a_key_of_another_cloud_is_left_out() {
    let provider = Provider::start().await;
    *provider.jwks.lock().unwrap() =
        Answer::Json(keys("good").replacen("{\"e\"", "{\"cloud_instance_name\":\"another\",\"e\"", 1));
    assert!(!provider.key_set().refresh().await);
}

#[tokio::test]
async fn an_unreachable_provider_leaves_nothing_to_verify_with() {
    let outbound = Outbound::new(&Settings::default()).unwrap();
    let source = EntraKeys::new(outbound, "http://127.0.0.1:1", TENANT);
    let clock = ManualClock::new(Timestamp::from_secs(1_000_000));
    let set = Arc::new(KeySet::new(Box::new(source), Arc::new(clock)));
    assert!(matches!(set.find("good").await, Lookup::Unavailable));
    assert!(!set.is_ready());
}
