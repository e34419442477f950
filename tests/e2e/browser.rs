//! A real browser: what a person sees of the consent page and can do by keyboard alone, and what pages of other
//! origins can do with a backend's path.

use portcullis_tests::flow::{REDIRECT, parameter};
use portcullis_tests::process::{file, free_port, node, tool};
use portcullis_tests::{Backend, Flow, WorldBuilder};
use serde_json::Value;
use tokio::process::Command;
use url::Url;

const POLICY: &str = "
  tags: { read: { title: 'Read forecasts and stations' }, write: { title: 'Add and change stations' }, delete: { title: 'Delete stations for good' } }
  roles: { Task.Read: { opens: [read] }, Task.All: { opens: [read, write, delete] } }
  tools: { weather: { read: ['get_*', 'list_*'], write: ['add_*'], delete: ['delete_*'] } }
";

/// The code in the address that a redirect led to.
fn code(landed: &Value) -> String {
    let url = Url::parse(landed.as_str().unwrap_or_else(|| panic!("nowhere: {landed}"))).unwrap();
    parameter(&url, "code").unwrap_or_else(|| panic!("no code in {url}"))
}

#[tokio::test]
async fn a_person_consents_by_keyboard_and_the_page_cannot_be_framed() {
    let world = WorldBuilder::new(&Backend::plain().await)
        .own_tokens_only()
        .policy(POLICY)
        .more("oauth: { remember_consent: 30d }")
        .start()
        .await;
    let flow = Flow::register(&world).await;
    let url = Url::parse_with_params(&format!("{}/authorize", world.url()), flow.parameters("rita")).unwrap();
    assert!(tool("interop/node_modules").exists());
    let (callback, _) = flow.at_callback("rita").await;
    let mut command = Command::new(node());
    command.arg(file("interop/consent.mjs")).args([url.as_str(), REDIRECT]).arg(file("../docs")).arg(callback.as_str());
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((&found["framed"], &found["control"]), (&Value::from(false), &Value::from(true)), "{found}");
    let text = found["text"].as_str().unwrap();
    for shown in ["Tests", "127.0.0.1", "a program on this device", "Delete stations for good", "for 30 days"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(found["scripts"], 0);
    assert!(found["denied"].as_str().unwrap().contains("error=access_denied"), "{found}");
    assert_eq!(flow.tokens(&code(&found["approved"])).await.scope, "delete read write");
    assert_eq!(flow.tokens(&code(&found["fewer"])).await.scope, "read write", "the first box was unticked");
    assert_ne!(found["light"], found["dark"], "light and dark");
    for landed in found["back"].as_array().unwrap().iter().chain(found["tabs"].as_array().unwrap()) {
        assert!(!flow.tokens(&code(landed)).await.access.is_empty(), "back button and two tabs");
    }
    assert_eq!((found["back"].as_array().unwrap().len(), found["tabs"].as_array().unwrap().len()), (2, 2));
    let elsewhere = found["elsewhere"].as_array().unwrap();
    assert_eq!((&elsewhere[0]["status"], &elsewhere[0]["landed"]), (&Value::from(403), &Value::from(0)));
    assert!(elsewhere[0]["text"].as_str().unwrap().contains("began elsewhere"));
    assert_eq!(elsewhere[1]["status"], 400, "and it is over then");
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
