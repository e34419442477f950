//! What the process holds at once, and how long a client may take.

use std::time::Duration;

use super::MIB;
use super::values::Resolver;
use crate::config::document::{self, Text};
use crate::proxy::budget;
use crate::proxy::listener::Deadlines;

/// More than a machine has.
const MOST: usize = 1_000_000;
const ALL_MEMORY: usize = 1024 * 1024 * MIB;
const LONGEST: Duration = Duration::from_secs(3600);

/// The budgets; each has room for one body of the largest size at least.
pub(super) fn budgets(
    resolver: &mut Resolver<'_>,
    written: &document::Limits,
    request_body: usize,
    answer_body: usize,
) -> budget::Limits {
    let default = budget::Limits::default();
    let per_address = written.connections_per_address.as_ref();
    budget::Limits {
        connections: resolver.size(written.connections.as_ref(), default.connections, 1..=MOST),
        connections_per_address: resolver.size(per_address, default.connections_per_address, 0..=MOST),
        requests: resolver.size(written.requests.as_ref(), default.requests, 1..=MOST),
        requests_per_backend: resolver.size(
            written.requests_per_backend.as_ref(),
            default.requests_per_backend,
            1..=MOST,
        ),
        request_bytes: resolver.size(written.request_bytes.as_ref(), default.request_bytes, request_body..=ALL_MEMORY),
        answer_bytes: resolver.size(written.answer_bytes.as_ref(), default.answer_bytes, answer_body..=ALL_MEMORY),
        streams: resolver.size(written.streams.as_ref(), default.streams, 1..=MOST),
        streams_per_caller: resolver.size(written.streams_per_caller.as_ref(), default.streams_per_caller, 1..=MOST),
    }
}

pub(super) fn deadlines(resolver: &mut Resolver<'_>, written: &document::Limits) -> Deadlines {
    let default = Deadlines::default();
    Deadlines {
        head: deadline(resolver, written.head_timeout.as_ref(), default.head),
        body: deadline(resolver, written.body_timeout.as_ref(), default.body),
        write: deadline(resolver, written.write_timeout.as_ref(), default.write),
        keep_alive: deadline(resolver, written.keep_alive.as_ref(), default.keep_alive),
    }
}

fn deadline(resolver: &mut Resolver<'_>, written: Option<&Text>, default: Duration) -> Duration {
    let deadline = resolver.duration(written, default);
    if deadline < Duration::from_secs(1) || deadline > LONGEST {
        resolver.fault(written, "a client is waited for between `1s` and `1h`");
    }
    deadline
}
