//! How long tokens are believed while nobody can read what was revoked.

use std::time::Duration;

use super::values::Resolver;
use crate::config::document::Text;

/// Longer than a store takes to restart; shorter than an access token lives.
const DEFAULT: Duration = Duration::from_mins(5);
/// Below this, one slow disk would have every token refused.
const LEAST: Duration = Duration::from_secs(5);

/// The bound; none where the operator wants none.
pub(super) fn staleness(resolver: &mut Resolver<'_>, written: Option<&Text>) -> Option<Duration> {
    if written.is_some_and(|text| text.value == "unbounded") {
        return None;
    }
    let bound = resolver.duration(written, DEFAULT);
    if bound < LEAST {
        resolver.fault(written, "a revocation is read within a second; write `5s` or more, or `unbounded`");
    }
    Some(bound)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, parse};

    fn bound(oauth: &str) -> Result<Option<Duration>, String> {
        let text = format!(
            "server: {{ public_url: https://a.example }}\nstate: {{ path: s }}\noauth: {oauth}\n\
             entra: {{ tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: sssssss }}\n\
             backends: {{ weather: {{ url: 'http://127.0.0.1:9/mcp' }} }}\n\
             policy: {{ roles: {{ R: {{ opens: [read] }} }}, tools: {{ weather: {{ read: [a] }} }} }}\n"
        );
        let config = parse(&text, Path::new("d/gateway.yaml"), &Environment::fixed([]));
        config.map(|config| config.oauth.revocation_staleness).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bound_is_five_minutes_what_is_written_or_none() {
        assert_eq!(bound("{}"), Ok(Some(DEFAULT)));
        assert_eq!(bound("{ revocation_staleness: 30s }"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(bound("{ revocation_staleness: unbounded }"), Ok(None));
        for bad in ["1s", "0s", "never"] {
            let fault = bound(&format!("{{ revocation_staleness: {bad} }}")).unwrap_err();
            assert!(fault.contains("5s") || fault.contains("not a duration"), "{bad}: {fault}");
        }
    }
}
