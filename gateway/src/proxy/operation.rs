//! What is measured of one message on its way: how long it took as its client sees it, and as the gateway sees the
//! backend, and what came of it.

use std::sync::{Arc, OnceLock};

use super::door::{Failure, Visit};
use crate::clock::Stopwatch;
use crate::mcp::{ClientMessage, Fault, Target};
use crate::metrics::Reason;
use crate::metrics::operations::{Side, Timed};

/// One message on its way.
pub(super) struct Operation {
    started: Stopwatch,
    timed: Option<Arc<Timed>>,
    /// While the backend works on it.
    at_backend: Option<Stopwatch>,
}

/// What an answer says went wrong; told once.
pub(super) type Told = OnceLock<Fault>;

impl Visit<'_> {
    /// A message has been read.
    pub(super) fn begin(&mut self, message: &ClientMessage, started: Stopwatch) {
        let standing = self.door.standing();
        let tool = match message.target() {
            Some(Target::Tool(name)) => Some(name.as_str()),
            _ => None,
        };
        let known = |tool: &str| standing.knows_tool(&self.mount.name, tool);
        let timed = message.method().and_then(|method| self.mount.series.operations.of(method, tool, known));
        self.fault = None;
        self.operation = Some(Operation { started, timed, at_backend: None });
    }

    /// It is sent to a server.
    pub(super) fn sent(&mut self) {
        if let Some(operation) = &mut self.operation {
            operation.at_backend = Some(Stopwatch::start());
        }
    }

    /// The server has nothing more to say to it, or is not listened to any more.
    pub(super) fn heard(&mut self) {
        let Some(operation) = &mut self.operation else { return };
        let Some(since) = operation.at_backend.take() else { return };
        let error = self.error.or(self.fault.map(|fault| fault.label));
        if let Some(timed) = &operation.timed {
            self.mount.series.operations.observe(Side::Client, timed, since.elapsed(), error);
        }
    }

    /// What the answer says went wrong, if it says so.
    pub(super) fn note(&mut self, told: &Told) {
        self.fault = told.get().copied();
    }

    /// It is over.
    pub(super) fn done<T>(&mut self, result: &Result<T, Failure>) {
        self.heard();
        let Some(operation) = self.operation.take() else { return };
        let Some(timed) = &operation.timed else { return };
        let error = self.error_of(result);
        self.mount.series.operations.observe(Side::Server, timed, operation.started.elapsed(), error);
    }

    /// The word for what went wrong, as the client sees it: what failed, why it was refused, or what the answer says.
    fn error_of<T>(&self, result: &Result<T, Failure>) -> Option<&'static str> {
        let refused = match result {
            Err(Failure::Rejected(rejection)) => Some(rejection.reason()).filter(|reason| *reason != Reason::None),
            Err(Failure::Gone) => return Some(self.error.unwrap_or("client_gone")),
            Ok(_) => None,
        };
        let told = self.fault.filter(|fault| !fault.is_callers).map(|fault| fault.label);
        self.error.or(refused.map(Reason::as_str)).or(told)
    }
}
