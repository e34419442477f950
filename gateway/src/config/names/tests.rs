use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::audit::Destination;
use crate::config::{self, Config, ConfigError};

const FILE: &str = "
backends: { weather: { url: 'http://127.0.0.1:9000/mcp' } }
policy: { roles: { r: { opens: [read] } }, tools: { weather: { read: ['*'] } } }
";
const ENTRA: &str = "entra: { tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: '${SECRET}' }\n";
const SERVER: &str = "server: { public_url: 'https://mcp.example.com', trusted_proxies: [10.0.0.0/8] }\n";

fn load<const N: usize>(file: &str, variables: [(&str, &str); N]) -> Result<Config, ConfigError> {
    let mut all = vec![("SECRET", "s")];
    all.extend(variables);
    config::parse(file, Path::new("gateway.yaml"), &Environment::fixed(all))
}

fn whole() -> String {
    format!("{SERVER}{ENTRA}{FILE}")
}

fn faults<const N: usize>(file: &str, variables: [(&str, &str); N]) -> String {
    load(file, variables).expect_err("a fault").to_string()
}

#[test]
fn the_table_in_the_documentation_is_this_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/environment.md");
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains(&markdown()), "docs/environment.md should hold this table:\n{}", markdown());
}

#[test]
fn the_example_of_an_environment_file_has_known_names_only() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.env.example");
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| line.trim_start_matches("# ")).filter_map(|line| line.split_once('='));
    let named: BTreeSet<&str> = lines.map(|(name, _)| name).collect();
    let known: BTreeSet<&str> = NAMES.iter().map(|entry| entry.name).chain(["RUST_LOG"]).collect();
    assert!(named.len() > 4 && named.is_subset(&known), "{:?}", named.difference(&known));
}

#[test]
fn each_name_is_there_once() {
    let names: BTreeSet<&str> = NAMES.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), NAMES.len());
}

#[test]
fn every_name_is_taken_refused_or_warned_of() {
    assert!(load(&whole(), []).unwrap().warnings.is_empty(), "the control");
    for entry in &NAMES {
        // A value that nothing in the file says.
        let value = match entry.meaning {
            Meaning::Seconds | Meaning::Count | Meaning::Port => "7",
            Meaning::Host => "127.0.0.9",
            Meaning::Only(true) => "false",
            Meaning::Only(false) => "true",
            _ => "https://else.example",
        };
        let before = format!("{:?}", load(&whole(), []).unwrap());
        match load(&whole(), [(entry.name, value)]) {
            Ok(config) => {
                let changed = format!("{config:?}") != before;
                assert!(changed || !config.warnings.is_empty(), "`{}` was passed over in silence", entry.name);
            }
            Err(error) => assert!(error.to_string().contains(entry.name), "{error}"),
        }
    }
}

#[test]
fn the_names_of_other_setups_are_enough_to_start() {
    let config = load(
        &format!("server: {{ trusted_proxies: [10.0.0.0/8] }}\n{FILE}"),
        [
            ("MREG_AZURE_TENANT_ID", "11111111-2222-4333-8444-555555555555"),
            ("MREG_AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-00000000c1d1"),
            ("MREG_AZURE_CLIENT_SECRET", "pa$$word${x}"),
            ("MREG_FASTMCP_OAUTH_CALLBACK_URL", "https://mcp.example.com/auth/callback"),
            ("OAUTH_SCOPES", "openid, access_as_user offline_access read.all"),
            ("AZURE_CLOCK_SKEW", "30"),
            ("AZURE_TOKEN_CACHE_TTL", "20"),
            ("AZURE_VALIDATE_WITH_GRAPH", "False"),
            ("FASTMCP_SERVER_HOST", "0.0.0.0"),
            ("FASTMCP_SERVER_PORT", "8000"),
            ("MREG_FASTMCP_ENABLE_AUDIT_LOGGING", "true"),
            ("MREG_FASTMCP_ENABLE_RATE_LIMITING", "1"),
            ("MREG_FASTMCP_ENABLE_TOOL_ACCESS_CONTROL", "yes"),
            ("MREG_FASTMCP_REQUESTS_PER_MINUTE", "250"),
            ("REDIS_PORT", "tcp://10.0.0.7:6379"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.public_url, "https://mcp.example.com");
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:8000");
    assert_eq!(config.entra.tenant_id, "11111111-2222-4333-8444-555555555555");
    assert_eq!(config.entra.clock_skew.as_secs(), 30);
    let api = "api://aaaaaaaa-0000-4000-8000-00000000c1d1";
    assert_eq!(config.entra.scopes, [format!("{api}/access_as_user"), format!("{api}/read.all")]);
    assert_eq!(config.limits.token_cache.as_secs(), 20);
    assert_eq!(config.limits.rates.calls.unwrap().per_minute.get(), 250);
}

#[test]
fn what_cannot_be_had_is_refused_with_what_to_write_instead() {
    for (name, value, says) in [
        ("MREG_FASTMCP_ENABLE_AUDIT_LOGGING", "false", "cannot be turned off"),
        ("MREG_FASTMCP_ENABLE_TOOL_ACCESS_CONTROL", "0", "cannot be turned off"),
        ("MREG_FASTMCP_ENABLE_RATE_LIMITING", "off", "calls_per_minute: 0"),
        ("MREG_FASTMCP_ENABLE_RATE_LIMITING", "maybe", "Only `true`"),
        ("AZURE_VALIDATE_WITH_GRAPH", "true", "never sent to Microsoft Graph"),
        ("AZURE_TOKEN_CACHE_TTL", "3600", "at most"),
        ("AZURE_CLOCK_SKEW", "3600", "at most `5m`"),
        ("AZURE_CLOCK_SKEW", "a minute", "whole number of seconds"),
        ("AZURE_CLOCK_SKEW", "5m", "whole number of seconds"),
        ("AZURE_TOKEN_CACHE_TTL", "1m", "whole number of seconds"),
        ("MREG_FASTMCP_REQUESTS_PER_MINUTE", "0", "calls_per_minute: 0"),
        ("MREG_FASTMCP_REQUESTS_PER_MINUTE", "many", "whole number"),
        ("AZURE_REDIRECT_URI", "https://mcp.example.com/oauth/callback", "https://mcp.example.com/auth/callback"),
        ("OAUTH_CALLBACK_URL", "https://other.example/auth/callback", "https://mcp.example.com/auth/callback"),
        ("OAUTH_SCOPES", "api://x/read", "not a short name"),
        ("REDIS_HOST", "redis", "state.seal_key_files"),
        ("MREG_REDIS_URL", "redis://:hunter2@redis", "state.seal_key_files"),
        ("MREG_REDIS_URL", "hunter2", "no address of a Redis"),
        ("REDIS_PASSWORD", "hunter2", "`REDIS_HOST`"),
        ("MREG_POSTGRES_HOST", "db", "`MREG_POSTGRES_USER`"),
        ("MREG_POSTGRES_PASSWORD", "hunter2", "`MREG_POSTGRES_USER`"),
    ] {
        let said = faults(&whole(), [(name, value)]);
        assert!(said.contains(name), "{name}: {said}");
        assert!(said.contains(says), "{name}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = faults(&format!("{ENTRA}{FILE}"), [("AZURE_REDIRECT_URI", "https://mcp.example.com/callback")]);
    assert!(said.contains("`AZURE_REDIRECT_URI`") && said.contains("server.public_url"), "{said}");
}

#[test]
fn a_database_is_put_together_from_its_parts() {
    let parts = [
        ("MREG_POSTGRES_HOST", "db"),
        ("MREG_POSTGRES_USER", "audit"),
        ("MREG_POSTGRES_PASSWORD", "p@ss/${x} word"),
        ("MREG_POSTGRES_DB", "trail"),
    ];
    let config = load(&whole(), parts).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let url = config.audit.destinations.iter().find_map(|to| match to {
        Destination::Postgres { url } => Some(url.expose().to_owned()),
        _ => None,
    });
    assert_eq!(url.as_deref(), Some("postgres://audit:p%40ss%2F%24%7Bx%7D%20word@db:5432/trail"));
}

#[test]
fn an_address_that_cannot_be_is_refused_before_it_is_used() {
    let parts = |name: &str, value: &'static str| {
        let usual = [
            ("MREG_POSTGRES_HOST", "db"),
            ("MREG_POSTGRES_PORT", "5432"),
            ("MREG_POSTGRES_USER", "u"),
            ("MREG_POSTGRES_DB", "d"),
        ];
        usual.map(|(full, usual)| (full, if full.ends_with(name) { value } else { usual }))
    };
    assert!(load(&whole(), parts("PORT", "5433")).is_ok(), "the control");
    assert!(load(&whole(), parts("PORT", "tcp://10.0.0.7:5432")).is_ok(), "Kubernetes' own");
    for (name, value) in [("PORT", "abc"), ("PORT", "70000"), ("HOST", "bad host")] {
        let said = faults(&whole(), parts(name, value));
        assert!(said.contains("no host and port"), "{said}");
        assert_eq!(said.lines().count(), 1, "said once: {said}");
    }
    let both = [("FASTMCP_SERVER_HOST", "localhost"), ("FASTMCP_SERVER_PORT", "8001")];
    let config = load(&whole(), both).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8001");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let config =
        load(&whole(), [("FASTMCP_SERVER_PORT", "tcp://10.0.0.7:80"), ("FASTMCP_SERVER_HOST", "::1")]).unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:8080");
}

#[test]
fn the_file_counts_and_two_names_must_agree() {
    let config = load(&whole(), [("MCP_BASE_URL", "https://else.example")]).unwrap();
    assert_eq!(config.server.public_url, "https://mcp.example.com");
    assert!(config.warnings.concat().contains("`MCP_BASE_URL`"));
    let tenants = [
        ("AZURE_TENANT_ID", "11111111-2222-4333-8444-555555555555"),
        ("MREG_AZURE_TENANT_ID", "22222222-2222-4333-8444-555555555555"),
    ];
    assert!(faults(&whole(), tenants).contains("`AZURE_TENANT_ID` and `MREG_AZURE_TENANT_ID` differ"));
}

#[test]
fn a_value_of_the_environment_that_cannot_be_read_is_told_by_its_name() {
    let file = format!(
        "{SERVER}entra: {{ client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: '${{SECRET}}' }}\n{FILE}"
    );
    let said = faults(&file, [("MREG_AZURE_TENANT_ID", "common")]);
    assert!(said.contains("MREG_AZURE_TENANT_ID") && said.contains("not a GUID"), "{said}");
}

#[test]
fn a_redis_is_put_together_from_its_parts() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("seal.key");
    std::fs::write(&key, [7; 32]).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = format!("state: {{ seal_key_files: ['{}'] }}\n{}", key.display(), whole());
    let redis = |parts: &[(&'static str, &'static str)]| {
        let all = parts.iter().copied().chain([("SECRET", "s")]);
        let config = config::parse(&file, Path::new("gateway.yaml"), &Environment::fixed(all)).unwrap();
        let redis = config.state.redis.unwrap();
        let password = redis.password.map(|password| password.expose().to_owned()).unwrap_or_default();
        (redis.urls[0].expose().to_owned(), password)
    };
    let of = |url: &str, password: &str| (url.to_owned(), password.to_owned());
    assert_eq!(redis(&[("REDIS_HOST", "r")]), of("redis://r:6379", ""));
    let all = [("REDIS_HOST", "r"), ("REDIS_PORT", "6380"), ("REDIS_SSL", "True"), ("REDIS_PASSWORD", "p$w{d")];
    assert_eq!(redis(&all), of("rediss://r:6380", "p$w{d"));
    let url = [("MREG_REDIS_URL", "rediss://u:p@r:1/2")];
    assert_eq!(redis(&url), of("rediss://u:p@r:1/2", ""));
    let both = faults(&file, [("MREG_REDIS_URL", "redis://r"), ("REDIS_HOST", "r")]);
    assert!(both.contains("unset one of them"), "{both}");
    let file = file.replace("state: {", "state: { redis: { url: 'redis://f', password: '${REDIS_PASSWORD}' },");
    let config = load(&file, [("REDIS_PASSWORD", "p"), ("REDIS_HOST", "else")]).unwrap();
    assert_eq!(config.state.redis.unwrap().urls[0].expose(), "redis://f");
    assert!(config.warnings.iter().any(|warning| warning.contains("REDIS_HOST")), "{:?}", config.warnings);
    assert!(!config.warnings.iter().any(|warning| warning.contains("REDIS_PASSWORD")), "{:?}", config.warnings);
}
