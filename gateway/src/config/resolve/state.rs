//! What survives a restart: a directory, or a Redis and the keys that seal what is in it.

use super::values::Resolver;
use crate::config::Secret;
use crate::config::document::{self, Text};
use crate::config::settings::State;
use crate::store::{RedisKind, RedisSettings, Sealer};

const DEFAULT_DIRECTORY: &str = "portcullis-state";
const DEFAULT_PREFIX: &str = "portcullis";
const SEAL_KEY: &str =
    "make one with `openssl rand -base64 32`, give every gateway the file, and name it in `state.seal_key_files`";

pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::State) -> State {
    let directory = written.path.as_ref().and_then(|text| resolver.path(text));
    let directory = directory.unwrap_or_else(|| resolver.beside(DEFAULT_DIRECTORY));
    let mut seal_keys = Vec::new();
    for text in &written.seal_key_files {
        let Some(path) = resolver.path(text) else { continue };
        if let Err(error) = Sealer::from_files(std::slice::from_ref(&path)) {
            resolver.fault(Some(text), error.to_string());
        }
        seal_keys.push(path);
    }
    let redis = written.redis.as_ref().and_then(|written| redis(resolver, written));
    if let Some(redis) = written.redis.as_ref().filter(|_| written.seal_key_files.is_empty()) {
        let message = "`state.redis` needs a key that Redis does not hold, to seal what is kept there; ";
        resolver.fault(redis.url.as_ref(), format!("{message}{SEAL_KEY}"));
    }
    State { directory, redis, seal_keys }
}

fn redis(resolver: &mut Resolver<'_>, written: &document::Redis) -> Option<RedisSettings> {
    let document::Redis { url, url_file, cluster, sentinel, .. } = written;
    let (kind, urls) = match (url, url_file, cluster.as_slice(), sentinel) {
        (Some(url), None, [], None) => (RedisKind::Single, vec![self::url(resolver, url)?]),
        (None, Some(file), [], None) => {
            let url = resolver.secret_file(file)?;
            check(resolver, file, url.expose());
            (RedisKind::Single, vec![url])
        }
        (None, None, [_, ..], None) => (RedisKind::Cluster, urls(resolver, cluster)?),
        (None, None, [], Some(sentinel)) => {
            if sentinel.urls.is_empty() {
                resolver.fault(Some(&sentinel.primary), "no sentinel is named; write their URLs in `urls`");
            }
            let primary = resolver.text(&sentinel.primary)?;
            (RedisKind::Sentinel(primary), urls(resolver, &sentinel.urls)?)
        }
        _ => {
            let at = url.as_ref().or(url_file.as_ref());
            resolver.fault(at, "`state.redis` needs one of `url`, `url_file`, `cluster` and `sentinel`");
            return None;
        }
    };
    let password = match (&written.password, &written.password_file) {
        (Some(_), Some(file)) => {
            resolver.fault(Some(file), "there is a `password` as well; leave one of them out");
            None
        }
        (Some(text), None) => resolver.text(text).map(Secret::new),
        (None, file) => file.as_ref().and_then(|file| resolver.secret_file(file)),
    };
    let prefix = written.prefix.as_ref().and_then(|text| Some((text, resolver.text(text)?)));
    let prefix = prefix.map_or_else(
        || DEFAULT_PREFIX.to_owned(),
        |(text, prefix)| {
            if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) {
                resolver.fault(Some(text), "a prefix has letters, digits, `-`, `_`, `.` and `:`");
            }
            prefix
        },
    );
    let wait_replicas = written.wait_replicas.as_ref().map_or(0, |count| count.value);
    if wait_replicas > 0 && kind == RedisKind::Cluster {
        resolver.fault(None, "`state.redis.wait_replicas` is for one server or sentinels: a cluster cannot be asked");
    }
    Some(RedisSettings {
        urls,
        kind,
        username: written.username.as_ref().and_then(|text| resolver.text(text)),
        password,
        ca_file: written.ca_file.as_ref().and_then(|text| resolver.path(text)),
        prefix,
        wait_replicas,
        connections: resolver.size(written.connections.as_ref(), 16, 1..=1024),
    })
}

fn urls(resolver: &mut Resolver<'_>, written: &[Text]) -> Option<Vec<Secret>> {
    let urls: Vec<Option<Secret>> = written.iter().map(|text| url(resolver, text)).collect();
    urls.into_iter().collect()
}

fn url(resolver: &mut Resolver<'_>, text: &Text) -> Option<Secret> {
    let url = resolver.text(text)?;
    check(resolver, text, &url);
    Some(Secret::new(url))
}

/// Reports what is no address of a Redis, without showing it: a password may stand in it.
fn check(resolver: &mut Resolver<'_>, text: &Text, url: &str) {
    let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "redis" | "rediss"));
    let Some(host) = parsed.as_ref().and_then(url::Url::host_str) else {
        resolver.fault(Some(text), "this is no address of a Redis; write `rediss://host:6380`");
        return;
    };
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    if url.starts_with("redis:") && !is_here {
        resolver.warn(format!(
            "Redis at `{host}` is reached without TLS; write `rediss://` unless the network is yours alone"
        ));
    }
}
