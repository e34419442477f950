//! What is measured: a backend, a pass-through and a gateway in front of it, and a caller whom the gateway knows.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Options, Running};
use serde_json::Value;
use tempfile::TempDir;

use crate::envoy;
use crate::peers::{self, Trust};
use crate::process::{Process, until_listening};

/// The core of the proxies, and the one of everything else.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

const UNLIMITED: &str = "limits: { calls_per_minute: 0, requests_per_caller: 0 }\n";

/// The readers' half of the tools is open to the caller.
const POLICY: &str = "
policy:
  roles: { Task.Read: { opens: [read] } }
  tools: { bench: { read: ['get_*'], delete: ['delete_*'] } }
";

/// A proxy under measurement.
pub(crate) struct Target {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) process: Process,
    /// Whether it holds event streams open, each on its own.
    pub(crate) streams: bool,
}

/// The programs that are measured and were not built beside this one.
#[derive(Default)]
pub(crate) struct Programs {
    /// The gateway's, if another one is meant.
    pub(crate) gateway: Option<String>,
    /// Envoy.
    pub(crate) envoy: Option<String>,
    /// A Python that has `FastMCP`.
    pub(crate) python: Option<String>,
}

/// The yardstick's place among the targets.
pub(crate) const BARE: usize = 0;

/// Everything that runs.
pub(crate) struct Setup {
    /// The pass-through first, then the gateway, the gateway without its list cache, and the others.
    pub(crate) targets: Vec<Target>,
    token: String,
    host: SocketAddr,
    _backend: Process,
    _identity: Running,
    _files: TempDir,
}

impl Setup {
    /// Starts everything.
    pub(crate) async fn start(programs: Programs) -> io::Result<Self> {
        let identity = Running::start(Options { listen: free()?, ..Options::default() }).await?;
        let files = TempDir::new()?;
        let backend_at = free()?;
        let backend = Process::start(LOAD_CORE, &beside("backend")?, &[backend_at.to_string()])?;
        let program = programs.gateway.map_or_else(|| beside("portcullis"), Ok)?;
        // Both gateways have one public address: the token and the request are the same for every target.
        let host = free()?;
        let gateway_with = |name: &'static str, limits: &str, audit: &str| -> io::Result<Target> {
            let address = free()?;
            let directory = files.path().join(name.replace([' ', ','], "-"));
            std::fs::create_dir_all(&directory)?;
            let config = configure(&directory, &identity, (address, host), backend_at, (limits, audit))?;
            let arguments = ["serve".to_owned(), "--config".to_owned(), config];
            Ok(Target { name, address, process: Process::start(PROXY_CORE, &program, &arguments)?, streams: true })
        };
        let bare_at = free()?;
        let arguments = [bare_at.to_string(), backend_at.to_string()];
        let bare = Process::start(PROXY_CORE, &beside("passthrough")?, &arguments)?;
        let mut targets = vec![
            Target { name: "pass-through", address: bare_at, process: bare, streams: true },
            gateway_with("gateway", UNLIMITED, "")?,
            gateway_with(
                "gateway, list cache off",
                "limits: { list_cache: 0, calls_per_minute: 0, requests_per_caller: 0 }\n",
                "",
            )?,
            gateway_with("gateway, audit on the disk first", UNLIMITED, ", durability: fsync")?,
        ];
        let token = identity.mint("rita", &Value::Null);
        let peers = Peers { files: files.path(), backend: backend_at, trust: trust(&identity, &token)? };
        targets.extend(peers.start((programs.envoy.as_deref(), programs.python.as_deref()))?);
        for (name, address) in
            targets.iter().map(|target| (target.name, target.address)).chain([("backend", backend_at)])
        {
            tokio::task::spawn_blocking(move || until_listening(name, address)).await??;
        }
        Ok(Self { targets, token, host, _backend: backend, _identity: identity, _files: files })
    }

    /// Stops the targets that none of these names begins, but for the yardstick; all stay where there is none.
    pub(crate) fn keep_only(&mut self, names: &[String]) {
        let mut place = 0;
        self.targets.retain(|target| {
            place += 1;
            place - 1 == BARE || names.is_empty() || names.iter().any(|name| target.name.starts_with(name.as_str()))
        });
    }

    /// A POST with the caller's token, the same for both targets.
    pub(crate) fn request(&self, revision: &str, body: &str) -> Vec<u8> {
        let (host, token, length) = (self.host, &self.token, body.len());
        format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-protocol-version: {revision}\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Keeps this process, which makes the load, off the proxies' core; where there is one core, there is no telling.
pub(crate) fn stay_on_the_load_core() {
    let own = std::process::id().to_string();
    let arguments = ["-cp", &LOAD_CORE.to_string(), &own];
    let _ = std::process::Command::new("taskset").args(arguments).stdout(std::process::Stdio::null()).status();
}

/// What the other proxies are started with.
struct Peers<'a> {
    files: &'a Path,
    backend: SocketAddr,
    trust: Trust,
}

impl Peers<'_> {
    /// Those that are installed; what is left out is said.
    fn start(&self, (envoy, python): (Option<&str>, Option<&str>)) -> io::Result<Vec<Target>> {
        let (files, backend) = (self.files, self.backend);
        let mut targets = Vec::new();
        let mut add = |name, address, process: Option<Process>, streams, remedy: &str| match process {
            Some(process) => targets.push(Target { name, address, process, streams }),
            None => left_out(name, remedy),
        };
        let at = free()?;
        add("nginx", at, peers::nginx(PROXY_CORE, files, at, backend)?, true, "install the package `nginx`");
        let at = free()?;
        add("HAProxy", at, peers::haproxy(PROXY_CORE, files, at, backend)?, true, "install the package `haproxy`");
        let at = free()?;
        let start = |program| envoy::start(PROXY_CORE, program, files, (at, backend), &self.trust);
        add(
            "Envoy, jwt_authn + mcp + rbac",
            at,
            envoy.map(start).transpose()?,
            true,
            "tests/bench/run.sh could not install it",
        );
        let at = free()?;
        let start = |python| peers::fastmcp(PROXY_CORE, python, (at, backend), &self.trust);
        // It waits for the whole answer to a call.
        add("FastMCP, proxy with JWTVerifier", at, python.map(start).transpose()?, false, "`make setup` installs it");
        Ok(targets)
    }
}

#[expect(clippy::print_stdout, reason = "part of the table")]
fn left_out(name: &str, remedy: &str) {
    println!("{name} is not in the tables: {remedy}");
}

/// Whose tokens the identity provider's are, as the one at hand says.
fn trust(identity: &Running, token: &str) -> io::Result<Trust> {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&payload)?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let origin = identity.origin();
    let keys_at = origin.trim_start_matches("http://").parse().map_err(io::Error::other)?;
    let keys = format!("{origin}/{}/discovery/v2.0/keys", Options::default().tenant_id);
    Ok(Trust { keys, keys_at, issuer: claim("iss"), audience: claim("aud") })
}

fn configure(
    files: &Path,
    identity: &Running,
    (listen, host): (SocketAddr, SocketAddr),
    backend: SocketAddr,
    (limits, trail): (&str, &str),
) -> io::Result<String> {
    let Options { tenant_id, client_id, client_secret, .. } = Options::default();
    let (file, state, admin) = (files.join("gateway.yaml"), files.join("state"), free()?);
    let (state, audit, origin) = (state.display(), files.join("audit.jsonl"), identity.origin());
    let yaml = format!(
        "server: {{ listen: '{listen}', public_url: 'http://{host}', admin_listen: '{admin}', threads: 1 }}\n\
         state: {{ path: '{state}' }}\n\
         entra: {{ tenant_id: '{tenant_id}', client_id: '{client_id}', client_secret: '{client_secret}', authority_host: '{origin}', allow_unlisted_authority: true }}\n\
         audit: {{ path: '{}'{trail} }}\n\
         backends:\n  bench: {{ url: 'http://{backend}/mcp', accept_entra_tokens: true, max_concurrent: 20000 }}\n{limits}{POLICY}",
        audit.display()
    );
    std::fs::write(&file, yaml)?;
    Ok(file.display().to_string())
}

fn free() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// A program that was built beside this one.
fn beside(name: &str) -> io::Result<String> {
    let program = std::env::current_exe()?.with_file_name(name);
    if program.exists() {
        return Ok(program.display().to_string());
    }
    Err(io::Error::other(format!("`{}` is missing; run `make bench`, which builds it", program.display())))
}
