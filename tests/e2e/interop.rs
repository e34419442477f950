//! The official SDKs as clients that know nothing but the gateway's URL, against three kinds of servers, with an
//! Entra-shaped identity provider made of a certified OpenID provider.

use std::path::Path;
use std::time::Duration;

use portcullis_tests::process::{binary, file, free_port, node, tool, until_listening};
use portcullis_tests::{Process, World, WorldBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const SECRET: &str = "standin~Secret.for-tests_only-0123456789";
const LIFETIME: u64 = 3;

/// A gateway before one server, behind the Node identity provider.
struct Setting {
    world: World,
    _server: Process,
    _provider: Process,
    _logs: TempDir,
}

async fn setting(server: fn(u16) -> Command) -> Setting {
    let logs = TempDir::new().unwrap();
    let (gateway, provider_port, server_port) = (free_port(), free_port(), free_port());
    let mut provider = Command::new(node());
    provider
        .arg("--no-warnings")
        .arg(file("idp/server.mjs"))
        .current_dir(tool("idp/node_modules").parent().unwrap_or(Path::new(".")));
    provider
        .env("IDP_PORT", provider_port.to_string())
        .env("IDP_REDIRECTS", format!("http://127.0.0.1:{gateway}/auth/callback"));
    let provider = Process::start(provider, logs.path().join("provider.log"));
    let server = Process::start(server(server_port), logs.path().join("server.log"));
    until_listening(provider_port).await;
    until_listening(server_port).await;
    let world = WorldBuilder::with_url(&format!("http://127.0.0.1:{server_port}/mcp"))
        .own_tokens_only()
        .authority(&format!("http://127.0.0.1:{provider_port}"), gateway, SECRET)
        .more(&format!("oauth: {{ access_token_lifetime: {LIFETIME}s }}"))
        .start()
        .await;
    Setting { world, _server: server, _provider: provider, _logs: logs }
}

fn weather(port: u16) -> Command {
    let mut command = Command::new(binary("weather"));
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    command
}

fn fastmcp(port: u16) -> Command {
    let mut command = Command::new(tool(".tools/venv/bin/python"));
    command.arg(file("interop/fastmcp_server.py")).arg(port.to_string());
    command
}

fn typescript(port: u16) -> Command {
    let mut command = Command::new(node());
    command
        .arg(file("interop/server.mjs"))
        .arg(port.to_string())
        .current_dir(tool("interop/node_modules").parent().unwrap_or(Path::new(".")));
    command
}

/// Runs a client script; its last line is what it found.
async fn run(setting: &Setting, python: bool, mode: &str, person: &str) -> Value {
    let mut command = if python { Command::new(tool(".tools/venv/bin/python")) } else { Command::new(node()) };
    command.arg(file(if python { "interop/client.py" } else { "interop/client.mjs" }));
    command.args([&setting.world.mcp(), mode, person, "get_forecast", "delete_station", &LIFETIME.to_string()]);
    let output =
        tokio::time::timeout(Duration::from_secs(90), command.output()).await.expect("the client hangs").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| {
        panic!("{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), setting.world.gateway.said())
    })
}

/// Each client in each mode signs in, sees what the roles open, calls, is refused, and refreshes.
async fn every_client(setting: &Setting) {
    for (python, mode) in [(false, "legacy"), (false, "2026-07-28"), (true, "legacy"), (true, "2026-07-28")] {
        let found = run(setting, python, mode, "rita").await;
        let context = format!("python: {python}, mode: {mode}: {found}");
        let tools = found["tools"].as_array().unwrap();
        assert!(tools.contains(&json!("get_forecast")) && !tools.contains(&json!("delete_station")), "{context}");
        assert!(found["call"]["result"].is_object(), "{context}");
        assert!(
            found["denied"]["error"]["message"]
                .as_str()
                .is_some_and(|text| text.contains("Unknown tool: delete_station")),
            "{context}"
        );
        assert!(found["later"]["result"].is_object() && found["refreshes"].as_u64() >= Some(1), "{context}");
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
    let found = run(&setting, false, "legacy", "nora").await;
    assert_eq!(found["tools"], json!([]));
    assert!(found["call"]["error"].is_object());
    let control = run(&setting, false, "legacy", "max").await;
    assert_eq!(control["tools"].as_array().unwrap().len(), 7);
}
