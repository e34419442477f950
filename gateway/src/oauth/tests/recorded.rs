//! What is recorded of what happens here, and what comes of it when it cannot be.

use std::path::PathBuf;

use super::*;
use crate::audit::{Destination, Digester, Format, Gap, OnFailure, Options, Signer};

/// A world with a trail in a directory that can be taken away.
struct Recorded {
    world: World,
    auditor: Arc<Auditor>,
    metrics: Arc<Metrics>,
    place: PathBuf,
    _directory: tempfile::TempDir,
}

impl Recorded {
    async fn new() -> Self {
        let mut world = World::new().await;
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let destination = Destination::File { path: place.join("audit.jsonl"), format: Format::Native, rotation: None };
        let key = SigningKey::generate().unwrap();
        let signer = Signer { key, issuer: ISSUER.to_owned(), clock: Arc::new(world.clock.clone()) };
        let metrics = Arc::new(Metrics::new().unwrap());
        let options = Options {
            durable: false,
            on_failure: OnFailure::Deny,
            digester: Digester::none(),
            metrics: Some(Arc::clone(&metrics)),
        };
        let auditor = Arc::new(Auditor::start(vec![destination], signer, options).unwrap());
        let State { settings, store, sealer, signing_keys, entra, clock, .. } = &*world.state;
        let (store, entra, clock) = (Arc::clone(store), Arc::clone(entra), Arc::clone(clock));
        let state = State::new(settings.clone(), store, sealer.clone(), signing_keys.clone(), entra, clock);
        let state = state.with_clients(Clients::any()).with_auditor(Arc::clone(&auditor));
        world.state = Arc::new(state.with_metrics(Arc::clone(&metrics)));
        world.app = router(Arc::clone(&world.state), Limits::default());
        Self { world, auditor, metrics, place, _directory: directory }
    }

    /// The lines of the authorization server, once there are so many.
    async fn lines(&self, number: usize) -> Vec<Value> {
        for _ in 0..500 {
            let text = std::fs::read_to_string(self.place.join("audit.jsonl")).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<Value> = lines.filter(|line| line["type"] == "oauth").collect();
            if lines.len() >= number {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the trail does not reach {number} lines");
    }

    fn away(&self) -> PathBuf {
        self.place.with_file_name("away")
    }

    /// From now on nothing can be recorded: the queue is full, also when the writer has taken off it what it can hold.
    async fn break_trail(&self) {
        std::fs::rename(&self.place, self.away()).unwrap();
        let gap = || Kind::Gap(Gap { sink: "queue", lost: 0, queue: 0, behind: String::new() });
        let event = || Event { time: NOW.into(), request_id: None, trace_id: None, kind: gap() };
        for _ in 0..4 {
            while self.auditor.record(event()).is_ok() {}
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn mend_trail(&self) {
        std::fs::rename(self.away(), &self.place).unwrap();
        while self.auditor.waiting().events > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn owned(pairs: Vec<(&str, &str)>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What a client with keys would authenticate with.
fn of_own_keys(client: &str) -> String {
    let claims = json!({ "iss": client, "sub": client, "aud": ISSUER, "exp": NOW.as_secs() + 60, "jti": "guessed" });
    SigningKey::generate().unwrap().sign("JWT", &claims).unwrap()
}

#[tokio::test]
async fn whatever_is_refused_is_recorded_once_with_the_reason() {
    let recorded = Recorded::new().await;
    let world = &recorded.world;
    let (client_id, tokens) = world.signed_in().await;
    let honest = recorded.lines(4).await.len();
    let code = world.code(&client_id).await;
    let before = recorded.lines(honest + 2).await.len();
    let refresh = |token: &str, client: &str| {
        owned(vec![("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)])
    };
    let mut wrong = exchange(&client_id, &code);
    wrong.retain(|(name, _)| *name != "code_verifier");
    wrong.push(("code_verifier", "another-verifier-that-is-long-enough-to-be-one"));
    let assertion = of_own_keys(&client_id);
    let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let with_assertion = [exchange(&client_id, &code), vec![("client_assertion", &*assertion), kind]].concat();
    let device = vec![("client_id", client_id.as_str())];
    let cases = [
        ("/token", owned(exchange(&client_id, "no-code")), "token_refused", "the code is not known"),
        ("/token", owned(wrong), "token_refused", "or for another redirect URI or verifier"),
        ("/token", refresh("no-token", &client_id), "token_refused", "the refresh token is not known"),
        ("/token", refresh("no-token", "nobody"), "token_refused", "the client is not known"),
        ("/token", owned(with_assertion), "token_refused", "it is public, and sent an assertion"),
        ("/token", owned(vec![("client_id", client_id.as_str())]), "token_refused", "grant_type is missing"),
        ("/revoke", refresh("no-token", "nobody"), "token_refused", "the client is not known"),
        ("/device_authorization", owned(device), "authorization_refused", "unauthorized_client"),
        ("/device", owned(vec![("user_code", "BCDF-GHJK")]), "authorization_refused", "unknown code"),
        ("/auth/exchange", owned(vec![("auth_code", "none")]), "token_refused", "the code is not known"),
        ("/consent", owned(vec![("transaction", "none")]), "authorization_refused", "is over"),
    ];
    for (number, (path, parameters, step, reason)) in cases.iter().enumerate() {
        let pairs: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = world.post(path, &pairs).await;
        assert!((400..500).contains(&answer.status), "{path} {reason}: {}", answer.status);
        let lines = recorded.lines(before + number + 1).await;
        assert_eq!(lines.len(), before + number + 1, "{path} {reason}: one line each");
        let line = lines.last().unwrap();
        assert_eq!(line["event"], *step, "{path} {reason}: {line}");
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
        let named = pairs.iter().find(|(name, _)| *name == "client_id").map(|(_, value)| json!(value));
        assert!(named.is_none_or(|client| line["client"] == client), "{line}");
        for secret in ["no-token", "no-code", "guessed", "another-verifier"] {
            assert!(!line.to_string().contains(secret), "{line}");
        }
    }
    let mut so_far = before + cases.len();
    let register = world.post_json("/register", json!({ "redirect_uris": ["http://evil.example/cb"] })).await;
    let page =
        world.get(&query("/authorize", &with(authorize(&client_id), "redirect_uri", Some("https://e.example/")))).await;
    let told = world.get(&query("/authorize", &with(authorize(&client_id), "code_challenge", None))).await;
    let back = world.get("/auth/callback?state=none&code=x").await;
    assert_eq!((register.status, page.status, told.status, back.status), (400, 400, 303, 400));
    let lines = recorded.lines(so_far + 4).await;
    let said: Vec<&Value> = lines[so_far..].iter().map(|line| &line["event"]).collect();
    assert_eq!(said, ["registration_refused", "authorization_refused", "authorization_refused", "sign_in_failed"]);
    so_far += 4;
    // The controls: what is good is no refusal, nor is who polls.
    assert_eq!(world.redeem(&client_id, &code).await.status, 200);
    assert_eq!(world.refresh(&client_id, tokens["refresh_token"].as_str().unwrap()).await.status, 200);
    let lines = recorded.lines(so_far + 2).await;
    assert!(lines[so_far..].iter().all(|line| line["event"].as_str().unwrap().starts_with("tokens_")), "{lines:?}");
}

#[tokio::test]
async fn callbacks_that_nobody_began_are_a_few_lines_and_a_count() {
    let recorded = Recorded::new().await;
    for number in 0..300 {
        assert_eq!(recorded.world.get(&format!("/auth/callback?state={number}&code=x")).await.status, 400);
    }
    recorded.auditor.close().await.unwrap();
    let text = std::fs::read_to_string(recorded.place.join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).cloned().collect::<Vec<_>>();
    let (apart, counted) = (of("oauth"), of("refusals"));
    assert!(apart.len() <= 60 && apart.iter().all(|line| line["event"] == "sign_in_failed"), "{}", apart.len());
    assert_eq!((counted.len(), &counted[0]["event"]), (1, &json!("sign_in_failed")), "{counted:?}");
    assert_eq!(counted[0]["count"], json!(300 - apart.len()), "none is left out");
    let metrics = String::from_utf8(recorded.metrics.encode().unwrap()).unwrap();
    assert!(metrics.contains("portcullis_oauth_steps_total{step=\"sign_in_failed\"} 300"), "{metrics}");
}

#[tokio::test]
async fn who_asks_and_where_the_answer_goes_is_recorded_at_registration_and_consent() {
    let recorded = Recorded::new().await;
    let client_id = recorded.world.register("https://claude.example:8443/cb").await;
    let request = with(authorize(&client_id), "redirect_uri", Some("https://claude.example:8443/cb"));
    let mut browser = Browser::new(&recorded.world);
    let page = browser.open(&request).await;
    browser.decide(&page, "deny").await;
    browser.depart(&request).await;
    let lines = recorded.lines(3).await;
    for (line, event) in lines.iter().zip(["client_registered", "consent_refused", "consent_given"]) {
        assert_eq!((&line["event"], &line["name"]), (&json!(event), &json!("Test client")));
        assert_eq!(line["redirect_hosts"], json!(["claude.example"]));
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_comes_to_nothing_and_is_answered_503() {
    let recorded = Recorded::new().await;
    let world = &recorded.world;
    let (client_id, tokens) = world.signed_in().await;
    let code = world.code(&client_id).await;
    let mut browser = Browser::new(world);
    let (first, second) = (browser.open(&authorize(&client_id)).await, browser.open(&authorize(&client_id)).await);
    let mut elsewhere = Browser::new(world);
    let departure = elsewhere.depart(&authorize(&client_id)).await;
    let back = world.entra.sign_in(&departure, identity::ALICE);
    recorded.break_trail().await;
    let answers = [
        world.post_json("/register", metadata_of(REDIRECT)).await,
        browser.decide(&first, "approve").await,
        browser.decide(&second, "deny").await,
        elsewhere.get(&back).await,
        world.redeem(&client_id, &code).await,
        world.refresh(&client_id, tokens["refresh_token"].as_str().unwrap()).await,
        world.post("/revoke", &[("client_id", &client_id), ("token", tokens["access_token"].as_str().unwrap())]).await,
    ];
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [503; 7]);
    let text = String::from_utf8(recorded.metrics.encode().unwrap()).unwrap();
    assert!(text.contains("portcullis_audit_refused_total{backend=\"\"} 7"), "{text}");
    recorded.mend_trail().await;
    assert!(browser.sign_in(&authorize(&client_id)).await.parameter("code").is_some(), "the control");
}
