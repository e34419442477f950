//! How a backend is looked after: probes, circuit and how much it may have to do at once.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::values::Resolver;
use crate::backend::care::{Care, CircuitSettings, HealthCheck, Probe};
use crate::config::{Fault, document};

const EVERY: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(2);
const FAILURES: usize = 3;
const SHORTEST: Duration = Duration::from_millis(100);
const MOST: usize = 1_000_000;

pub(super) fn care(resolver: &mut Resolver<'_>, written: &document::Backend) -> Care {
    let default = Care::default();
    let CircuitSettings { failures, open_for } = default.circuit;
    let failures = count(resolver, written.circuit.failures.as_ref(), (0, failures as usize));
    Care {
        health: written.health.as_ref().and_then(|health| check(resolver, health)),
        circuit: CircuitSettings {
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            open_for: duration(resolver, written.circuit.open_for.as_ref(), open_for),
        },
        max_concurrent: count(resolver, written.max_concurrent.as_ref(), (1, default.max_concurrent)),
        max_queued: count(resolver, written.max_queued.as_ref(), (0, default.max_queued)),
    }
}

fn check(resolver: &mut Resolver<'_>, written: &document::Health) -> Option<HealthCheck> {
    let every = duration(resolver, written.every.as_ref(), EVERY);
    let timeout = duration(resolver, written.timeout.as_ref(), TIMEOUT);
    let failures = count(resolver, written.failures.as_ref(), (1, FAILURES));
    let probe = match (&written.path, &written.mcp) {
        (Some(path), None) => {
            let value = resolver.text(path)?;
            let plain = value.starts_with('/') && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            if !plain {
                resolver.fault(Some(path), format!("`{value}` cannot be a path; write `/healthz`"));
                return None;
            }
            Probe::Path(value)
        }
        (None, Some(mcp)) => {
            let value = resolver.text(mcp)?;
            if value != "ping" {
                resolver.fault(Some(mcp), format!("`{value}` is no probe; write `ping`"));
                return None;
            }
            Probe::Ping
        }
        (path, mcp) => {
            let place = path.as_ref().or(mcp.as_ref());
            resolver
                .fault(place, "`health` has one of `path` and `mcp`; write `{ path: /healthz }` or `{ mcp: ping }`");
            return None;
        }
    };
    Some(HealthCheck { probe, every, timeout, failures: u32::try_from(failures).unwrap_or(u32::MAX) })
}

fn duration(resolver: &mut Resolver<'_>, text: Option<&document::Text>, default: Duration) -> Duration {
    let duration = resolver.duration(text, default);
    if duration < SHORTEST {
        resolver.fault(text, "is too short; write `100ms` or more");
    }
    duration
}

/// A number of at least `least`.
fn count(resolver: &mut Resolver<'_>, written: Option<&Spanned<usize>>, (least, default): (usize, usize)) -> usize {
    let Some(written) = written else { return default };
    if !(least..=MOST).contains(&written.value) {
        let message = format!("`{}` is out of range; write {least} to {MOST}", written.value);
        resolver.push(Fault::at(written.referenced, message));
    }
    written.value
}
