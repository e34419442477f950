//! A gateway with everything around it. Longer than other files here because all that tests may change of it is in one
//! builder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::{Options, Running};
use reqwest::{Client, Response, redirect};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::backend::Backend;
use crate::calendar::Calendar;
use crate::process::{Process, binary, free_port, until_listening};

/// The policy of most tests.
pub const POLICY: &str = "
  roles: { Task.Read: { opens: [read] }, Task.Write: { opens: [read, write] }, Task.Delete: { opens: [delete] }, Task.All: { opens: [read, write, delete] }, MCPServer.Admin: { opens: [admin] } }
  tools: { weather: { read: ['get_*', 'list_*'], write: ['add_*', 'update_*'], delete: ['delete_*'], admin: [rotate_keys] } }
  prompts: { weather: { read: ['*'] } }
  resources: { weather: { read: ['weather://stations/**'], admin: ['weather://keys/**'] } }
";

const UNLIMITED: &str = "limits: { calls_per_minute: 0, authorize: { per_address: 0, total: 0 }, register: { per_address: 0, total: 0 }, token: { per_address: 0, total: 0 } }\n";

/// How a world is to be.
#[derive(Clone, Debug)]
pub struct WorldBuilder {
    backends: Vec<(String, String)>,
    replicas: Vec<String>,
    accept_entra_tokens: bool,
    policy: String,
    more: String,
    features: Option<String>,
    backend_more: String,
    public: Option<String>,
    entra: String,
    audit: String,
    trail: String,
    state: String,
    redis: String,
    server: String,
    authority: Option<(String, u16, String)>,
    identity: Options,
    credential: String,
    tls: Option<(String, String)>,
    before: Vec<Vec<String>>,
    environment: Vec<(String, String)>,
}

/// A gateway, its identity provider and its files.
#[derive(Debug)]
pub struct World {
    /// The identity provider.
    pub identity: Running,
    /// The gateway's process.
    pub gateway: Process,
    /// Its port for clients.
    pub port: u16,
    /// Its port for operators.
    pub admin_port: u16,
    directory: TempDir,
    environment: Vec<(String, String)>,
    http: Client,
    url: String,
}

impl WorldBuilder {
    /// A world with one backend called `weather`.
    #[must_use]
    pub fn new(backend: &Backend) -> Self {
        Self::with_url(&backend.url())
    }

    /// A world whose backend `weather` is somewhere.
    #[must_use]
    pub fn with_url(url: &str) -> Self {
        Self {
            backends: vec![("weather".to_owned(), url.to_owned())],
            replicas: Vec::new(),
            accept_entra_tokens: true,
            policy: POLICY.to_owned(),
            more: String::new(),
            features: None,
            backend_more: String::new(),
            public: None,
            entra: String::new(),
            audit: String::new(),
            trail: "path: audit.jsonl".to_owned(),
            state: "state".to_owned(),
            redis: String::new(),
            server: String::new(),
            authority: None,
            identity: Options::default(),
            credential: "client_secret_file: secret".to_owned(),
            tls: None,
            before: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With another backend.
    #[must_use]
    pub fn backend(mut self, name: &str, url: &str) -> Self {
        self.backends.push((name.to_owned(), url.to_owned()));
        self
    }

    /// With another server of the backend `weather`.
    #[must_use]
    pub fn replica(mut self, url: &str) -> Self {
        self.replicas.push(url.to_owned());
        self
    }

    /// Taking the gateway's own tokens only.
    #[must_use]
    pub fn own_tokens_only(mut self) -> Self {
        self.accept_entra_tokens = false;
        self
    }

    /// With another policy.
    #[must_use]
    pub fn policy(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.policy);
        self
    }

    /// With more lines of configuration; `{identity}` is the identity provider's origin.
    #[must_use]
    pub fn more(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.more);
        self
    }

    /// With more of the server section, as in `trusted_proxies: [127.0.0.1]`.
    #[must_use]
    pub fn server(mut self, more: &str) -> Self {
        self.server = format!(", {more}");
        self
    }

    /// With more of the identity provider's section.
    #[must_use]
    pub fn entra(mut self, more: &str) -> Self {
        self.entra = format!(", {more}");
        self
    }

    /// With its store in a Redis on this port, sealed under `shared.key`, and more about that Redis.
    #[must_use]
    pub fn redis(mut self, port: u16, more: &str) -> Self {
        self.redis = format!(", redis: {{ url: 'redis://127.0.0.1:{port}'{more} }}, seal_key_files: [shared.key]");
        self
    }

    /// With its store in whatever Redis the sentinel on this port calls the primary `main`; a change counts when a replica
    /// has it.
    #[must_use]
    pub fn sentinel(mut self, port: u16) -> Self {
        self.redis = format!(
            ", redis: {{ sentinel: {{ urls: ['redis://127.0.0.1:{port}'], primary: main }}, wait_replicas: 1 }}, seal_key_files: [shared.key]"
        );
        self
    }

    /// With more of the audit section.
    #[must_use]
    pub fn audit(mut self, more: &str) -> Self {
        self.audit = format!(", {more}");
        self
    }

    /// With its state in this directory.
    #[must_use]
    pub fn state(mut self, directory: &Path) -> Self {
        self.state = format!("'{}'", directory.display());
        self
    }

    /// With its audit trail here and nowhere else, as in `sqlite: trail.db`.
    #[must_use]
    pub fn trail(mut self, place: &str) -> Self {
        place.clone_into(&mut self.trail);
        self
    }

    /// With more about every backend, as in `identity: { headers: true }`.
    #[must_use]
    pub fn backend_more(mut self, more: &str) -> Self {
        self.backend_more = format!(", {more}");
        self
    }

    /// With this backend open to callers without a token.
    #[must_use]
    pub fn public(mut self, name: &str) -> Self {
        self.public = Some(name.to_owned());
        self
    }

    /// With these `client_features` of every backend, separated by commas.
    #[must_use]
    pub fn features(mut self, words: &str) -> Self {
        self.features = Some(words.to_owned());
        self
    }

    /// Over TLS with this certificate and key (PEM), which clients trust; `tls.crt` and `tls.key` in the directory.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        self.tls = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// With an identity provider of its own: its origin, the gateway's port that it knows, the client secret.
    #[must_use]
    pub fn authority(mut self, origin: &str, port: u16, secret: &str) -> Self {
        self.authority = Some((origin.to_owned(), port, secret.to_owned()));
        self
    }

    /// With an identity provider that is told this; where it listens and leads back to is the world's own affair.
    #[must_use]
    pub fn identity(mut self, options: Options) -> Self {
        self.identity = options;
        self
    }

    /// With another credential at the identity provider than its secret, as in `federated_token_file: token`.
    #[must_use]
    pub fn credential(mut self, line: &str) -> Self {
        line.clone_into(&mut self.credential);
        self
    }

    /// With a command of the gateway's that is run before it starts, and must succeed.
    #[must_use]
    pub fn before(mut self, arguments: &[&str]) -> Self {
        self.before.push(arguments.iter().map(ToString::to_string).collect());
        self
    }

    /// With a variable in the environment of the gateway.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a calendar that the test sets.
    #[must_use]
    pub fn calendar(self, calendar: &Calendar) -> Self {
        calendar.environment().into_iter().fold(self, |world, (name, value)| world.environment(name, &value))
    }

    /// Starts it.
    pub async fn start(self) -> World {
        let port = self.authority.as_ref().map_or_else(free_port, |(_, port, _)| *port);
        let admin_port = free_port();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{port}");
        let listen = ([127, 0, 0, 1], 0).into();
        let options = Options { listen, redirect_uris: vec![format!("{url}/auth/callback")], ..self.identity.clone() };
        let secret = options.client_secret.clone();
        let identity = Running::start(options).await.unwrap();
        let (authority, secret) = match &self.authority {
            Some((origin, _, secret)) => (origin.clone(), secret.clone()),
            None => (identity.origin(), secret),
        };
        let directory = TempDir::new().unwrap();
        let config = self.config(&url, port, admin_port, &authority).replace("{identity}", &identity.origin());
        std::fs::write(directory.path().join("gateway.yaml"), config).unwrap();
        std::fs::write(directory.path().join("secret"), format!("{secret}\n")).unwrap();
        write_private(&directory.path().join("shared.key"), &format!("{}\n", STANDARD.encode([7; 32])));
        for arguments in &self.before {
            let output = command(arguments, directory.path()).await;
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let mut http = Client::builder().redirect(redirect::Policy::none());
        if let Some((certificate, key)) = &self.tls {
            write_pair(directory.path(), certificate, key);
            http = http.add_root_certificate(reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap());
        }
        let gateway = start(directory.path(), &[], &self.environment);
        let (http, environment) = (http.build().unwrap(), self.environment);
        let world = World { identity, gateway, port, admin_port, directory, environment, http, url };
        world.until_ready().await;
        world
    }

    fn config(&self, url: &str, port: u16, admin_port: u16, authority: &str) -> String {
        let features = self.features.as_ref().map(|words| format!(", client_features: [{words}]")).unwrap_or_default();
        // Tests break servers more often than servers break; those of circuits set their own.
        let circuit = if self.backend_more.contains("circuit:") { "" } else { ", circuit: { failures: 0 }" };
        let features = features + circuit + &self.backend_more;
        let line = |(name, url): &(String, String)| {
            let urls = match (name.as_str(), self.replicas.as_slice()) {
                ("weather", [_, ..]) => format!("urls: ['{url}', '{}']", self.replicas.join("', '")),
                _ => format!("url: '{url}'"),
            };
            let access = if self.public.as_ref() == Some(name) { ", access: public" } else { "" };
            format!("  {name}: {{ {urls}, accept_entra_tokens: {}{access}{features} }}\n", self.accept_entra_tokens)
        };
        let backends = self.backends.iter().map(line).collect::<Vec<_>>().concat();
        let Options { tenant_id, client_id, .. } = Options::default();
        // Tests come faster than people; those of limits set their own.
        let tls = if self.tls.is_some() { ", tls: { certificate_file: tls.crt, key_file: tls.key }" } else { "" };
        let grace = if self.server.contains("drain_delay") { "5s" } else { "1s" };
        let limits = if self.more.contains("limits:") { "" } else { UNLIMITED };
        format!(
            "server: {{ listen: '127.0.0.1:{port}', public_url: '{url}', admin_listen: '127.0.0.1:{admin_port}', threads: 2, shutdown_grace: {grace}{tls}{} }}\n\
             state: {{ path: {}{} }}\n\
             entra: {{ tenant_id: '{tenant_id}', client_id: '{client_id}', {}, authority_host: '{authority}', allow_unlisted_authority: true{} }}\n\
             audit: {{ {}{} }}\n\
             backends:\n{backends}{}\n{limits}\
             policy:\n{}\n",
            self.server,
            self.state,
            self.redis,
            self.credential,
            self.entra,
            self.trail,
            self.audit,
            self.more,
            self.policy
        )
    }
}

async fn command(arguments: &[impl AsRef<std::ffi::OsStr>], directory: &Path) -> Output {
    Command::new(binary("portcullis")).args(arguments).current_dir(directory).kill_on_drop(true).output().await.unwrap()
}

/// Puts a pair where the gateway reads it: the key is its own alone.
fn write_pair(directory: &Path, certificate: &str, key: &str) {
    write_private(&directory.join("tls.key"), key);
    std::fs::write(directory.join("tls.crt"), certificate).unwrap();
}

fn write_private(file: &Path, content: &str) {
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn start(directory: &Path, more: &[&str], environment: &[(String, String)]) -> Process {
    serve(&directory.join("gateway.yaml"), more, environment)
}

/// Starts a gateway of this configuration, with a log beside it.
pub(crate) fn serve(config: &Path, more: &[&str], environment: &[(String, String)]) -> Process {
    let mut command = Command::new(binary("portcullis"));
    command.args(["serve", "--config"]).arg(config).args(more).env("RUST_LOG", "debug");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Process::start(command, config.with_file_name(format!("gateway-{}.log", free_port())))
}

impl World {
    /// The gateway's origin.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The endpoint of the single backend.
    #[must_use]
    pub fn mcp(&self) -> String {
        format!("{}/mcp", self.url())
    }

    /// A client that follows no redirects.
    #[must_use]
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// The directory of configuration, state, log and audit trail.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Runs a command of the gateway's where its files are.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        command(arguments, self.directory.path()).await
    }

    /// Starts the gateway again with the same files.
    pub async fn restart(&mut self) {
        self.gateway.terminate().await;
        self.gateway = start(self.directory.path(), &[], &self.environment);
        self.until_ready().await;
    }

    /// Starts the gateway again with the same files, and waits until it listens, ready or not.
    pub async fn begin_again(&mut self) {
        self.gateway.terminate().await;
        self.gateway = start(self.directory.path(), &[], &self.environment);
        until_listening(self.port).await;
        until_listening(self.admin_port).await;
    }

    /// Starts the process that takes over, and returns the one that is taken over from.
    pub fn upgrade(&mut self) -> Process {
        std::mem::replace(&mut self.gateway, start(self.directory.path(), &["--upgrade"], &self.environment))
    }

    /// Replaces the configuration by a file that is moved into its place.
    pub fn configure(&self, change: impl FnOnce(&str) -> String) {
        let path = self.directory.path().join("gateway.yaml");
        let text = change(&std::fs::read_to_string(&path).unwrap());
        let aside = self.directory.path().join("gateway.yaml.new");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }

    /// Replaces the certificate and its key.
    pub fn certify(&self, certificate: &str, key: &str) {
        write_pair(self.directory.path(), certificate, key);
    }

    /// Waits until a series of the gateway has a value.
    pub async fn until_metric(&self, line: &str) {
        for _ in 0..400 {
            if self.probe("/metrics").await.lines().any(|found| found == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("`{line}` does not come; there is:\n{}", self.probe("/metrics").await);
    }

    /// Waits until the trail says of so many requests that they are let through.
    pub async fn until_allowed(&self, number: usize) {
        for _ in 0..400 {
            if self.audit(1).await.iter().filter(|line| line["decision"] == "allow").count() == number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{number} are not let through");
    }

    /// Sends a JSON-RPC message with a token, in the way of the revisions up to 2025-11-25.
    pub async fn post(&self, token: &str, message: &Value) -> Response {
        self.post_with(token, message, &[]).await
    }

    /// As [`World::post`], with more headers.
    pub async fn post_with(&self, token: &str, message: &Value, headers: &[(&str, &str)]) -> Response {
        let mut request =
            self.http.post(self.mcp()).header("accept", "application/json, text/event-stream").json(message);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// A request and its answer as JSON.
    pub async fn ask(&self, token: &str, method: &str, params: Value) -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let text = self.post(token, &message).await.text().await.unwrap();
        let data = text.lines().rev().find_map(|line| line.strip_prefix("data:")).unwrap_or(&text);
        serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A request of 2026-07-28 and its answer as JSON; `name` is what `Mcp-Name` says.
    pub async fn ask_modern(&self, token: &str, method: &str, name: Option<&str>, mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {}, "url": {} }, "roots": {} },
        });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        let text = self.post_with(token, &message, &headers).await.text().await.unwrap();
        let data = text.lines().rev().find_map(|line| line.strip_prefix("data:")).unwrap_or(&text);
        serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The audit trail so far without the trail's own lines, once it has `lines` lines.
    pub async fn audit(&self, lines: usize) -> Vec<Value> {
        for _ in 0..100 {
            let text = std::fs::read_to_string(self.directory.path().join("audit.jsonl")).unwrap_or_default();
            let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let all: Vec<Value> =
                whole.filter(|line| !line["type"].as_str().unwrap_or_default().starts_with("audit.")).collect();
            if all.len() >= lines {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the audit trail does not reach {lines} lines");
    }

    /// What the operator's listener answers.
    pub async fn probe(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.admin_port);
        self.http.get(&url).send().await.unwrap().text().await.unwrap()
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin_port);
        for _ in 0..800 {
            if self.http.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the gateway does not get ready; it said:\n{}", self.gateway.said());
    }
}

impl Drop for World {
    /// A test that fails says what the gateway had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.gateway.said();
            let last = said.lines().rev().take(40).collect::<Vec<_>>();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            let _ = writeln!(std::io::stderr(), "the gateway's last lines:\n{last}");
        }
    }
}
