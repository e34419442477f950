//! A PostgreSQL server of a test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::process::free_port;

/// A server on a loopback port; it ends with the test.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    port: u16,
}

const PASSWORD: &str = "a-password-of-the-database";

impl Postgres {
    /// Makes a database and starts its server.
    #[must_use]
    pub fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let server = Self { directory, port: free_port() };
        std::fs::write(server.directory.path().join("password"), PASSWORD).unwrap();
        // The server will not run as root, and wants its directory to itself.
        if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres").arg(server.directory.path()));
        }
        let (data, password) = (server.data(), server.directory.path().join("password"));
        let mut initdb = server.command("initdb");
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--pwfile"]).arg(password).arg(data);
        run(&mut initdb);
        server.resume();
        server
    }

    /// Stops the server as a crash would.
    pub fn stop(&self) {
        run(self.command("pg_ctl").arg("stop").args(["-m", "immediate", "-D"]).arg(self.data()));
    }

    /// Starts it again.
    pub fn resume(&self) {
        let options = format!("-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories='' -F", self.port);
        let log = self.directory.path().join("data/server.log");
        let mut start = self.command("pg_ctl");
        start.arg("start").arg("-w").arg("-D").arg(self.data()).arg("-l").arg(log).arg("-o").arg(options);
        run(&mut start);
    }

    /// Where a role reaches it.
    #[must_use]
    pub fn url(&self, role: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// What a statement gives, a row a line.
    #[must_use]
    pub fn ask(&self, statement: &str) -> String {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url("postgres"), "-c", statement]);
        String::from_utf8(run(&mut psql).stdout).unwrap()
    }

    /// Runs a script of the repository as the image's entry point does: with `psql` on its path and these variables.
    pub fn initialise(&self, script: &Path, variables: &[(&str, &str)]) {
        let url = self.url("postgres");
        let psql = find("psql");
        let path =
            format!("{}:/usr/bin:/bin", psql.parent().map(Path::display).map(|it| it.to_string()).unwrap_or_default());
        let mut command = Command::new("bash");
        command.arg(script).env("PATH", path).env("POSTGRES_USER", "postgres").env("POSTGRES_DB", &url);
        run(command.envs(variables.iter().copied()).stdin(Stdio::null()));
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = find(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl").arg("stop").args(["-m", "immediate", "-D"]).arg(self.data()).output();
    }
}

/// Debian keeps the programs of the server away from the path.
fn find(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin").join(program)))
        .filter(|path: &PathBuf| Path::exists(path))
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(program))
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn run(command: &mut Command) -> Output {
    // The server must not keep the pipes of its starter open.
    let shown = format!("{command:?}");
    let files = TempDir::new().unwrap();
    let out = files.path().join("out");
    let file = std::fs::File::create(&out).unwrap();
    let status = command.stdout(file.try_clone().unwrap()).stderr(file).status();
    let stdout = std::fs::read(&out).unwrap();
    let status = status.unwrap_or_else(|error| panic!("{shown}: {error}; run `tests/setup.sh all`"));
    assert!(status.success(), "{shown}: {}", String::from_utf8_lossy(&stdout));
    Output { status, stdout, stderr: Vec::new() }
}
