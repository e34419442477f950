//! The official SDKs for Python and TypeScript, the latter in both of its lines.

use portcullis_tests::process::{file, tool};
use serde_json::{Value, json};
use tokio::process::Command;

use super::setting::{LIFETIME, Setting, TOOLS, fastmcp, is_whole, setting, typescript, weather};

async fn python(setting: &Setting, mode: &str, person: &str) -> Value {
    let mut command = Command::new(tool(".tools/venv/bin/python"));
    command.arg(file("interop/client.py")).args([&setting.world.mcp(), mode, person]);
    setting.found(with_tools(command)).await
}

async fn current(setting: &Setting, mode: &str, person: &str) -> Value {
    let mut command = setting.script("client.mjs", person);
    command.args([&setting.world.mcp(), mode, person]);
    setting.found(with_tools(command)).await
}

async fn first_line(setting: &Setting, person: &str) -> Value {
    let mut command = setting.script("sdk1.mjs", person);
    command.args([&setting.world.mcp(), person]);
    setting.found(with_tools(command)).await
}

fn with_tools(mut command: Command) -> Command {
    command.args(TOOLS).arg(LIFETIME.to_string());
    command
}

async fn every_client(setting: &Setting) {
    let mut all = vec![("TypeScript 1.x".to_owned(), first_line(setting, "rita").await)];
    for mode in ["legacy", "2026-07-28"] {
        all.push((format!("TypeScript, {mode}"), current(setting, mode, "rita").await));
        all.push((format!("Python, {mode}"), python(setting, mode, "rita").await));
    }
    for (client, found) in all {
        is_whole(&found, &client);
        assert!(found["refreshes"].as_u64() >= Some(1), "{client}: {found}");
    }
}

#[tokio::test]
async fn official_clients_reach_the_rust_sdk_server() {
    every_client(&setting(weather).await).await;
}

#[tokio::test]
async fn official_clients_reach_the_fastmcp_server() {
    every_client(&setting(fastmcp).await).await;
}

#[tokio::test]
async fn official_clients_reach_the_typescript_sdk_server() {
    every_client(&setting(typescript).await).await;
}

#[tokio::test]
async fn somebody_without_a_role_signs_in_and_sees_nothing() {
    let setting = setting(weather).await;
    let found = current(&setting, "legacy", "nora").await;
    assert_eq!(found["tools"], json!([]));
    assert!(found["call"]["error"].is_object());
    let control = current(&setting, "legacy", "max").await;
    assert_eq!(control["tools"].as_array().unwrap().len(), 7);
}
