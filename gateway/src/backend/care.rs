//! How a backend is looked after, beside the connections that are tried: what was configured, and its defaults.

use std::time::Duration;

/// How a backend is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Care {
    /// What each of its servers is asked now and then; connections alone are tried when absent.
    pub health: Option<HealthCheck>,
    /// When a server is left alone for a while.
    pub circuit: CircuitSettings,
    /// How many requests may wait for the backend's answers at once.
    pub max_concurrent: usize,
    /// How many more may wait to be among them, each for the connect timeout at most.
    pub max_queued: usize,
}

/// What a server is asked now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The question.
    pub probe: Probe,
    /// How often it is asked.
    pub every: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// So many bad answers in a row put the server out; one good answer brings it back.
    pub failures: u32,
}

/// A question to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `GET` of this path, which has to be answered with a 2xx.
    Path(String),
    /// `ping` of MCP, which has to be answered as JSON-RPC.
    Ping,
}

/// When a server is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitSettings {
    /// So many failed exchanges in a row open the circuit; 0: it never opens.
    pub failures: u32,
    /// How long nothing is sent after that.
    pub open_for: Duration,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(10) }
    }
}

impl Default for Care {
    fn default() -> Self {
        Self { health: None, circuit: CircuitSettings::default(), max_concurrent: 512, max_queued: 64 }
    }
}
