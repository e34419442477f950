//! How much clients and operators may hold, within what the system lets the process open.

use super::{StartError, start};
use crate::config::Config;
use crate::limit::TrustedProxies;
use crate::metrics::Metrics;
use crate::proxy::budget::{Budgets, Limits};

/// Probes and scrapes; a few people besides.
const OPERATORS: Limits = Limits {
    connections: 128,
    connections_per_address: 0,
    requests: 64,
    requests_per_backend: 0,
    requests_per_address: 0,
    requests_per_caller: 0,
    request_bytes: 1 << 20,
    request_bytes_per_caller: 0,
    answer_bytes: 0,
    streams: 0,
    streams_per_caller: 0,
};

/// Those of the operators' listener: of its own, so that clients cannot keep an operator out.
pub(super) fn of_operators() -> Result<Budgets, StartError> {
    let uncounted = Metrics::new().map_err(start("the metrics"))?;
    Ok(Budgets::new(OPERATORS, TrustedProxies::default(), &uncounted))
}

/// The budgets of the process, within what the system lets it open.
pub(super) fn of_clients(config: &Config, metrics: &Metrics) -> Budgets {
    let wanted = config.limits.budgets;
    let limits = wanted.within(open_files());
    if limits.connections < wanted.connections {
        let (connections, wanted) = (limits.connections, wanted.connections);
        tracing::warn!(
            connections,
            wanted,
            "fewer connections than `limits.connections`, for want of open files; raise `ulimit -n`"
        );
    }
    Budgets::new(limits, config.server.trusted_proxies.clone(), metrics)
}

/// How many files the process may open, where the system says so.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
