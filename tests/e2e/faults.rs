//! Faults of the identity provider and of the clock: what each costs, beside what it may cost.
//!
//! Each test prints its row of the fault table as `fault <row>: <figure> (pass: <figure>)`. What must never happen is
//! asserted; how long something takes is printed only, for machines differ.

use std::time::Duration;

use identity::{Endpoint, Fault};
use portcullis_tests::flow::{location, parameter};
use portcullis_tests::{Backend, Flow, Tokens, World, WorldBuilder, fault, measured};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

fn call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } })
}

async fn status(world: &World, token: &str) -> StatusCode {
    world.post(token, &call()).await.status()
}

/// How many of so many calls were answered, and how long 99 of 100 took at most.
async fn calls(world: &World, token: &str, count: usize) -> (usize, Duration) {
    let (mut good, mut took) = (0, Vec::new());
    for _ in 0..count {
        let began = Instant::now();
        good += usize::from(status(world, token).await == StatusCode::OK);
        took.push(began.elapsed());
    }
    took.sort();
    (good, took[took.len() * 99 / 100])
}

/// A login and a refresh at once, as the identity provider is; both must end, and the refresh token must be kept.
async fn login_and_refresh(flow: &Flow<'_>, tokens: &Tokens) {
    let (callback, cookie) = flow.at_callback("rita").await;
    let form = flow.refresh_form(&tokens.refresh);
    let (login, refresh) = tokio::join!(flow.arrive(&callback, &cookie), flow.token(&form));
    assert_eq!(parameter(&location(&login), "error").as_deref(), Some("temporarily_unavailable"));
    assert_eq!(refresh.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refresh.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn an_identity_provider_that_fails_costs_logins_and_nothing_else() {
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let flow = Flow::register(&world).await;
    let mut tokens = flow.tokens(&flow.code("rita").await).await;
    let mut answered = 0;
    let faults = [Fault::Status(500), Fault::Status(503), Fault::Garbage, Fault::Half];
    for one in faults {
        world.identity.set_fault(Endpoint::Token, one);
        let ((), (good, _)) = tokio::join!(login_and_refresh(&flow, &tokens), calls(&world, &tokens.access, 250));
        assert_eq!(good, 250, "{one:?}");
        answered += good;
        world.identity.set_fault(Endpoint::Token, None);
        // The refresh token was not consumed.
        tokens = flow.refreshed(&tokens.refresh).await;
    }
    let all = faults.len() * 250;
    fault(1, &format!("{answered} of {all} calls answered; refresh 503, not consumed"), ">= 99.9 % of calls");
}

#[tokio::test]
async fn an_identity_provider_that_is_slow_is_given_up_and_holds_up_no_call() {
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let flow = Flow::register(&world).await;
    let tokens = flow.tokens(&flow.code("rita").await).await;
    let (_, before) = calls(&world, &tokens.access, 400).await;
    world.identity.set_fault(Endpoint::Token, Fault::Slow(Duration::from_secs(30)));
    let began = Instant::now();
    let waiting = async {
        // Twenty people at once, and one refresh.
        let mut arrivals = Vec::new();
        for _ in 0..20 {
            arrivals.push(flow.at_callback("rita").await);
        }
        let logins = arrivals.iter().map(|(callback, cookie)| flow.arrive(callback, cookie));
        let ((), logins) = tokio::join!(login_and_refresh(&flow, &tokens), futures_util::future::join_all(logins));
        for login in logins {
            assert_eq!(parameter(&location(&login), "error").as_deref(), Some("temporarily_unavailable"));
        }
        began.elapsed()
    };
    let (ended, (good, during)) = tokio::join!(waiting, calls(&world, &tokens.access, 400));
    assert_eq!(good, 400);
    assert!(ended < Duration::from_secs(29), "they wait as long as the identity provider likes: {ended:?}");
    world.identity.set_fault(Endpoint::Token, None);
    flow.refreshed(&tokens.refresh).await;
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    let figure =
        format!("p99 of calls {ratio:.2} x the baseline of {before:.1?}; logins and refresh ended after {ended:.1?}");
    // As in row 11.
    let is_met = ratio < 2.0 || during < before + Duration::from_millis(5);
    measured(2, &figure, is_met, "p99 < 2 x baseline, or 5 ms more; deadline 10 s");
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_kept_while_they_are_warm() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let (mut failed, mut all) = (0, 0);
    for one in [Fault::Status(500), Fault::Garbage, Fault::Half, Fault::Slow(Duration::from_secs(30))] {
        world.identity.set_fault(Endpoint::Keys, one);
        for _ in 0..100 {
            // Each token is another, so that none is remembered.
            let token = world.identity.mint("rita", &Value::Null);
            failed += usize::from(status(&world, &token).await != StatusCode::OK);
            all += 1;
        }
        // Who names a key that nobody knows has the gateway try; others go on.
        assert_eq!(status(&world, "eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vIn0.e30.AA").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(failed, 0);
    let figure = format!("{failed} of {all} verifications failed; the set is kept for a day (unit test)");
    fault(3, &figure, "0 failed for 1 h");
}

#[tokio::test]
async fn without_keys_from_the_start_nothing_is_believed_until_they_come() {
    let mut world = WorldBuilder::new(&Backend::plain().await).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let mut slowest = Duration::ZERO;
    for one in [Fault::Status(500), Fault::Half] {
        world.identity.set_fault(Endpoint::Keys, one);
        world.begin_again().await;
        assert!(!world.probe("/readyz").await.starts_with("ready\n"), "{one:?}");
        for _ in 0..20 {
            assert_eq!(status(&world, &token).await, StatusCode::SERVICE_UNAVAILABLE, "{one:?}");
        }
        world.identity.set_fault(Endpoint::Keys, None);
        let began = Instant::now();
        world.until_ready().await;
        slowest = slowest.max(began.elapsed());
        assert_eq!(status(&world, &token).await, StatusCode::OK);
    }
    let figure = format!("0 of 40 tokens believed, ready {slowest:.1?} after the keys returned, without a restart");
    fault(4, &figure, "fail closed, ready <= 5 s after");
}

#[tokio::test]
async fn a_key_that_is_rolled_under_load_costs_one_fetch() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let fetches = || async {
        let text = world.probe("/metrics").await;
        let line = text
            .lines()
            .find(|line| line.starts_with("portcullis_jwks_refreshes_total") && line.contains("\"fetched\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("the series")
    };
    let old = world.identity.mint("rita", &Value::Null);
    // Fetches for unknown keys are half a minute apart; the first was at the start.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(31) {
        let token = world.identity.mint("rita", &Value::Null);
        assert_eq!(status(&world, &token).await, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = fetches().await;
    world.identity.roll_key().unwrap();
    let (rolled, mut last, mut refused, mut lost) = (Instant::now(), Duration::ZERO, 0, 0);
    for _ in 0..200 {
        let token = world.identity.mint("rita", &Value::Null);
        if status(&world, &token).await != StatusCode::OK {
            (refused, last) = (refused + 1, rolled.elapsed());
        }
        // One of the old key, that is not remembered either.
        lost += usize::from(status(&world, &old).await != StatusCode::OK);
    }
    assert_eq!((lost, fetches().await - before), (0, 1));
    assert!(refused < 200, "the new key is found");
    let figure = format!(
        "{refused} of 200 tokens of the new key refused, the last {last:.2?} after the change; {lost} of the old; 1 fetch"
    );
    fault(5, &figure, "<= 1 s of 401 on the new key, 0 on the old, one fetch");
}
