//! What is measured: a backend, a pass-through and a gateway in front of it, and a caller whom the gateway knows.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use identity::{Options, Running};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, until_listening};

/// The core of the proxies, and the one of everything else.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// The readers' half of the tools is open to the caller.
const POLICY: &str = "
policy:
  roles: { Task.Read: { opens: [read] } }
  tools: { bench: { read: ['get_*'], delete: ['delete_*'] } }
";

/// A proxy under measurement.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
}

/// Everything that runs.
pub struct Setup {
    /// The pass-through and the gateway.
    pub targets: [Target; 2],
    token: String,
    gateway: SocketAddr,
    _backend: Process,
    _identity: Running,
    _files: TempDir,
}

impl Setup {
    /// Starts everything.
    pub async fn start(gateway: Option<String>) -> io::Result<Self> {
        let identity = Running::start(Options { listen: free()?, ..Options::default() }).await?;
        let (backend_at, bare_at, gateway_at) = (free()?, free()?, free()?);
        let backend = Process::start(LOAD_CORE, &beside("backend")?, &[backend_at.to_string()])?;
        let arguments = [bare_at.to_string(), backend_at.to_string()];
        let bare = Process::start(PROXY_CORE, &beside("passthrough")?, &arguments)?;
        let files = TempDir::new()?;
        let config = configure(files.path(), &identity, gateway_at, backend_at)?;
        let program = gateway.map_or_else(|| beside("portcullis"), Ok)?;
        let arguments = ["serve".to_owned(), "--config".to_owned(), config];
        let gateway = Process::start(PROXY_CORE, &program, &arguments)?;
        let setup = Self {
            targets: [Target { address: bare_at, process: bare }, Target { address: gateway_at, process: gateway }],
            token: identity.mint("rita", &Value::Null),
            gateway: gateway_at,
            _backend: backend,
            _identity: identity,
            _files: files,
        };
        for address in [backend_at, bare_at, gateway_at] {
            tokio::task::spawn_blocking(move || until_listening(address)).await??;
        }
        Ok(setup)
    }

    /// A POST with the caller's token, the same for both targets.
    pub fn request(&self, revision: &str, body: &str) -> Vec<u8> {
        let (host, token, length) = (self.gateway, &self.token, body.len());
        format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-protocol-version: {revision}\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Keeps this process, which makes the load, off the proxies' core; where there is one core, there is no telling.
pub fn stay_on_the_load_core() {
    let own = std::process::id().to_string();
    let arguments = ["-cp", &LOAD_CORE.to_string(), &own];
    let _ = std::process::Command::new("taskset").args(arguments).stdout(std::process::Stdio::null()).status();
}

fn configure(files: &Path, identity: &Running, gateway: SocketAddr, backend: SocketAddr) -> io::Result<String> {
    let Options { tenant_id, client_id, client_secret, .. } = Options::default();
    let (file, state, admin) = (files.join("gateway.yaml"), files.join("state"), free()?);
    let (state, audit, origin) = (state.display(), files.join("audit.jsonl"), identity.origin());
    let yaml = format!(
        "server: {{ listen: '{gateway}', public_url: 'http://{gateway}', admin_listen: '{admin}', threads: 1 }}\n\
         state: {{ path: '{state}' }}\n\
         entra: {{ tenant_id: '{tenant_id}', client_id: '{client_id}', client_secret: '{client_secret}', authority_host: '{origin}' }}\n\
         audit: {{ path: '{}' }}\n\
         backends:\n  bench: {{ url: 'http://{backend}/mcp', accept_entra_tokens: true }}\n{POLICY}",
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
