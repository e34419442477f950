//! Real Redis servers for the tests: started once for all of a process, and gone with it. Each store that is asked for
//! has a prefix of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config::Secret;
use crate::store::{RedisKind, RedisSettings};

/// Redis servers that belong together.
pub(super) struct Servers {
    pub(super) ports: Vec<u16>,
    kind: RedisKind,
    pub(super) running: Vec<Launched>,
    pub(super) directory: tempfile::TempDir,
}

impl Servers {
    /// Where they are, with a prefix that nobody has used.
    pub(super) fn settings(&self) -> RedisSettings {
        static STORES: AtomicU32 = AtomicU32::new(0);
        let urls = self.ports.iter().map(|port| Secret::new(format!("redis://127.0.0.1:{port}"))).collect();
        let prefix = format!("test-{}", STORES.fetch_add(1, Ordering::Relaxed));
        let (username, password, ca_file) = (None, None, None);
        RedisSettings {
            urls,
            kind: self.kind.clone(),
            username,
            password,
            ca_file,
            prefix,
            wait_replicas: 0,
            connections: 8,
        }
    }
}

/// A server that ends with this process at the latest: a shell holds it, and kills it when its own input ends.
pub(super) struct Launched(Child);

impl Launched {
    /// Kills it, as `kill -9` does.
    pub(super) fn kill(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One server.
pub(super) fn single() -> &'static Servers {
    static SINGLE: OnceLock<Servers> = OnceLock::new();
    SINGLE.get_or_init(|| start(RedisKind::Single, 1, |_port| Vec::new()))
}

/// A cluster of three.
pub(super) fn cluster() -> &'static Servers {
    static CLUSTER: OnceLock<Servers> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let servers = start(RedisKind::Cluster, 3, |port| {
            words(&format!("--cluster-enabled yes --cluster-config-file {port}.conf"))
        });
        let nodes = servers.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let mut create = Command::new("redis-cli");
        let made = create.args(["--cluster", "create"]).args(nodes).arg("--cluster-yes").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        wait_for("the cluster", || ask(servers.ports[2], &["cluster", "info"]).contains("cluster_state:ok"));
        servers
    })
}

/// Starts servers with further arguments, and waits until they answer.
pub(super) fn start(kind: RedisKind, count: usize, more: impl Fn(u16) -> Vec<String>) -> Servers {
    let directory = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let launch = |port: &u16| {
        let mut arguments = words(&format!("--port {port} --bind 127.0.0.1 --appendonly no --save"));
        arguments.push(String::new());
        arguments.extend(more(*port));
        launch(&arguments, directory.path().to_owned())
    };
    let running = ports.iter().map(launch).collect();
    for port in &ports {
        wait_for("redis-server", || ask(*port, &["ping"]).contains("PONG") || ask(*port, &["ping"]).contains("NOAUTH"));
    }
    Servers { ports, kind, running, directory }
}

/// Starts a `redis-server`.
pub(super) fn launch(arguments: &[String], directory: PathBuf) -> Launched {
    let mut shell = Command::new("sh");
    shell.args(["-c", "redis-server \"$@\" >/dev/null & server=$!; read -r _; kill -9 $server", "sh"]);
    shell.args(arguments).current_dir(directory).stdin(Stdio::piped());
    Launched(shell.spawn().expect("start a shell"))
}

/// The answer to a command, as `redis-cli` prints it.
pub(super) fn ask(port: u16, command: &[&str]) -> String {
    let mut client = Command::new("redis-cli");
    let answer = client.args(["-p", &port.to_string()]).args(command).output().expect("run `redis-cli`");
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

pub(super) fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

pub(super) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} is not there after half a minute; Debian has Redis in the package `redis-server`");
}

/// A port nobody listens on; the bus of a cluster is 10000 above it.
pub(super) fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}
