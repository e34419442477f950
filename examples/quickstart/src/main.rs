//! The demonstration: starts an identity provider, the weather server and the gateway, and shows what each person
//! sees. With `HEADLESS=1` it walks through and ends; without, it stays up for a browser or an MCP client.

#![expect(clippy::indexing_slicing, reason = "JSON: what is absent is null")]

mod client;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Client, Failure};
use identity::{Options, Running};
use serde_json::json;
use tokio::process::{Child, Command};

/// What one person is expected to see.
struct Expectation {
    person: &'static str,
    roles: &'static str,
    sees: &'static [&'static str],
}

const READ: [&str; 3] = ["get_forecast", "list_stations", "get_station"];
const EXPECTATIONS: [Expectation; 5] = [
    Expectation { person: "nora", roles: "no role", sees: &[] },
    Expectation { person: "rita", roles: "Task.Read", sees: &READ },
    Expectation { person: "dora", roles: "Task.Delete", sees: &["delete_station"] },
    Expectation {
        person: "alice",
        roles: "Task.All",
        sees: &["get_forecast", "list_stations", "get_station", "add_station", "update_station", "delete_station"],
    },
    Expectation {
        person: "max",
        roles: "Task.All and MCPServer.Admin",
        sees: &[
            "get_forecast",
            "list_stations",
            "get_station",
            "add_station",
            "update_station",
            "delete_station",
            "rotate_keys",
        ],
    },
];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let headless = variable("HEADLESS").is_some_and(|value| value == "1");
    let gateway = address("DEMO_LISTEN", "127.0.0.1:8080")?;
    let (backend, identity, admin) = (
        address("DEMO_WEATHER", "127.0.0.1:9000")?,
        address("DEMO_IDENTITY", "127.0.0.1:9400")?,
        address("DEMO_ADMIN", "127.0.0.1:9090")?,
    );
    let url = format!("http://{gateway}");
    let redirect_uris = vec![format!("{url}/auth/callback")];
    let provider = Running::start(Options { listen: identity, redirect_uris, ..Options::default() }).await?;
    let state = std::env::temp_dir().join(format!("portcullis-demo-{}", std::process::id()));
    std::fs::create_dir_all(&state)?;
    let binaries = std::env::current_exe()?.parent().map(Path::to_owned).ok_or("where are the binaries?")?;
    let _weather = start(&binaries, "weather", &["--listen", &backend.to_string()], &[])?;
    let config = PathBuf::from("examples/quickstart/gateway.yaml").display().to_string();
    let settings = [
        ("DEMO_URL", url.clone()),
        ("DEMO_LISTEN", gateway.to_string()),
        ("DEMO_ADMIN", admin.to_string()),
        ("DEMO_STATE", state.join("state").display().to_string()),
        ("DEMO_AUDIT", state.join("audit.jsonl").display().to_string()),
        ("DEMO_AUTHORITY", provider.origin()),
        ("DEMO_BACKEND", format!("http://{backend}/mcp")),
        ("RUST_LOG", "error".to_owned()),
    ];
    let _gateway = start(&binaries, "portcullis", &["serve", "--config", &config], &settings)?;
    until_ready(&format!("http://{admin}/readyz")).await?;
    let result = if headless { walk(&url).await } else { stay(&url, &state).await };
    if headless {
        std::fs::remove_dir_all(&state)?;
    }
    result
}

/// Signs everybody in and compares what they see with what they should.
async fn walk(url: &str) -> Result<(), Failure> {
    for expected in EXPECTATIONS {
        let mut client = Client::sign_in(url, expected.person).await?;
        let tools = client.tools().await?;
        say(&format!(
            "{} ({}) sees: {}",
            expected.person,
            expected.roles,
            if tools.is_empty() { "nothing".to_owned() } else { tools.join(", ") }
        ));
        if tools != expected.sees {
            return Err(format!("expected: {}", expected.sees.join(", ")).into());
        }
    }
    let mut rita = Client::sign_in(url, "rita").await?;
    let forecast = rita.call("get_forecast", json!({ "station": "oslo" })).await?;
    say(&format!("rita calls get_forecast: {}", forecast["result"]["content"][0]["text"]));
    let refused = rita.call("delete_station", json!({ "station": "oslo" })).await?;
    let unknown = rita.call("no_such_tool", json!({})).await?;
    say(&format!("rita calls delete_station: {}", refused["error"]));
    say(&format!("rita calls no_such_tool:   {}", unknown["error"]));
    if refused["error"]["message"] != "Unknown tool: delete_station"
        || refused["error"]["code"] != unknown["error"]["code"]
    {
        return Err("a refused tool must answer like an unknown one".into());
    }
    let mut max = Client::sign_in(url, "max").await?;
    let rotated = max.call("rotate_keys", json!({})).await?;
    say(&format!("max calls rotate_keys: {}", rotated["result"]["content"][0]["text"]));
    if rotated["result"]["content"][0]["text"] != "new keys are in use" {
        return Err("the administrator must reach the admin tool".into());
    }
    say("everything is as it should be");
    Ok(())
}

async fn stay(url: &str, state: &Path) -> Result<(), Failure> {
    say(&format!("The gateway is up. Give this URL to an MCP client: {url}/mcp"));
    say("It will open a browser: approve, then choose nora, rita, walt, dora, alice or max.");
    say(&format!("Or get a token for curl: portcullis login {url}"));
    say(&format!("The audit trail is in {}. Stop with Ctrl-C.", state.join("audit.jsonl").display()));
    tokio::signal::ctrl_c().await?;
    std::fs::remove_dir_all(state)?;
    Ok(())
}

fn start(binaries: &Path, name: &str, arguments: &[&str], settings: &[(&str, String)]) -> Result<Child, Failure> {
    let mut command = Command::new(binaries.join(name));
    command.args(arguments).envs(settings.iter().map(|(key, value)| (key, value))).kill_on_drop(true);
    Ok(command.spawn().map_err(|error| format!("{name} does not start: {error}; build the workspace first"))?)
}

async fn until_ready(url: &str) -> Result<(), Failure> {
    for _ in 0..200 {
        if reqwest::get(url).await.is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the gateway does not get ready; see its messages above".into())
}

fn address(name: &str, default: &str) -> Result<SocketAddr, Failure> {
    let value = variable(name).unwrap_or_else(|| default.to_owned());
    Ok(value.parse().map_err(|_error| format!("`{name}` is not an address: `{value}`"))?)
}

#[expect(clippy::disallowed_methods, reason = "the demonstration is steered by its environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
