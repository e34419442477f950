//! Other proxies in the same table, where they are installed. nginx and `HAProxy`, each with one thread and kept
//! connections to the backend, look at nothing: what they cost is the price of passing bytes on. `FastMCP`'s proxy
//! verifies the token and speaks MCP on both sides. Envoy is in [`crate::envoy`].

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::Process;

/// Starts nginx; `None` where it is not installed.
pub(crate) fn nginx(core: usize, files: &Path, listen: SocketAddr, backend: SocketAddr) -> io::Result<Option<Process>> {
    if !is_installed("nginx", "-v") {
        return Ok(None);
    }
    let (directory, file) = (files.display(), files.join("nginx.conf"));
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {directory}/nginx-{kind};"))
        .join(" ");
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log /dev/null;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ access_log off; keepalive_requests 100000000; client_max_body_size 8m; {temporary}\n\
           upstream backend {{ server {backend}; keepalive 256; keepalive_requests 100000000; }}\n\
           server {{ listen {listen} backlog=4096; location / {{ proxy_pass http://backend; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_buffers 16 16k; proxy_buffering on; proxy_read_timeout 1h; }} }} }}\n"
    );
    std::fs::write(&file, text)?;
    let arguments = ["-p", &directory.to_string(), "-c", &file.display().to_string()].map(str::to_owned);
    Process::start(core, "nginx", &arguments).map(Some)
}

/// Starts `HAProxy`; `None` where it is not installed.
pub(crate) fn haproxy(
    core: usize,
    files: &Path,
    listen: SocketAddr,
    backend: SocketAddr,
) -> io::Result<Option<Process>> {
    if !is_installed("haproxy", "-v") {
        return Ok(None);
    }
    let file = files.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n\
         \x20 timeout server 1h\n  http-reuse always\n  option http-no-delay\nfrontend f\n  bind {listen}\n  default_backend b\n\
         backend b\n  server s {backend} pool-max-conn 512\n"
    );
    std::fs::write(&file, text)?;
    let arguments = ["-db", "-q", "-f", &file.display().to_string()].map(str::to_owned);
    Process::start(core, "haproxy", &arguments).map(Some)
}

/// Whose tokens are good, for peers that look at them.
pub(crate) struct Trust {
    /// Where the keys are.
    pub(crate) keys: String,
    pub(crate) keys_at: SocketAddr,
    pub(crate) issuer: String,
    pub(crate) audience: String,
}

/// Starts `FastMCP`'s proxy with this Python.
pub(crate) fn fastmcp(
    core: usize,
    python: &str,
    (listen, backend): (SocketAddr, SocketAddr),
    trust: &Trust,
) -> io::Result<Process> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fastmcp_proxy.py");
    let (listen, backend) = (listen.to_string(), format!("http://{backend}/mcp"));
    let arguments = [script, &listen, &backend, &trust.keys, &trust.issuer, &trust.audience].map(str::to_owned);
    Process::start(core, python, &arguments)
}

fn is_installed(program: &str, question: &str) -> bool {
    Command::new(program).arg(question).output().is_ok()
}
