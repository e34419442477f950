//! Backends whose tags are imported, in a fleet.

use portcullis_policy::Policy;

use super::values::Resolver;
use crate::config::settings::{Backend, State};

/// Warns of imported tags that each gateway would keep to itself: one that starts later does not know of a lock that a
/// server has taken back since.
pub(super) fn check(resolver: &mut Resolver<'_>, policy: &Policy, backends: &[Backend], state: &State) {
    let alone = |backend: &&Backend| backend.drift.is_none() && policy.imports(&backend.name);
    for backend in backends.iter().filter(alone).filter(|_| state.redis.is_some()) {
        resolver.warn(format!(
            "backend `{0}` imports tags, and every gateway of the fleet keeps them to itself; give it a lock file that \
             all have, `drift: {{ lock: {0}.lock.json, mode: quarantine }}`",
            backend.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{self, Environment};

    #[test]
    fn a_fleet_is_told_to_share_what_it_imports() {
        let warned = |state: &str, drift: &str, import: &str| {
            let text = format!(
                "server: {{ public_url: 'https://mcp.example.com', trusted_proxies: [10.0.0.0/8] }}
entra: {{ tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: '${{SECRET}}' }}
{state}
backends: {{ weather: {{ url: 'http://127.0.0.1:9000/mcp'{drift} }} }}
policy: {{ tags: {{ read: {{}} }}, roles: {{ r: {{ opens: [read] }} }}, tools: {{ weather: {{ read: ['get_*'] }} }}{import} }}
"
            );
            let environment = Environment::fixed([("SECRET", "s"), ("KEY", "k")]);
            let config = config::parse(&text, Path::new("gateway.yaml"), &environment).unwrap();
            config.warnings.iter().any(|warning| warning.contains("weather.lock.json"))
        };
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("seal.key");
        std::fs::write(&key, [7; 32]).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let fleet = format!(
            "state: {{ redis: {{ url: 'rediss://redis.example.com:6380' }}, seal_key_files: ['{}'] }}",
            key.display()
        );
        let import = ", imports: { weather: { meta: true, trust: full } }";
        assert!(warned(&fleet, "", import));
        assert!(!warned("", "", import), "one gateway keeps them itself");
        assert!(!warned(&fleet, ", drift: { lock: weather.lock.json }", import));
        assert!(!warned(&fleet, "", ""));
    }
}
