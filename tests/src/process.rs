//! Processes that belong to a test, and the ports they listen on.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};

/// A process that ends with the test; what it said is in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output goes to `log`.
    #[must_use]
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null()).kill_on_drop(true);
        let program = format!("{command:?}");
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; run `make test`, which builds it"));
        Self { child, log }
    }

    /// Everything it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The number that the system knows it by.
    ///
    /// # Panics
    ///
    /// Panics when it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it has ended")
    }

    /// Kilobytes of memory that it has.
    ///
    /// # Panics
    ///
    /// Panics when it has ended.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has ended");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files it has open.
    ///
    /// # Panics
    ///
    /// Panics when it has ended.
    #[must_use]
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// The time of processors that it has used, to a hundredth of a second (`proc_pid_stat(5)`; every Linux of today
    /// counts in those).
    ///
    /// # Panics
    ///
    /// Panics when it has ended.
    #[must_use]
    pub fn processor(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let used = [11, 12].map(|place: usize| fields[place].parse::<u64>().unwrap());
        Duration::from_millis(used.iter().sum::<u64>() * 10)
    }

    /// Ends it as an operator would (SIGTERM), and waits.
    pub async fn terminate(&mut self) {
        if let Some(id) = self.child.id() {
            let _ = Command::new("kill").arg(id.to_string()).status().await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
    }

    /// Sends it a signal, such as `HUP`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it has ended").to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    /// Waits until it has ended by itself; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let waited = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        waited.expect("it does not end").unwrap().code()
    }

    /// Ends it without a word (SIGKILL).
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}

/// Ports that are given out here: below those that the system gives to whoever asks for any.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port that nobody listens on, and that no other call of this process gets; another process begins elsewhere.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let (first, count) = (u32::from(PORTS.start), u32::from(PORTS.end - PORTS.start));
    let begin = std::process::id().wrapping_mul(7919);
    for _ in 0..count {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(first + place).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("every port is taken");
}

/// A program of this workspace.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(Path::parent).unwrap().join(name)
}

/// A file under `tests/`.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A program that `tests/setup.sh` installs; the message says so when it is missing.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let path = file(name);
    assert!(path.exists(), "`{}` is missing; run `tests/setup.sh all`", path.display());
    path
}

/// The Node.js that the tests run: the one that `tests/setup.sh` put beside them where the system's is too old.
#[must_use]
pub fn node() -> PathBuf {
    let own = file(".tools/node/node_modules/node/bin/node");
    if own.exists() { own } else { PathBuf::from("node") }
}

/// Waits until a port answers.
pub async fn until_listening(port: u16) {
    for _ in 0..600 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nothing listens on port {port}");
}
