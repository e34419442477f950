//! A clock that is set forward and back under a running gateway: no token is good for longer than it should be, and
//! nothing is lost.
//!
//! The gateway alone is told another time; the identity provider's clock is right.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::{Backend, Calendar, Flow, World, WorldBuilder, fault};
use serde_json::{Value, json};

async fn status(world: &World, token: &str) -> u16 {
    world.post(token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).await.status().as_u16()
}

/// What the gateway's clock says: the identity provider's, and the offset.
fn clock(world: &World, offset: i64) -> i64 {
    let minted = world.identity.mint("rita", &Value::Null);
    let claims = URL_SAFE_NO_PAD.decode(minted.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["iat"].as_i64().unwrap() + offset
}

#[tokio::test]
async fn whatever_the_clock_does_no_token_is_good_for_longer_than_a_minute_past_its_end() {
    let calendar = Calendar::new();
    let world = WorldBuilder::new(&Backend::plain().await).calendar(&calendar).start().await;
    let flow = Flow::register(&world).await;
    let mut own = flow.tokens(&flow.code("rita").await).await;
    let now = |offset: i64| clock(&world, offset);
    let mint = |from: i64, to: i64| world.identity.mint("rita", &json!({ "iat": from, "nbf": from, "exp": to }));
    let remembered = mint(now(0) - 60, now(0) + 120);
    assert_eq!((status(&world, &remembered).await, status(&world, &own.access).await), (200, 200), "the control");
    let mut tried = 0;
    for offset in [0, 600, 0, -600, 0] {
        calendar.set(offset);
        let t = || now(offset);
        for (what, from, to, good) in [
            ("good", -100, 100, true),
            ("over, within a minute", -200, -45, true),
            ("over for longer", -200, -62, false),
            ("not begun, within a minute", 45, 200, true),
            ("not begun for longer", 80, 200, false),
        ] {
            let found = status(&world, &mint(t() + from, t() + to)).await;
            assert_eq!(found == 200, good, "{what}, at {offset:+}: {found}");
            tried += 1;
        }
        // One that was verified before is not good for longer either.
        // At the outer offsets it is over, or has not begun.
        assert_eq!(status(&world, &remembered).await == 200, offset == 0, "at {offset:+}");
        // A refresh works, or is put off while the identity provider's own tokens are of the future; nothing is lost.
        let answer = flow.token(&flow.refresh_form(&own.refresh)).await;
        println!("{offset:+}: a refresh is answered by {}", answer.status());
        if answer.status() == 200 {
            let body: Value = answer.json().await.unwrap();
            own.refresh = body["refresh_token"].as_str().unwrap().to_owned();
            own.access = body["access_token"].as_str().unwrap().to_owned();
            assert_eq!(status(&world, &own.access).await, 200, "at {offset:+}");
        }
    }
    own = flow.refreshed(&own.refresh).await;
    assert_eq!(status(&world, &own.access).await, 200);
    let figure =
        format!("0 of {tried} tokens good past exp + 60 s or before nbf - 60 s at +-10 min; the grant is kept");
    fault(19, &figure, "no token valid > exp + 60 s");
}
