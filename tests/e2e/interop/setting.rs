//! A gateway before one server, behind the identity provider that runs on Node.js; and what every client must find there.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use portcullis_tests::process::{binary, file, free_port, node, tool, until_listening};
use portcullis_tests::{Process, World, WorldBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const SECRET: &str = "standin~Secret.for-tests_only-0123456789";
/// How long an access token lives, in seconds: every client has to refresh.
pub(crate) const LIFETIME: u64 = 3;
/// What the roles of Rita open, and what they do not.
pub(crate) const TOOLS: [&str; 2] = ["get_forecast", "delete_station"];

/// The gateway and what is around it.
pub(crate) struct Setting {
    pub(crate) world: World,
    _server: Process,
    _provider: Process,
    logs: TempDir,
}

/// A setting with one kind of server.
pub(crate) async fn setting(server: fn(u16) -> Command) -> Setting {
    with_lifetime(server, LIFETIME).await
}

/// A setting whose access tokens live as long as it takes to look at them.
pub(crate) async fn patient(server: fn(u16) -> Command) -> Setting {
    with_lifetime(server, 600).await
}

async fn with_lifetime(server: fn(u16) -> Command, lifetime: u64) -> Setting {
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
        .more(&format!("oauth: {{ access_token_lifetime: {lifetime}s }}"))
        .start()
        .await;
    Setting { world, _server: server, _provider: provider, logs }
}

/// The example server, on the Rust SDK.
pub(crate) fn weather(port: u16) -> Command {
    let mut command = Command::new(binary("weather"));
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    command
}

/// A server on FastMCP.
pub(crate) fn fastmcp(port: u16) -> Command {
    let mut command = Command::new(tool(".tools/venv/bin/python"));
    command.arg(file("interop/fastmcp_server.py")).arg(port.to_string());
    command
}

/// A server on the TypeScript SDK.
pub(crate) fn typescript(port: u16) -> Command {
    let mut command = Command::new(node());
    command
        .arg(file("interop/server.mjs"))
        .arg(port.to_string())
        .current_dir(tool("interop/node_modules").parent().unwrap_or(Path::new(".")));
    command
}

impl Setting {
    /// A script under `interop/`, on Node.js; browsers that it opens sign this person in.
    pub(crate) fn script(&self, name: &str, person: &str) -> Command {
        let mut command = Command::new(node());
        command.arg(file("interop").join(name));
        self.with_browser(&mut command, person);
        command
    }

    /// What a program finds that opens a browser, and a place of its own for what it keeps.
    pub(crate) fn with_browser(&self, command: &mut Command, person: &str) {
        let browser = file("interop/xdg-open");
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([file("interop")].into_iter().chain(std::env::split_paths(&rest))).unwrap();
        command.env("PATH", path).env("BROWSER", browser).env("NODE", node()).env("PERSON", person).env("VISIT", "1");
        command.env("HOME", self.home()).env("MCP_REMOTE_CONFIG_DIR", self.home()).env_remove("DISPLAY");
    }

    fn home(&self) -> PathBuf {
        self.logs.path().to_owned()
    }

    /// Runs a client; its last line is what it found.
    pub(crate) async fn found(&self, command: Command) -> Value {
        let output = self.output(command).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|_| {
            panic!("{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), self.world.gateway.said())
        })
    }

    /// Runs a program to its end.
    pub(crate) async fn output(&self, mut command: Command) -> Output {
        let ended = tokio::time::timeout(Duration::from_secs(90), command.kill_on_drop(true).output()).await;
        ended.expect("the client hangs").unwrap()
    }

    /// Where a person's browser comes out that opens this address, with the box of one scope unticked.
    pub(crate) async fn browse(&self, address: &str, person: &str, without: &str) -> String {
        let mut command = self.script("open.mjs", person);
        command.arg(address).env_remove("VISIT").env("WITHOUT", without);
        let output = self.output(command).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// How often tokens were refreshed so far.
    pub(crate) async fn refreshes(&self) -> usize {
        let lines = self.world.audit(1).await;
        lines.iter().filter(|line| line["event"] == "tokens_refreshed").count()
    }
}

/// Holds what a client found against what it must find.
pub(crate) fn is_whole(found: &Value, client: &str) {
    let context = format!("{client}: {found}");
    let tools = found["tools"].as_array().unwrap_or_else(|| panic!("{context}"));
    assert!(tools.contains(&json!(TOOLS[0])) && !tools.contains(&json!(TOOLS[1])), "{context}");
    assert!(found["call"]["result"].is_object() && found["later"]["result"].is_object(), "{context}");
    let refusal = found["denied"]["error"]["message"].as_str();
    assert!(refusal.is_some_and(|text| text.contains("Unknown tool: delete_station")), "{context}");
}
