//! A Redis server of a test's own.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::free_port;

/// A server on a loopback port that keeps what it is given on its disk; it ends with the test.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
    /// Where it listens.
    pub port: u16,
    running: Mutex<Option<Child>>,
}

impl Redis {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let server = Self { directory: directory(), port: free_port(), running: Mutex::default() };
        server.resume();
        server
    }

    /// Starts one that has what another has.
    #[must_use]
    pub fn replica_of(primary: &Self) -> Self {
        let server = Self::start();
        server.follow(primary);
        server
    }

    /// Has what another has from now on, and waits until it does.
    pub fn follow(&self, primary: &Self) {
        assert!(self.ask(&["replicaof", "127.0.0.1", &primary.port.to_string()]).contains("OK"));
        for _ in 0..800 {
            if self.ask(&["info", "replication"]).contains("master_link_status:up") {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the replica does not catch up: {}", self.ask(&["info", "replication"]));
    }

    /// Starts a sentinel that watches this one under the name `main`; what it keeps has no data in it.
    #[must_use]
    pub fn watched(&self) -> Self {
        let server = Self { directory: directory(), port: free_port(), running: Mutex::default() };
        let file = server.directory.path().join("sentinel.conf");
        let content = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            server.port, self.port
        );
        std::fs::write(&file, content).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        server.run(command);
        server
    }

    /// Stops it as a crash would.
    pub fn stop(&self) {
        if let Some(mut running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    /// Starts it again with what is on its disk.
    pub fn resume(&self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        self.run(command);
    }

    fn run(&self, mut command: Command) {
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let running = command.spawn().expect("start `redis-server`; run `tests/setup.sh all`");
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        for _ in 0..400 {
            if self.ask(&["ping"]).contains("PONG") {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("redis-server does not answer");
    }

    /// The answer to a command, as `redis-cli` prints it.
    #[must_use]
    pub fn ask(&self, command: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        let answer = client.args(["-p", &self.port.to_string()]).args(command).output();
        String::from_utf8_lossy(&answer.expect("run `redis-cli`; run `tests/setup.sh all`").stdout).into_owned()
    }
}

/// In memory where there is a place for files in it: a kill loses nothing of them, and a busy disk holds up no replica.
fn directory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_none| TempDir::new()).unwrap()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
