//! The dashboard and the alert rules, in a real Prometheus that scrapes a real gateway under a small real load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::process::{file, until_listening};
use portcullis_tests::{Backend, Process, World, WorldBuilder, free_port};
use serde_json::{Value, json};

/// Panels whose queries give nothing under this load, and why.
const EMPTY: [(&str, &str); 3] = [
    ("AADSTS codes", "the identity provider of the tests refuses nobody here"),
    ("Documents of clients", "the clients of this load register"),
    ("Certificate", "the gateway of this test speaks plain HTTP on loopback"),
];

struct Prometheus {
    port: u16,
    http: reqwest::Client,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes a gateway each second, and itself in the same job, with the rules of `deploy/monitoring`. The job has a name
    /// that says nothing of the gateway, as where pods are found by their annotations.
    async fn start(world: &World) -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
        let rules = file("../deploy/monitoring/alerts.yaml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}']\n\
             scrape_configs: [{{ job_name: kubernetes-pods, static_configs: [{{ targets: ['127.0.0.1:{}', '127.0.0.1:{port}'] }}] }}]\n",
            rules.canonicalize().unwrap().display(),
            world.admin_port
        );
        std::fs::write(directory.path().join("prometheus.yaml"), config).unwrap();
        let mut command = tokio::process::Command::new("prometheus");
        command.arg(format!("--config.file={}", directory.path().join("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start(command, directory.path().join("log"));
        until_listening(port).await;
        let http = reqwest::Client::builder().build().unwrap();
        for _ in 0..400 {
            let ready = http.get(format!("http://127.0.0.1:{port}/-/ready")).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Self { port, http, _process: process, _directory: directory };
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("Prometheus does not get ready; it said:\n{}", process.said());
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let url = reqwest::Url::parse_with_params(&url, query).unwrap();
        serde_json::from_str(&self.http.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// The values that a query gives now.
    async fn query(&self, query: &str) -> Vec<f64> {
        let answer = self.get("query", &[("query", query)]).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let results = answer["data"]["result"].as_array().unwrap();
        results.iter().map(|result| result["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Waits until the gateway was scraped so often.
    async fn until_scraped(&self, times: usize) {
        for _ in 0..200 {
            let query = format!("count_over_time(portcullis_build_info[5m]) >= {times}");
            if !self.query(&query).await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the gateway is not scraped");
    }
}

/// Panels with their queries, as Grafana would send them.
fn panels() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(file("../deploy/monitoring/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let filled = |query: &str| query.replace("$__rate_interval", "1m").replace("$backend", ".*");
    let queries = |panel: &Value| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.iter().map(|target| filled(target["expr"].as_str().unwrap())).collect::<Vec<_>>()
    };
    let all = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let panels: Vec<_> = all.map(|panel| (panel["title"].as_str().unwrap().to_owned(), queries(panel))).collect();
    assert!(panels.len() > 40 && panels.iter().all(|(_, queries)| !queries.is_empty()));
    let titles: BTreeSet<&String> = panels.iter().map(|(title, _)| title).collect();
    assert_eq!(titles.len(), panels.len(), "two panels have one title");
    panels
}

/// A server whose tool `get_angry` fails, and that breaks off when `get_broken` is called.
async fn moody() -> Backend {
    Backend::start(Arc::new(|request: &Request| {
        let message = request.json();
        let mut answer = mcp(&message);
        if message["method"] == "tools/list" {
            let more =
                ["get_angry", "get_broken"].map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
            answer["result"]["tools"].as_array_mut().unwrap().extend(more);
            answer["result"].as_object_mut().unwrap().remove("nextCursor");
        }
        match message["params"]["name"].as_str() {
            Some("get_angry") => answer["result"]["isError"] = json!(true),
            Some("get_broken") => return b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nCLOSE".to_vec(),
            _ => {}
        }
        json_answer(&answer)
    }))
    .await
}

const POLICY: &str = "
  roles: { Task.Read: { opens: [read] }, Task.All: { opens: [read, write] } }
  tools: { weather: { read: [get_forecast, 'get_*'], write: [delete_station] } }
";

/// Something of everything that a gateway sees on a day.
async fn load(world: &World, token: &str) {
    for tool in ["get_forecast", "get_angry", "get_broken", "delete_station", "invented"] {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } });
        let _ = world.post(token, &message).await.bytes().await;
    }
    world.ask(token, "tools/list", json!({})).await;
    let _ = world.post("no-token", &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })).await;
}

#[tokio::test]
async fn every_query_of_the_dashboard_gives_something_and_no_alert_fires_without_need() {
    let collector = Backend::start(Arc::new(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    let traces = format!("traces: {{ otlp: {{ endpoint: '{}' }} }}\n", collector.url().trim_end_matches("/mcp"));
    let builder = WorldBuilder::new(&moody().await).policy(POLICY).more(&traces);
    let builder = builder.backend_more("drift: { lock: weather.lock.json, mode: report }");
    let world = builder.before(&["tools", "pin"]).start().await;
    let prometheus = Prometheus::start(&world).await;
    prometheus.until_scraped(1).await;
    let token = world.identity.mint("walt", &Value::Null);
    for round in 1..4 {
        load(&world, &token).await;
        world.sign_in("walt").await;
        prometheus.until_scraped(round * 2).await;
    }
    let mut empty = BTreeMap::new();
    for (title, queries) in panels() {
        for query in queries {
            let values = prometheus.query(&query).await;
            if !values.iter().any(|value| value.is_finite()) {
                empty.insert(title.clone(), query);
            }
        }
    }
    for (title, why) in EMPTY {
        assert!(empty.remove(title).is_some(), "`{title}` gives something after all; it was to be empty: {why}");
    }
    assert!(empty.is_empty(), "these panels give nothing: {empty:#?}\n{}", world.probe("/metrics").await);
    // The load is in the numbers, and not only in series that are always there.
    for (query, at_least) in [
        ("sum(increase(portcullis_decisions_total{decision=\"deny\",reason=\"policy\"}[1m]))", 1.0),
        ("sum(increase(mcp_server_operation_duration_seconds_count{error_type=\"tool_error\"}[1m]))", 1.0),
        ("sum(increase(portcullis_backend_errors_total{error=\"broken\"}[1m]))", 1.0),
        ("sum(increase(portcullis_authentications_total{outcome=\"form\"}[1m]))", 1.0),
        ("sum(increase(portcullis_trace_spans_total{outcome=\"exported\"}[1m]))", 1.0),
        ("sum(portcullis_oauth_steps_total{step=\"tokens_issued\"})", 1.0),
        ("sum(portcullis_catalogue_tools{state=\"listed\"})", 5.0),
    ] {
        let values = prometheus.query(query).await;
        assert!(values.first().is_some_and(|value| *value >= at_least), "{query}: {values:?}");
    }
    // What every process has is asked of gateways alone: Prometheus has it, too.
    assert_eq!(prometheus.query("count(process_cpu_seconds_total)").await, [2.0]);
    for title in ["CPU", "Memory", "Open files"] {
        let (_, queries) = panels().into_iter().find(|(known, _)| known == title).unwrap();
        for query in queries {
            assert_eq!(prometheus.query(&query).await.len(), 1, "{title}: {query}");
        }
    }
    let rules = prometheus.get("rules", &[]).await;
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() >= 20, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let is_silent = rule["alerts"].as_array().unwrap().iter().all(|alert| alert["state"] != "firing");
        assert!(is_silent, "{rule}");
    }
}

/// What `promtool` cannot say of a test file: that it leaves no rule out.
#[test]
fn every_alert_is_tested_to_fire_and_to_be_silent() {
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(file(&format!("../deploy/monitoring/{name}"))).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    };
    let rules = read("alerts.yaml");
    let names = rules["groups"][0]["rules"].as_array().unwrap().iter().map(|rule| rule["alert"].as_str().unwrap());
    let names: BTreeSet<&str> = names.collect();
    let tests = read("alerts_test.yaml");
    let worlds = tests["tests"].as_array().unwrap();
    let tests: Vec<&Value> = worlds.iter().flat_map(|world| world["alert_rule_test"].as_array().unwrap()).collect();
    let of = |fires: bool| -> BTreeSet<&str> {
        let tests =
            tests.iter().filter(|test| test["exp_alerts"].as_array().is_some_and(|all| all.is_empty() != fires));
        tests.map(|test| test["alertname"].as_str().unwrap()).collect()
    };
    assert!(names.len() >= 20);
    assert_eq!((of(true), of(false)), (names.clone(), names));
}

#[test]
fn the_dashboard_asks_for_series_that_exist() {
    let exported = std::fs::read_to_string(file("../docs/metrics.md")).unwrap();
    for (title, queries) in panels() {
        for query in queries {
            let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let series = words
                .filter(|word| ["portcullis_", "mcp_server_", "mcp_client_"].iter().any(|of| word.starts_with(of)));
            for name in series {
                let family =
                    ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
                assert!(
                    exported.contains(&format!("| `{family}` |")),
                    "`{title}` asks for `{name}`, which nothing exports"
                );
            }
        }
    }
}
