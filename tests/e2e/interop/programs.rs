//! Programs that open a browser themselves: mcp-remote between a client and standard input, MCP Inspector's command line,
//! and FastMCP's client.

use std::time::Duration;

use portcullis_tests::process::{file, tool};
use serde_json::{Value, json};
use tokio::process::Command;

use super::setting::{LIFETIME, Setting, TOOLS, fastmcp, is_whole, setting, weather};

#[tokio::test]
async fn mcp_remote_signs_in_calls_is_refused_and_refreshes() {
    let setting = setting(weather).await;
    let mut command = setting.script("remote.mjs", "rita");
    command.args([&setting.world.mcp(), "rita"]).args(TOOLS).arg(LIFETIME.to_string());
    is_whole(&setting.found(command).await, "mcp-remote");
    assert!(setting.refreshes().await >= 1);
}

#[tokio::test]
async fn fastmcps_client_signs_in_calls_is_refused_and_refreshes() {
    let setting = setting(fastmcp).await;
    let mut command = Command::new(tool(".tools/venv/bin/python"));
    command.arg(file("interop/fastmcp_client.py")).arg(setting.world.mcp()).args(TOOLS).arg(LIFETIME.to_string());
    setting.with_browser(&mut command, "rita");
    // Beside it: it waits for the browser where it waits for the answer.
    command.env("BROWSER", format!("{} %s &", file("interop/xdg-open").display()));
    is_whole(&setting.found(command).await, "FastMCP's client");
    assert!(setting.refreshes().await >= 1);
}

/// One run of the Inspector: its exit code, what it found, what it said.
async fn inspect(setting: &Setting, more: &[&str]) -> (Option<i32>, Value, String) {
    let launcher = tool("interop/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js");
    let mut command = Command::new(portcullis_tests::process::node());
    command.arg(launcher).args(["--cli", &setting.world.mcp(), "--format", "json"]).args(more);
    setting.with_browser(&mut command, "rita");
    // It opens a browser without a terminal, and keeps what it got without a keychain.
    command.env("MCP_AUTO_OPEN_ENABLED", "true").env("MCP_INSPECTOR_SECRET_STORE", "file");
    let output = setting.output(command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), found, said)
}

#[tokio::test]
async fn the_inspector_signs_in_once_calls_is_refused_and_refreshes() {
    let setting = setting(weather).await;
    let (code, _, said) = inspect(&setting, &["--method", "tools/list", "--stored-auth-only"]).await;
    assert_eq!(code, Some(3), "nobody has signed in: {said}");
    let (code, found, said) = inspect(&setting, &["--method", "tools/list"]).await;
    assert_eq!(code, Some(0), "{said}");
    let listed = found.to_string();
    assert!(listed.contains(TOOLS[0]) && !listed.contains(TOOLS[1]), "{listed}");
    let call = |tool: &'static str| {
        [
            "--stored-auth-only",
            "--method",
            "tools/call",
            "--tool-name",
            tool,
            "--tool-args-json",
            r#"{"station":"oslo"}"#,
        ]
    };
    for (tool, good) in [(TOOLS[0], true), (TOOLS[1], false)] {
        let (code, found, said) = inspect(&setting, &call(tool)).await;
        assert_eq!(code == Some(0), good, "{tool}: {found} {said}");
        // It asks for the list first, and does not call what is not there.
        assert!(good || said.contains("Tool 'delete_station' not found"), "{said}");
    }
    let before = setting.refreshes().await;
    tokio::time::sleep(Duration::from_secs(LIFETIME + 1)).await;
    let (code, found, said) = inspect(&setting, &call(TOOLS[0])).await;
    assert_eq!((code, found == json!(null)), (Some(0), false), "{said}");
    assert!(setting.refreshes().await > before);
}
