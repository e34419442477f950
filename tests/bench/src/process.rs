//! Processes under measurement, and the processor time they have used.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What Linux counts processor time in, on every platform it is built for here.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that ends with the run.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program on one core, if there is a `taskset` to hold it there.
    pub(crate) fn start(core: usize, program: &str, arguments: &[String]) -> io::Result<Self> {
        let core = core.to_string();
        let pinned = quiet(Command::new("taskset").args(["-c", &core, program]).args(arguments));
        pinned.or_else(|_no_taskset| quiet(Command::new(program).args(arguments))).map(Self)
    }

    /// The processor time used so far, in microseconds: user and system.
    pub(crate) fn processor_time(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name of the program is in parentheses and may hold anything; the times are fields 14 and 15.
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_SECOND * 1e6)
    }
}

impl Process {
    /// The memory that it holds now, in bytes (resident set).
    pub(crate) fn memory(&self) -> io::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024.0).ok_or_else(|| io::Error::other("no VmRSS"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until somebody listens; at most 20 s.
pub(crate) fn until_listening(name: &str, address: SocketAddr) -> io::Result<()> {
    for _ in 0..400 {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::other(format!("{name} does not listen on {address}")))
}

fn quiet(command: &mut Command) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}
