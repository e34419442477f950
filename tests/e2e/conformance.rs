//! The official conformance suite through the gateway says what it says without it, check by check, for every revision.
//!
//! The suite runs twice against an MCP server with everything it asks for (`conformance/everything.mjs`, on the official
//! TypeScript SDK): directly, and through a gateway with the token of a person who signed in. What may differ is in
//! `conformance/stricter.yaml`, each with its reason. Its scenarios for authorization servers run against the gateway's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use portcullis_tests::process::{file, free_port, node, tool, until_listening};
use portcullis_tests::{Backend, Process, World, WorldBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The revisions, and the least number of checks that the suite has for each: none may fall silent.
const REVISIONS: [(&str, usize); 4] = [("2025-03-26", 3), ("2025-06-18", 50), ("2025-11-25", 80), ("2026-07-28", 150)];

/// Everything is open to the person who signs in.
const OPEN: &str = "
  roles: { Task.All: { opens: [all] } }
  tools: { weather: { all: ['*'] } }
  prompts: { weather: { all: ['*'] } }
  resources: { weather: { all: ['test://**'] } }
";

/// How each check ended, by scenario, identifier and name; the same check may be made several times.
type Checks = BTreeMap<String, Vec<String>>;

fn server(logs: &Path) -> (Process, u16) {
    let port = free_port();
    let mut command = Command::new(node());
    command.arg(file("conformance/everything.mjs")).arg(port.to_string());
    (Process::start(command, logs.join(format!("server-{port}.log"))), port)
}

/// Runs the suite of one revision against a URL.
async fn run(url: &str, revision: &str, bearer: Option<&str>) -> Checks {
    let written = TempDir::new().unwrap();
    let mut command = Command::new(node());
    if let Some(bearer) = bearer {
        let origin = url.strip_suffix("/mcp").unwrap();
        command.arg("--import").arg(file("conformance/bearer.mjs")).env("BEARER", bearer).env("BEARER_ORIGIN", origin);
    }
    command.arg(tool("conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"));
    command.args(["server", "--url", url, "--suite", "all", "--spec-version", revision, "-o"]).arg(written.path());
    let output = tokio::time::timeout(Duration::from_mins(5), command.kill_on_drop(true).output()).await;
    let output = output.expect("the suite hangs").unwrap();
    let checks = read(written.path());
    assert!(
        !checks.is_empty(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    checks
}

fn read(directory: &Path) -> Checks {
    let mut checks = Checks::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // <kind>-<scenario>-<when>, where `when` is as long as this one:
        let long = "-2026-01-01T00-00-00-000Z".len();
        let scenario = name[..name.len() - long].trim_start_matches("server-");
        let text = std::fs::read_to_string(entry.path().join("checks.json")).unwrap();
        for check in serde_json::from_str::<Vec<Value>>(&text).unwrap() {
            let word = |key: &str| check[key].as_str().unwrap_or_default();
            let outcome = format!("{} {}", word("status"), word("errorMessage"));
            checks.entry(format!("{scenario}/{}/{}", word("id"), word("name"))).or_default().push(outcome);
        }
    }
    checks
}

fn status(outcomes: Option<&Vec<String>>) -> String {
    let words = outcomes.into_iter().flatten().map(|outcome| outcome.split(' ').next().unwrap_or_default());
    words.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn the_conformance_suite_says_the_same_through_the_gateway() {
    let logs = TempDir::new().unwrap();
    let ((_direct, direct), (_behind, behind)) = (server(logs.path()), server(logs.path()));
    until_listening(direct).await;
    until_listening(behind).await;
    let behind = format!("http://127.0.0.1:{behind}/mcp");
    let world = WorldBuilder::with_url(&behind).own_tokens_only().policy(OPEN).start().await;
    let bearer = world.sign_in("max").await.access;

    let text = std::fs::read_to_string(file("conformance/stricter.yaml")).unwrap();
    let mut stricter: Vec<Value> = serde_saphyr::from_str(&text).unwrap();
    let mut differences = Vec::new();
    for (revision, least) in REVISIONS {
        let url = format!("http://127.0.0.1:{direct}/mcp");
        let mcp = world.mcp();
        let (without, through) = tokio::join!(run(&url, revision, None), run(&mcp, revision, Some(&bearer)));
        let passed = without.values().flatten().filter(|outcome| outcome.starts_with("SUCCESS")).count();
        let failed = without.values().flatten().filter(|outcome| outcome.starts_with("FAILURE")).count();
        assert!(
            passed >= least && failed == 0,
            "{revision}: {passed} passed and {failed} failed without the gateway: {without:#?}"
        );
        let every: BTreeSet<_> = without.keys().chain(through.keys()).collect();
        for check in every {
            let (alone, gateway) = (status(without.get(check)), status(through.get(check)));
            if alone == gateway {
                continue;
            }
            let known = stricter.iter().position(|entry| {
                entry["revision"] == revision
                    && entry["check"] == check.as_str()
                    && entry["gateway"] == gateway.as_str()
            });
            match known {
                Some(at) => {
                    assert!(stricter.swap_remove(at)["reason"].as_str().is_some_and(|reason| reason.len() > 20));
                }
                None => differences
                    .push(format!("{revision} {check}: {alone} without, {gateway} through: {:?}", through.get(check))),
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(stricter.is_empty(), "these no longer differ: {stricter:?}");
}

/// Runs the scenarios for authorization servers of one revision, with a person at the browser.
async fn authorize(world: &World, client_id: &str, port: u16, revision: &str) -> (Checks, String) {
    let written = TempDir::new().unwrap();
    let mut command = Command::new(node());
    command.arg(tool("conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"));
    command.args(["authorization", "--url", &world.url(), "--client-id", client_id, "--resource", &world.mcp()]);
    command.args(["--port", &port.to_string(), "--spec-version", revision, "-o"]).arg(written.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    let all = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(address) = line.split_whitespace().find(|word| word.contains("/authorize?")) {
                let mut browser = Command::new(node());
                browser.arg(file("interop/open.mjs")).arg(address).env("PERSON", "rita").env("VISIT", "1");
                assert!(browser.output().await.unwrap().status.success(), "{address}");
            }
            said.push_str(&line);
            said.push('\n');
        }
        child.wait().await.unwrap();
    };
    tokio::time::timeout(Duration::from_mins(2), all).await.expect("the suite hangs");
    (read(written.path()), said)
}

#[tokio::test]
async fn the_authorization_server_is_as_the_conformance_suite_wants_it() {
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    // Metadata and the code grant for each revision, and for the later two that metadata documents are read.
    for (revision, count) in [("2025-03-26", 2), ("2025-06-18", 2), ("2025-11-25", 3), ("2026-07-28", 3)] {
        let port = free_port();
        let redirect = format!("http://127.0.0.1:{port}/callback");
        let metadata = json!({ "client_name": "Conformance", "redirect_uris": [redirect],
            "application_type": "native", "token_endpoint_auth_method": "none" });
        let response = world.http().post(format!("{}/register", world.url())).json(&metadata).send().await.unwrap();
        let client: Value = response.json().await.unwrap();
        let (checks, said) = authorize(&world, client["client_id"].as_str().unwrap(), port, revision).await;
        let outcomes: Vec<&str> = checks.values().flatten().map(|outcome| outcome.trim()).collect();
        assert_eq!(outcomes, vec!["SUCCESS"; count], "{revision}: {checks:#?}\n{said}");
    }
}
