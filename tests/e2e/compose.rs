//! The compose file: valid by the schema of compose files, closed to everybody but this machine, and, its services run
//! as processes with the commands and files that it gives them, a gateway that works.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::{Options, Running};
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::{Process, binary, file, free_port, tool, until_listening};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const PASSWORD: &str = "0123456789abcdef";

fn directory() -> PathBuf {
    file("../deploy/compose")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(directory().join(name)).unwrap()
}

fn compose() -> Value {
    serde_saphyr::from_str(&read("compose.yaml")).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn services(compose: &Value) -> BTreeMap<String, Value> {
    compose["services"].as_object().unwrap().clone().into_iter().collect()
}

/// The names in `${NAME}`, `${NAME:-default}` and `${NAME:?message}`.
fn variables(text: &str) -> BTreeSet<String> {
    let opened = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    opened.map(|(name, _)| name.split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn it_is_a_compose_file() {
    let schema = std::fs::read(tool("deploy/node_modules/dclint/schemas/compose.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
    let written = compose();
    let faults: Vec<String> =
        validator.iter_errors(&written).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    for (pointer, wrong) in [("/services/gateway/read_onyl", json!(true)), ("/services/gateway/ports", json!("8080"))] {
        let mut broken = written.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.to_owned(), wrong);
        assert!(!validator.is_valid(&broken), "the control: {pointer}");
    }
}

#[test]
fn every_service_can_do_little_and_is_open_to_this_machine_at_most() {
    let compose = compose();
    for (name, service) in services(&compose) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert!(service.get("privileged").is_none(), "{name}");
        assert!(service.get("network_mode").is_none_or(|mode| mode == "none"), "{name}");
        let image = service["image"].as_str().unwrap();
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: `{image}` has no version"));
        assert_ne!(tag, "latest", "{name}");
        assert!(
            image.contains('/') || !image.starts_with("portcullis") || service["build"].is_object(),
            "{name}: from where?"
        );
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
        let published = service.get("ports").is_some();
        assert_eq!(published, ["gateway", "prometheus"].contains(&name.as_str()), "{name}");
    }
}

#[test]
fn only_the_gateway_reaches_servers_store_and_database() {
    let compose = compose();
    let on = |network: &str| -> Vec<String> {
        let all = services(&compose).into_iter();
        all.filter(|(_, service)| texts(&service["networks"]).contains(&network.to_owned()))
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(on("servers"), ["gateway", "weather"]);
    assert_eq!(on("data"), ["gateway", "postgres", "redis"]);
    assert_eq!(on("front"), ["gateway", "prometheus"]);
    for network in ["servers", "data"] {
        assert_eq!(compose["networks"][network]["internal"], true, "{network}");
    }
    for (name, service) in services(&compose) {
        let alone = service["network_mode"] == "none";
        assert!(alone || !texts(&service["networks"]).is_empty(), "{name} would be on the default network");
    }
}

#[test]
fn what_it_names_is_there() {
    let compose = compose();
    let declared: BTreeSet<&String> = compose["volumes"].as_object().unwrap().keys().collect();
    for (name, service) in services(&compose) {
        for volume in texts(&service["volumes"]) {
            let (source, rest) = volume.split_once(':').unwrap();
            if source.starts_with('.') {
                assert!(directory().join(source).exists(), "{name}: {source}");
                assert!(rest.ends_with(":ro"), "{name}: {volume} could be written");
            } else {
                assert!(declared.contains(&source.to_owned()), "{name}: {source}");
            }
        }
        if let Some(dockerfile) = service["build"]["dockerfile"].as_str() {
            let context = directory().join(service["build"]["context"].as_str().unwrap());
            assert!(context.join(dockerfile).exists() && context.join("Cargo.toml").exists(), "{name}");
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            if how["condition"] == "service_completed_successfully" {
                assert_eq!(services(&compose)[other]["restart"], "no", "{name} waits for `{other}`, which never ends");
                continue;
            }
            let check = &services(&compose)[other]["healthcheck"]["test"];
            assert_eq!(check[0], "CMD", "{name} waits for the health of `{other}`, which has no check");
        }
    }
    let example = read("env.example");
    let offered: BTreeSet<String> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
        .collect();
    let wanted = variables(&read("compose.yaml"));
    assert!(wanted.is_subset(&offered), "{wanted:?} of the compose file, {offered:?} of the example");
    let handed: BTreeSet<String> = texts(&services(&compose)["gateway"]["environment"]).into_iter().collect();
    let read_by_gateway = variables(&read("config/gateway.yaml"));
    assert!(
        read_by_gateway.is_subset(&handed),
        "the container has {handed:?}, the configuration wants {read_by_gateway:?}"
    );
    assert!(handed.iter().all(|name| offered.contains(name) || name == "PUBLIC_URL"), "{handed:?} {offered:?}");
}

/// Everything of the compose file on this machine: names of services become loopback addresses.
struct Stack {
    gateway: Process,
    _others: Vec<Process>,
    postgres: Postgres,
    identity: Running,
    http: reqwest::Client,
    client_port: u16,
    redis_port: u16,
    prometheus_port: u16,
    _directory: TempDir,
}

fn swap(text: &str, swaps: &[(&str, String)]) -> String {
    swaps.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "`{from}` is not there any more: {text}");
        text.replace(from, to)
    })
}

fn start(directory: &Path, name: &str, command: Command) -> Process {
    Process::start(command, directory.join(format!("{name}.log")))
}

impl Stack {
    async fn up() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let all = services(&compose());
        let [client, admin, weather, redis, prometheus] = std::array::from_fn(|_| free_port());
        let postgres = Postgres::start();
        let script = directory_file("../postgres/init.sh");
        let sql = directory_file("../postgres/audit.sql").display().to_string();
        postgres.initialise(&script, &[("AUDIT_PASSWORD", PASSWORD), ("AUDIT_SQL", &sql)]);
        let url = format!("http://localhost:{client}");
        let listen = ([127, 0, 0, 1], 0).into();
        let options = Options { listen, redirect_uris: vec![format!("{url}/auth/callback")], ..Options::default() };
        let Options { tenant_id, client_id, client_secret, .. } = options.clone();
        let identity = Running::start(options).await.unwrap();

        let mut others = Vec::new();
        let mut command = Command::new(binary("weather"));
        command.args(swapped(&all["weather"], &[("0.0.0.0:9000", format!("127.0.0.1:{weather}"))]));
        others.push(start(path, "weather", command));
        let mut arguments = swapped(&all["redis"], &[("${REDIS_PASSWORD:?see env.example}", PASSWORD.to_owned())]);
        let mut command = Command::new(arguments.remove(0));
        command.args(arguments).args(["--port", &redis.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(path);
        others.push(start(path, "redis", command));
        until_listening(weather).await;
        until_listening(redis).await;

        let state = path.join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
        let entry = texts(&all["key"]["entrypoint"]);
        for _ in 0..2 {
            let made = Command::new(&entry[0]).args(&entry[1..]).current_dir(&state).status().await.unwrap();
            assert!(made.success());
        }
        let config = swap(
            &read("config/gateway.yaml"),
            &[
                ("0.0.0.0:8080", format!("127.0.0.1:{client}")),
                ("0.0.0.0:9090", format!("127.0.0.1:{admin}")),
                ("http://weather:9000/mcp", format!("http://127.0.0.1:{weather}/mcp, accept_entra_tokens: true")),
                ("@postgres/audit", format!("@{}", address_of(&postgres))),
                ("redis://redis:6379", format!("redis://127.0.0.1:{redis}")),
                ("/var/lib/portcullis", state.display().to_string()),
                (
                    "${AZURE_CLIENT_SECRET}",
                    format!(
                        "${{AZURE_CLIENT_SECRET}}\n  authority_host: {}\n  allow_unlisted_authority: true",
                        identity.origin()
                    ),
                ),
            ],
        );
        std::fs::write(path.join("gateway.yaml"), config).unwrap();
        let mut command = Command::new(binary("portcullis"));
        command.args(["serve", "--config"]).arg(path.join("gateway.yaml"));
        let environment =
            [("AZURE_TENANT_ID", tenant_id), ("AZURE_CLIENT_ID", client_id), ("AZURE_CLIENT_SECRET", client_secret)];
        command.envs(environment).env("AUDIT_PASSWORD", PASSWORD);
        command.env("REDIS_PASSWORD", PASSWORD).env("PUBLIC_URL", &url);
        let gateway = start(path, "gateway", command);

        std::fs::copy(directory_file("../monitoring/alerts.yaml"), path.join("alerts.yaml")).unwrap();
        let scraped = swap(
            &read("../monitoring/prometheus.yaml"),
            &[("gateway:9090", format!("127.0.0.1:{admin}")), ("15s", "1s".to_owned())],
        );
        std::fs::write(path.join("prometheus.yml"), scraped).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", path.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", path.join("tsdb").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{prometheus}"));
        others.push(start(path, "prometheus", command));
        until_listening(client).await;
        until_listening(prometheus).await;
        Self {
            gateway,
            _others: others,
            postgres,
            identity,
            http: reqwest::Client::builder().build().unwrap(),
            client_port: client,
            redis_port: redis,
            prometheus_port: prometheus,
            _directory: directory,
        }
    }

    async fn query(&self, expression: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.prometheus_port);
        let answer = self.http.get(url).query(&[("query", expression)]).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["data"]["result"].clone()
    }
}

fn directory_file(name: &str) -> PathBuf {
    directory().join(name)
}

fn address_of(postgres: &Postgres) -> String {
    postgres.url("portcullis_audit").split_once('@').unwrap().1.to_owned()
}

fn swapped(service: &Value, swaps: &[(&str, String)]) -> Vec<String> {
    let command = texts(&service["command"]);
    let swap_one = |word: String| swaps.iter().fold(word, |word, (from, to)| word.replace(from, to));
    let words: Vec<String> = command.iter().cloned().map(swap_one).collect();
    assert_ne!(words, command);
    words
}

#[tokio::test]
async fn its_services_as_processes_are_a_gateway_that_works() {
    let stack = Stack::up().await;
    let endpoint = format!("http://localhost:{}/mcp", stack.client_port);
    let refused = stack.http.post(&endpoint).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 401, "{}", stack.gateway.said());
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().contains("resource_metadata"));
    // A registration goes to the store, a call to the server, and word of both to the database.
    let registration = json!({ "client_name": "A client", "redirect_uris": ["http://127.0.0.1:33418/callback"], "token_endpoint_auth_method": "none" });
    let url = format!("http://localhost:{}/register", stack.client_port);
    let registered = stack.http.post(url).json(&registration).send().await.unwrap();
    assert_eq!(registered.status(), 201, "{}", registered.text().await.unwrap());
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "a client", "version": "1" } });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let call = stack.http.post(&endpoint).bearer_auth(stack.identity.mint("rita", &Value::Null)).json(&message);
    let answered = call.header("accept", "application/json, text/event-stream").send().await.unwrap();
    assert_eq!(answered.status(), 200, "{}", stack.gateway.said());
    let mut keys = Command::new("redis-cli");
    keys.args(["-p", &stack.redis_port.to_string(), "--scan"]).env("REDISCLI_AUTH", PASSWORD);
    let keys = String::from_utf8(keys.output().await.unwrap().stdout).unwrap();
    assert!(keys.lines().any(|key| key.contains("client")), "the registration is not in Redis: {keys}");
    for _ in 0..100 {
        let up = stack.query("up{job=\"portcullis\"}").await;
        if up[0]["value"][1] == "1" && !stack.query("portcullis_decisions_total").await.as_array().unwrap().is_empty() {
            let kept = stack.postgres.ask("SELECT count(*) FROM portcullis_audit");
            assert!(kept.trim().parse::<u32>().unwrap() > 3, "{kept}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("Prometheus does not reach the gateway: {}", stack.gateway.said());
}
