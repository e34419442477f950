//! What the gateway knows of the servers behind it.

use prometheus::{Error, IntGaugeVec};

use super::register::Registrar;

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
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let of_server = &["backend", "server"];
        Ok(Self {
            up: registrar.gauges(
                "portcullis_backend_up",
                "Whether a server is in use (1), or left out (0) because it takes no connections or fails its health \
                 check. `server` is host and port.",
                of_server,
            )?,
            left_alone: registrar.gauges(
                "portcullis_backend_left_alone",
                "Whether exchanges with a server fail and its circuit is open (1).",
                of_server,
            )?,
            waiting: registrar.gauges(
                "portcullis_backend_waiting",
                "Requests that wait for a backend's answers.",
                &["backend"],
            )?,
        })
    }
}
