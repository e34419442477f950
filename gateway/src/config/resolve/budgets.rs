//! What the process holds at once, and how long a client may take.

use std::time::Duration;

use serde_saphyr::Spanned;

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
    use budget::Limits;
    let default = Limits::default();
    let count = |resolver: &mut Resolver<'_>, written: &Option<Spanned<usize>>, default, least| {
        resolver.size(written.as_ref(), default, least..=MOST)
    };
    let requests = count(resolver, &written.requests, default.requests, 1);
    let requests_per_backend = count(resolver, &written.requests_per_backend, default.requests_per_backend, 1);
    let (of_address, of_caller) = (Limits::of_address(requests), Limits::of_caller(requests_per_backend));
    let request_bytes = resolver.size(written.request_bytes.as_ref(), default.request_bytes, request_body..=ALL_MEMORY);
    Limits {
        connections: count(resolver, &written.connections, default.connections, 1),
        connections_per_address: count(resolver, &written.connections_per_address, default.connections_per_address, 0),
        requests,
        requests_per_backend,
        requests_per_address: count(resolver, &written.requests_per_address, of_address, 0),
        requests_per_caller: count(resolver, &written.requests_per_caller, of_caller, 0),
        request_bytes,
        request_bytes_per_caller: bytes_of_caller(resolver, written, request_bytes, request_body),
        answer_bytes: resolver.size(written.answer_bytes.as_ref(), default.answer_bytes, answer_body..=ALL_MEMORY),
        streams: count(resolver, &written.streams, default.streams, 1),
        streams_per_caller: count(resolver, &written.streams_per_caller, default.streams_per_caller, 1),
    }
}

/// Room for one body at least, or no limit.
fn bytes_of_caller(
    resolver: &mut Resolver<'_>,
    written: &document::Limits,
    request_bytes: usize,
    request_body: usize,
) -> usize {
    let written = written.request_bytes_per_caller.as_ref();
    if written.is_some_and(|written| written.value == 0) {
        return 0;
    }
    let default = budget::Limits::bytes_of_caller(request_bytes).max(request_body);
    resolver.size(written, default, request_body..=ALL_MEMORY)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Environment, parse};
    use crate::proxy::budget::Limits;

    fn limits(section: &str) -> Result<Limits, String> {
        let text = format!(
            "server: {{ public_url: https://a.example }}\nstate: {{ path: s }}\nlimits: {section}\n\
             entra: {{ tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: sssssss }}\n\
             backends: {{ weather: {{ url: 'http://127.0.0.1:9/mcp' }} }}\n\
             policy: {{ roles: {{ R: {{ opens: [read] }} }}, tools: {{ weather: {{ read: [a] }} }} }}\n"
        );
        let config = parse(&text, Path::new("d/gateway.yaml"), &Environment::fixed([]));
        config.map(|config| config.limits.budgets).map_err(|error| error.to_string())
    }

    #[test]
    fn shares_are_parts_of_what_is_written_unless_they_are_written_themselves() {
        let shares = |section: &str| {
            let Limits { requests_per_address, requests_per_caller, request_bytes_per_caller, .. } =
                limits(section).unwrap();
            (requests_per_address, requests_per_caller, request_bytes_per_caller)
        };
        assert_eq!(limits("{}").unwrap(), Limits::default());
        assert_eq!(shares("{}"), (1250, 500, 32 << 20));
        assert_eq!(shares("{ requests: 80, requests_per_backend: 40, request_bytes: 8388608 }"), (20, 10, 4 << 20));
        assert_eq!(shares("{ requests: 1, requests_per_backend: 1 }"), (1, 1, 32 << 20));
        let written = "{ requests_per_address: 7, requests_per_caller: 6, request_bytes_per_caller: 5000000 }";
        assert_eq!(shares(written), (7, 6, 5_000_000));
        let none = "{ requests_per_address: 0, requests_per_caller: 0, request_bytes_per_caller: 0 }";
        assert_eq!(shares(none), (0, 0, 0));
    }

    #[test]
    fn a_share_has_room_for_one_body() {
        let said = limits("{ request_bytes_per_caller: 4194303 }").unwrap_err();
        assert!(said.contains("`4194303` is out of range; write bytes from 4194304"), "{said}");
        assert!(limits("{ request_bytes_per_caller: 4194304 }").is_ok(), "control");
    }
}
