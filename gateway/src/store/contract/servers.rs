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
    /// Who says where they are; nobody, and they are asked themselves.
    sentinels: Vec<u16>,
    /// The certificate of servers that speak TLS alone, to [`USER`] alone.
    certificate: Option<PathBuf>,
    pub(super) running: Vec<Launched>,
    directory: tempfile::TempDir,
}

/// Who may use a server that is guarded, and the password.
const USER: (&str, &str) = ("portcullis", "secret");

impl Servers {
    /// Where they are, with a prefix that nobody has used.
    pub(super) fn settings(&self) -> RedisSettings {
        static STORES: AtomicU32 = AtomicU32::new(0);
        let (ca_file, guarded) = (self.certificate.clone(), self.certificate.is_some());
        let scheme = if guarded { "rediss" } else { "redis" };
        let asked = if self.sentinels.is_empty() { &self.ports } else { &self.sentinels };
        let urls = asked.iter().map(|port| Secret::new(format!("{scheme}://127.0.0.1:{port}"))).collect();
        let prefix = format!("test-{}", STORES.fetch_add(1, Ordering::Relaxed));
        RedisSettings {
            urls,
            kind: self.kind.clone(),
            username: guarded.then(|| USER.0.to_owned()),
            password: guarded.then(|| Secret::new(USER.1)),
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

/// One server that speaks TLS alone, to one user alone.
pub(super) fn guarded() -> &'static Servers {
    static GUARDED: OnceLock<Servers> = OnceLock::new();
    GUARDED.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let port = free_port();
        let (user, password) = USER;
        let arguments = format!(
            "--port 0 --tls-port {port} --bind 127.0.0.1 --tls-auth-clients no --tls-cert-file {} --tls-key-file {} --user default off --user {user} on >{password} ~* +@all",
            certificate.display(),
            key.display()
        );
        let running = vec![launch(&words(&arguments), directory.path().to_owned())];
        wait_for("redis-server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let certificate = Some(certificate);
        Servers { ports: vec![port], kind: RedisKind::Single, sentinels: Vec::new(), certificate, running, directory }
    })
}

/// What a sentinel watches, for as long as the process lives.
pub(super) fn sentinel() -> &'static Servers {
    static WATCHED: OnceLock<Servers> = OnceLock::new();
    WATCHED.get_or_init(watched)
}

/// A primary, which is the first, with a replica, and a sentinel that watches them.
pub(super) fn watched() -> Servers {
    let mut data = start(RedisKind::Sentinel("main".to_owned()), 2, |_port| words("--repl-diskless-sync-delay 0"));
    let (primary, replica) = (data.ports[0], data.ports[1]);
    ask(replica, &["replicaof", "127.0.0.1", &primary.to_string()]);
    wait_for("the replica", || ask(primary, &["info", "replication"]).contains("state=online"));
    let port = free_port();
    let file = data.directory.path().join("sentinel.conf");
    let content = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
    );
    std::fs::write(&file, content).unwrap();
    let arguments = [file.display().to_string(), "--sentinel".to_owned()];
    data.running.push(launch(&arguments, data.directory.path().to_owned()));
    wait_for("the sentinel", || ask(port, &["sentinel", "replicas", "main"]).contains(&replica.to_string()));
    data.sentinels.push(port);
    data
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
    Servers { ports, kind, sentinels: Vec::new(), certificate: None, running, directory }
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
