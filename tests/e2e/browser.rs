//! The consent page in a real browser: what a person sees and can do, without a script and by keyboard alone.

use portcullis_tests::process::{file, node, tool};
use portcullis_tests::{Backend, Flow, WorldBuilder};
use serde_json::Value;
use tokio::process::Command;
use url::Url;

#[tokio::test]
async fn a_person_consents_by_keyboard_and_the_page_cannot_be_framed() {
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let flow = Flow::register(&world).await;
    let url = Url::parse_with_params(&format!("{}/authorize", world.url()), flow.parameters("rita")).unwrap();
    assert!(tool("interop/node_modules").exists());
    let mut command = Command::new(node());
    command
        .arg(file("interop/consent.mjs"))
        .arg(url.as_str())
        .arg(portcullis_tests::flow::REDIRECT)
        .arg(file("../docs/consent-page.png"));
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((&found["framed"], &found["control"]), (&Value::from(false), &Value::from(true)), "{found}");
    assert!(found["text"].as_str().unwrap().contains("Tests") && found["text"].as_str().unwrap().contains("127.0.0.1"));
    assert_eq!(found["scripts"], 0);
    assert!(found["approved"].as_str().unwrap().contains("code="), "{found}");
    assert!(found["denied"].as_str().unwrap().contains("error=access_denied"), "{found}");
    let code = Url::parse(found["approved"].as_str().unwrap()).unwrap();
    let code = portcullis_tests::flow::parameter(&code, "code").unwrap();
    assert!(!flow.tokens(&code).await.access.is_empty());
}
