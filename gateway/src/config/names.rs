//! Environment names that people bring along from FastMCP set-ups and Azure guides: what each stands for, in one table.
//!
//! A name stands in for one key of the file, or the gateway does not start and says what to write instead. The file
//! counts where both speak; two names that disagree are a fault. `docs/environment.md` holds the same table. Longer than other
//! files here because the table is.

mod redis;

use std::collections::BTreeMap;

use serde_saphyr::{Location, Spanned};

use super::document::{Audit, Certificate, Document, Postgres, State, Text};
use super::{Environment, Fault};

/// One environment name.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The name.
    pub name: &'static str,
    /// The key of `gateway.yaml` that it is about.
    pub key: &'static str,
    /// What becomes of its value.
    pub meaning: Meaning,
    /// The same in words, for the table in `docs/environment.md` and for refusals.
    pub words: &'static str,
}

/// What becomes of the value of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// It is the value of the key.
    Value,
    /// A number of seconds.
    Seconds,
    /// A whole number.
    Count,
    /// Scopes, separated by spaces or commas.
    Scopes,
    /// The redirect URI at Entra, which follows from `server.public_url`.
    Callback,
    /// The host part of `server.listen`.
    Host,
    /// The port part of `server.listen`.
    Port,
    /// A part of the address of a PostgreSQL database.
    Database,
    /// A part of the address of a Redis.
    Redis,
    /// A switch that can only stand where it stands.
    Only(bool),
    /// The file of a certificate and its key.
    Certificate,
}

const PUBLIC_URL: &str = "server.public_url";
const LISTEN: &str = "server.listen";
const CALLBACK: &str = "/auth/callback";
const CALLBACK_WORDS: &str = "The redirect URI registered at Entra. It is always `<server.public_url>/auth/callback`: taken when it says so, or when `server.public_url` is not set and follows from it; otherwise the gateway does not start.";
const REDIS: &str = "state.redis";
const REDIS_PARTS: &str = "With `REDIS_PORT` (6379), `REDIS_PASSWORD` and `REDIS_SSL` (`false`), the Redis that a fleet shares. `state.seal_key_files` is needed with it.";
const DATABASE: &str = "audit.postgres";
const DATABASE_PARTS: &str = "With the other `MREG_POSTGRES_` names, the database that the audit trail goes to. `HOST`, `USER` and `DB` are needed; the port is 5432 unless said. `audit.postgres.url_file` is better.";
/// Asked for at every sign-in anyway.
const OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

const fn name(name: &'static str, key: &'static str, meaning: Meaning, words: &'static str) -> Name {
    Name { name, key, meaning, words }
}

/// Every name that means something here. Where two stand for one key, the first is told in faults.
pub const NAMES: [Name; 33] = [
    name("MCP_BASE_URL", PUBLIC_URL, Meaning::Value, "The origin that MCP clients use."),
    name("AZURE_REDIRECT_URI", PUBLIC_URL, Meaning::Callback, CALLBACK_WORDS),
    name("OAUTH_CALLBACK_URL", PUBLIC_URL, Meaning::Callback, "As `AZURE_REDIRECT_URI`."),
    name("MREG_FASTMCP_OAUTH_CALLBACK_URL", PUBLIC_URL, Meaning::Callback, "As `AZURE_REDIRECT_URI`."),
    name("AZURE_TENANT_ID", "entra.tenant_id", Meaning::Value, "The directory's GUID."),
    name("MREG_AZURE_TENANT_ID", "entra.tenant_id", Meaning::Value, "As `AZURE_TENANT_ID`."),
    name("AZURE_CLIENT_ID", "entra.client_id", Meaning::Value, "The app registration's GUID."),
    name("MREG_AZURE_CLIENT_ID", "entra.client_id", Meaning::Value, "As `AZURE_CLIENT_ID`."),
    name(
        "AZURE_CLIENT_SECRET",
        "entra.client_secret",
        Meaning::Value,
        "Its secret; `entra.client_secret_file` is better.",
    ),
    name("MREG_AZURE_CLIENT_SECRET", "entra.client_secret", Meaning::Value, "As `AZURE_CLIENT_SECRET`."),
    name(
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "entra.certificate",
        Meaning::Certificate,
        "A PEM file with its certificate and the RSA key, when there is no secret.",
    ),
    name(
        "AZURE_FEDERATED_TOKEN_FILE",
        "entra.federated_token_file",
        Meaning::Value,
        "A platform's token as its credential, when there is no other.",
    ),
    name("AZURE_AUTHORITY_HOST", "entra.authority_host", Meaning::Value, "The cloud, as a host or a URL."),
    name(
        "OAUTH_SCOPES",
        "entra.scopes",
        Meaning::Scopes,
        "The delegated permissions to ask for at Entra, short names, separated by spaces or commas. `openid`, `profile`, `email` and `offline_access` are left out, for they are not of the API.",
    ),
    name(
        "AZURE_CLOCK_SKEW",
        "entra.clock_skew",
        Meaning::Seconds,
        "Tolerance for clocks that differ, in seconds; at most 300.",
    ),
    name(
        "AZURE_TOKEN_CACHE_TTL",
        "limits.token_cache",
        Meaning::Seconds,
        "How long a verified token is remembered, in seconds; at most 60, because a key that was withdrawn works as long.",
    ),
    name(
        "AZURE_VALIDATE_WITH_GRAPH",
        "entra",
        Meaning::Only(false),
        "Only `false`: tokens are verified by signature and claims, and never sent to Microsoft Graph. Unset it; for roles that are read again, shorten `oauth.access_token_lifetime`.",
    ),
    name(
        "FASTMCP_SERVER_HOST",
        LISTEN,
        Meaning::Host,
        "The address to listen on, `127.0.0.1` when only the port is given. `0.0.0.0` belongs behind a TLS terminator.",
    ),
    name("FASTMCP_SERVER_PORT", LISTEN, Meaning::Port, "The port to listen on, 8080 when only the host is given."),
    name(
        "MREG_FASTMCP_REQUESTS_PER_MINUTE",
        "limits.calls_per_minute",
        Meaning::Count,
        "Requests per minute for each caller and backend.",
    ),
    name(
        "MREG_FASTMCP_ENABLE_RATE_LIMITING",
        "limits.calls_per_minute",
        Meaning::Only(true),
        "Only `true`. To lift the limit, write `limits: { calls_per_minute: 0 }` into the file.",
    ),
    name(
        "MREG_FASTMCP_ENABLE_AUDIT_LOGGING",
        "audit",
        Meaning::Only(true),
        "Only `true`: the audit trail cannot be turned off. `audit.path` says where it goes.",
    ),
    name(
        "MREG_FASTMCP_ENABLE_TOOL_ACCESS_CONTROL",
        "policy",
        Meaning::Only(true),
        "Only `true`: the policy cannot be turned off. Give a role the tags that everybody should have instead.",
    ),
    name("REDIS_HOST", REDIS, Meaning::Redis, REDIS_PARTS),
    name("REDIS_PORT", REDIS, Meaning::Redis, "As `REDIS_HOST`."),
    name("REDIS_PASSWORD", REDIS, Meaning::Redis, "As `REDIS_HOST`, or with `MREG_REDIS_URL`."),
    name("REDIS_SSL", REDIS, Meaning::Redis, "As `REDIS_HOST`."),
    name(
        "MREG_REDIS_URL",
        REDIS,
        Meaning::Redis,
        "The address of the Redis that a fleet shares. `state.seal_key_files` is needed with it.",
    ),
    name("MREG_POSTGRES_HOST", DATABASE, Meaning::Database, DATABASE_PARTS),
    name("MREG_POSTGRES_PORT", DATABASE, Meaning::Database, "As `MREG_POSTGRES_HOST`."),
    name("MREG_POSTGRES_USER", DATABASE, Meaning::Database, "As `MREG_POSTGRES_HOST`."),
    name("MREG_POSTGRES_PASSWORD", DATABASE, Meaning::Database, "As `MREG_POSTGRES_HOST`."),
    name("MREG_POSTGRES_DB", DATABASE, Meaning::Database, "As `MREG_POSTGRES_HOST`."),
];

/// What the names had to say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

/// Fills what the file leaves open from the environment; every name that is set is taken, refused or warned of.
pub(super) fn apply(document: &mut Document, environment: &Environment) -> Found {
    let mut found = Found::default();
    let mut spoken: BTreeMap<(&str, Meaning), (&str, String)> = BTreeMap::new();
    for entry in &NAMES {
        let Some(value) = said(environment, entry.name) else { continue };
        let is_part = matches!(entry.meaning, Meaning::Database | Meaning::Redis);
        if let Some((other, theirs)) = spoken.get(&(entry.key, entry.meaning)).filter(|_| !is_part) {
            if *theirs != value {
                found.faults.push(Fault::whole(format!("`{other}` and `{}` differ; unset one of them", entry.name)));
            }
            continue;
        }
        spoken.insert((entry.key, entry.meaning), (entry.name, value.clone()));
        take(document, environment, entry, &value, &mut found);
    }
    found
}

/// As [`apply`], for `state` alone: what the other names say is not asked.
pub(super) fn apply_to_state(state: &mut State, environment: &Environment) -> Found {
    let mut found = Found::default();
    let of_redis = NAMES.iter().filter(|entry| entry.meaning == Meaning::Redis);
    for entry in of_redis.filter(|entry| said(environment, entry.name).is_some()) {
        redis::take(state, environment, entry.name, &mut found);
    }
    found
}

/// The same for `audit` alone.
pub(super) fn apply_to_audit(audit: &mut Audit, environment: &Environment) -> Found {
    let mut found = Found::default();
    let of_database = NAMES.iter().filter(|entry| entry.meaning == Meaning::Database);
    for entry in of_database.filter(|entry| said(environment, entry.name).is_some()) {
        database(audit, environment, entry.name, &mut found);
    }
    found
}

/// What a name says, when it is somebody's setting.
fn said(environment: &Environment, name: &str) -> Option<String> {
    environment.get(name).filter(|value| !is_of_kubernetes(name, value))
}

/// Kubernetes gives every pod the addresses of its services by names like `REDIS_PORT`: nobody's settings.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    name.ends_with("_PORT") && value.starts_with("tcp://")
}

fn take(document: &mut Document, environment: &Environment, entry: &Name, value: &str, found: &mut Found) {
    let Name { name, key, words, .. } = *entry;
    match entry.meaning {
        Meaning::Only(wanted) => {
            if switch(value) != Some(wanted) {
                found.faults.push(Fault::whole(format!("`{name}` is `{value}`. {words}")));
            }
        }
        Meaning::Callback => callback(document, environment, name, value, found),
        Meaning::Database => database(&mut document.audit, environment, name, found),
        Meaning::Redis => redis::take(&mut document.state, environment, name, found),
        Meaning::Host | Meaning::Port => listen(document, environment, name, found),
        Meaning::Scopes => {
            let listed = || value.split([' ', ',']).filter(|scope| !scope.is_empty() && !OPENID.contains(scope));
            if document.entra.scopes.is_some() {
                found.warnings.push(overruled(name, key));
            } else if let Some(full) = listed().find(|scope| scope.contains('/')) {
                found.faults.push(Fault::whole(format!(
                    "`{name}`: `{full}` is not a short name; leave out what stands before its last `/`, for it is `entra.app_id_uri`"
                )));
            } else if listed().next().is_some() {
                document.entra.scopes = Some(listed().map(|scope| text(literal(scope))).collect());
            }
        }
        Meaning::Count => match (value.parse(), &document.limits.calls_per_minute) {
            (_, Some(_)) => found.warnings.push(overruled(name, key)),
            (Ok(0), None) => found.faults.push(Fault::whole(format!(
                "`{name}` is `0`, which would lift the limit; write `limits: {{ calls_per_minute: 0 }}` into the file if that is meant, and unset it"
            ))),
            (Ok(count), None) => {
                document.limits.calls_per_minute = Some(Spanned::new(count, Location::UNKNOWN, Location::UNKNOWN));
            }
            (Err(_), None) => found.faults.push(Fault::whole(format!("`{name}` is `{value}`; write a whole number"))),
        },
        Meaning::Certificate => {
            if let Some(other) = credential(document) {
                found.warnings.push(overruled(name, other));
            } else {
                let key_file = text(format!("${{{name}}}"));
                document.entra.certificate = Some(Certificate { key_file, certificate_file: None });
            }
        }
        // Digits alone: `5m` and an `s` behind it would be five milliseconds.
        Meaning::Seconds
            if place(document, key).is_some_and(|place| place.is_none())
                && !value.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            found.faults.push(Fault::whole(format!("`{name}` is `{value}`; write a whole number of seconds, without a unit")));
        }
        Meaning::Seconds => fill(document, name, key, format!("${{{name}}}s"), found),
        Meaning::Value => fill(document, name, key, format!("${{{name}}}"), found),
    }
}

/// The key's place in the document, for keys that hold one text.
fn place<'d>(document: &'d mut Document, key: &str) -> Option<&'d mut Option<Text>> {
    match key {
        PUBLIC_URL => Some(&mut document.server.public_url),
        "entra.tenant_id" => Some(&mut document.entra.tenant_id),
        "entra.client_id" => Some(&mut document.entra.client_id),
        "entra.client_secret" => Some(&mut document.entra.client_secret),
        "entra.federated_token_file" => Some(&mut document.entra.federated_token_file),
        "entra.authority_host" => Some(&mut document.entra.authority_host),
        "entra.clock_skew" => Some(&mut document.entra.clock_skew),
        "limits.token_cache" => Some(&mut document.limits.token_cache),
        _ => None,
    }
}

fn fill(document: &mut Document, name: &str, key: &str, value: String, found: &mut Found) {
    let is_credential = matches!(key, "entra.client_secret" | "entra.federated_token_file");
    let other = credential(document).filter(|other| is_credential && *other != key);
    let Some(place) = place(document, key) else { return };
    match place {
        Some(written) if !written.value.contains(&format!("${{{name}")) => found.warnings.push(overruled(name, key)),
        Some(_) => {}
        None => match other {
            Some(other) => found.warnings.push(overruled(name, other)),
            None => *place = Some(text(value)),
        },
    }
}

/// The credential that there is already: there is one, and what the file has comes first, then a secret, a certificate
/// and a platform's token, as in the Azure SDKs.
fn credential(document: &Document) -> Option<&'static str> {
    let entra = &document.entra;
    let known = [
        ("entra.client_secret", entra.client_secret.is_some()),
        ("entra.client_secret_file", entra.client_secret_file.is_some()),
        ("entra.certificate", entra.certificate.is_some()),
        ("entra.federated_token_file", entra.federated_token_file.is_some()),
    ];
    known.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key)
}

/// The callback is not the operator's to choose: the name has to agree, or says what the origin is.
fn callback(document: &mut Document, environment: &Environment, name: &str, value: &str, found: &mut Found) {
    let Some(written) = &document.server.public_url else {
        match value.strip_suffix(CALLBACK) {
            Some(origin) => document.server.public_url = Some(text(literal(origin))),
            None => found.faults.push(Fault::whole(format!(
                "`{name}` is `{value}`, but the gateway's redirect URI ends with `{CALLBACK}`; set `{PUBLIC_URL}`, register `<{PUBLIC_URL}>{CALLBACK}` at Entra, and unset `{name}`"
            ))),
        }
        return;
    };
    // An origin that cannot be read is reported where it is resolved.
    let Ok(origin) = environment.expand(&written.value) else { return };
    let expected = format!("{}{CALLBACK}", origin.trim_end_matches('/'));
    if value != expected {
        found.faults.push(Fault::whole(format!(
            "`{name}` is `{value}`, but the gateway's redirect URI is `{expected}`; register that at Entra, and unset `{name}`"
        )));
    }
}

fn listen(document: &mut Document, environment: &Environment, name: &str, found: &mut Found) {
    if let Some(written) = &document.server.listen {
        // What one of the two has made of both is no place in the file.
        if written.referenced != Location::UNKNOWN && !written.value.contains("${FASTMCP_SERVER_") {
            found.warnings.push(overruled(name, LISTEN));
        }
        return;
    }
    let host = said(environment, "FASTMCP_SERVER_HOST").unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = said(environment, "FASTMCP_SERVER_PORT").unwrap_or_else(|| "8080".to_owned());
    let host = match host.as_str() {
        "localhost" => "127.0.0.1".to_owned(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        _ => host,
    };
    document.server.listen = Some(text(literal(&format!("{host}:{port}"))));
}

fn database(audit: &mut Audit, environment: &Environment, name: &str, found: &mut Found) {
    let part = |name: &str| said(environment, &format!("MREG_POSTGRES_{name}"));
    let (host, user, database) = (part("HOST"), part("USER"), part("DB"));
    let port = part("PORT").unwrap_or_else(|| "5432".to_owned());
    let (Some(host), Some(user), Some(database)) = (host, user, database) else {
        let needed = "`MREG_POSTGRES_HOST`, `MREG_POSTGRES_USER` and `MREG_POSTGRES_DB`";
        found.faults.push(Fault::whole(format!("`{name}` is set, but not all of {needed}; set them, or unset it")));
        return;
    };
    if port.parse::<u16>().is_err() || url::Host::parse(&host).is_err() {
        let what = format!("`{host}:{port}` is no host and port; set `MREG_POSTGRES_HOST` and `MREG_POSTGRES_PORT`");
        if !found.faults.iter().any(|fault| fault.message == what) {
            found.faults.push(Fault::whole(what));
        }
        return;
    }
    let encoded =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    let password = part("PASSWORD").map_or_else(String::new, |password| format!(":{}", encoded(&password)));
    let user = encoded(&user);
    let url = format!("postgres://{user}{password}@{host}:{port}/{}", encoded(&database));
    match &audit.postgres {
        Some(Postgres { url: Some(known), .. }) if known.value == url => {}
        Some(_) => found.warnings.push(overruled(name, DATABASE)),
        None => audit.postgres = Some(Postgres { url: Some(text(literal(&url))), url_file: None }),
    }
}

fn overruled(name: &str, key: &str) -> String {
    format!("`{name}` is set, but `{key}` in the file counts; unset the one or leave out the other")
}

fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A value that expands to itself.
fn literal(value: &str) -> String {
    value.replace('$', "$$")
}

fn text(value: String) -> Text {
    Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)
}

/// The table for people, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let head = "| Name | About | What becomes of it |\n|---|---|---|\n".to_owned();
    let row = |entry: &Name| format!("| `{}` | `{}` | {} |\n", entry.name, entry.key, entry.words);
    head + &NAMES.iter().map(row).collect::<String>()
}

#[cfg(test)]
mod tests;
