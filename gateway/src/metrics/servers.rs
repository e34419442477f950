//! What the gateway knows of the servers behind it.

use prometheus::{IntGaugeVec, Opts, Registry};

/// The series of servers; `server` is host and port.
#[derive(Debug)]
pub struct Servers {
    /// Whether a server is in use (1) or left out (0), by `backend` and `server`.
    pub up: IntGaugeVec,
    /// Whether exchanges with a server fail and it is left alone for a while (1), by `backend` and `server`.
    pub left_alone: IntGaugeVec,
    /// Requests that wait for a backend's answers, by `backend`.
    pub waiting: IntGaugeVec,
}

impl Servers {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let of_server = ["backend", "server"];
        Ok(Self {
            up: gauge("portcullis_backend_up", "Whether a server is in use.", &of_server)?,
            left_alone: gauge("portcullis_backend_left_alone", "Whether exchanges with a server fail.", &of_server)?,
            waiting: gauge("portcullis_backend_waiting", "Requests that wait for a backend's answers.", &["backend"])?,
        })
    }
}
