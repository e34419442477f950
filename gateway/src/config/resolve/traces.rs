//! Traces: who takes them, and of which requests.

use super::audit;
use super::values::Resolver;
use crate::config::document;
use crate::config::settings::Traces;
use crate::trace::{Collector, Sampling};

/// Resolves the section; nothing is traced without a collector.
pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::Traces) -> Option<Traces> {
    let sample = written.sample.as_ref().and_then(|sample| resolver.text(sample));
    let ratio = sample.map_or(Some(1.0), |sample| sample.parse().ok()).unwrap_or(f64::NAN);
    if !(0.0..=1.0).contains(&ratio) {
        resolver.fault(written.sample.as_ref(), "a share of requests is between 0 and 1; write `0.1` for one in ten");
    }
    let Some(otlp) = &written.otlp else {
        if written.sample.is_some() || written.follow_callers.is_some() {
            resolver.fault(written.sample.as_ref(), "`traces` go to a collector; name one in `traces.otlp.endpoint`");
        }
        return None;
    };
    let (endpoint, headers) = audit::endpoint(resolver, otlp)?;
    let collector = Collector { endpoint: format!("{endpoint}/v1/traces"), headers };
    Some(Traces { collector, sampling: Sampling { ratio, follow_callers: written.follow_callers.unwrap_or(true) } })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, parse};

    fn traces(section: &str) -> Result<Option<Traces>, String> {
        let text = format!(
            "server: {{ public_url: https://a.example }}\nstate: {{ path: s }}\ntraces: {section}\n\
             entra: {{ tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: sssssss }}\n\
             backends: {{ weather: {{ url: 'http://127.0.0.1:9/mcp' }} }}\n\
             policy: {{ roles: {{ R: {{ opens: [read] }} }}, tools: {{ weather: {{ read: [a] }} }} }}\n"
        );
        let config = parse(&text, Path::new("d/gateway.yaml"), &Environment::fixed([]));
        config.map(|config| config.traces).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_traced_without_a_collector() {
        assert_eq!(traces("{}").unwrap(), None);
        let traces =
            traces("{ otlp: { endpoint: 'http://127.0.0.1:4318/', headers: { x-key: k } } }").unwrap().unwrap();
        assert_eq!(traces.collector.endpoint, "http://127.0.0.1:4318/v1/traces");
        assert_eq!(traces.sampling, Sampling { ratio: 1.0, follow_callers: true });
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write() {
        for (section, word) in [
            ("{ sample: 1.0 }", "traces.otlp.endpoint"),
            ("{ follow_callers: false }", "traces.otlp.endpoint"),
            ("{ otlp: { endpoint: 'http://c' }, sample: 10 }", "0.1"),
            ("{ otlp: { endpoint: 'http://c' }, sample: -1 }", "0.1"),
            ("{ otlp: { endpoint: 'http://c' }, sample: .nan }", "0.1"),
            ("{ otlp: { endpoint: 'grpc://c' } }", "over HTTP"),
        ] {
            let fault = traces(section).unwrap_err();
            assert!(fault.contains(word), "{section}: {fault}");
        }
        for good in ["0", "1", "0.25"] {
            assert!(traces(&format!("{{ otlp: {{ endpoint: 'http://c' }}, sample: {good} }}")).is_ok(), "{good}");
        }
    }
}
