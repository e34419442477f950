//! A real browser: what a person sees of the consent page and can do by keyboard alone, and what pages of other
//! origins can do with a backend's path.

use portcullis_tests::process::{file, free_port, node, tool};
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

#[tokio::test]
async fn a_script_of_a_listed_page_calls_a_tool_and_reads_the_challenge_and_a_foreign_one_reads_nothing() {
    let (listed, foreign) = (free_port(), free_port());
    let backend = Backend::plain().await;
    let origins = format!("allowed_origins: ['http://127.0.0.1:{listed}']");
    let world = WorldBuilder::new(&backend).server(&origins).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    assert!(tool("interop/node_modules").exists());
    let mut command = Command::new(node());
    command.arg(file("interop/page.mjs")).args([world.mcp(), token, listed.to_string(), foreign.to_string()]);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    let seen = &found["listed"];
    assert_eq!(seen["called"]["status"], 200, "{found}");
    let answer: Value = serde_json::from_str(seen["called"]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&answer["id"], answer["result"].is_object()), (&Value::from(7), true), "{found}");
    assert_eq!(seen["challenged"]["status"], 401, "{found}");
    assert!(seen["challenged"]["challenge"].as_str().unwrap().contains("resource_metadata="), "{found}");
    assert!(seen["unlisted"]["error"].is_string(), "a field that is not of MCP: {found}");
    for what in ["called", "challenged", "unlisted"] {
        assert!(found["foreign"][what]["error"].is_string(), "{what}: {found}");
    }
    assert_eq!(backend.requests().len(), 1, "the one call of the listed page");
}
