//! The MCP servers: names, endpoints and the paths they are reached under.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_policy::BackendName;
use url::Url;

use super::values::Resolver;
use crate::backend::caller::Wanted;
use crate::backend::pinning::Rule;
use crate::config::document;
use crate::config::settings::{Backend, Drift};
use crate::mcp::Features;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(120);
const CATALOGUE_REFRESH: Duration = Duration::from_secs(300);
const MIN_REFRESH: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// First segments that the gateway answers itself.
const RESERVED: [&str; 10] = [
    ".well-known",
    "auth",
    "authorize",
    "consent",
    "device",
    "device_authorization",
    "jwks",
    "register",
    "revoke",
    "token",
];

pub(super) fn resolve(resolver: &mut Resolver<'_>, document: &document::Document, public_url: &str) -> Vec<Backend> {
    let written = &document.backends;
    if written.is_empty() {
        resolver.fault(None, "`backends` is empty; name at least one MCP server and its `url`");
    }
    let single = written.len() == 1;
    let mut paths = BTreeSet::new();
    let mut backends = Vec::with_capacity(written.len());
    for (name, backend) in written {
        let public = is_public(resolver, name, backend, document.server.allow_public);
        let Some(resolved) = one(resolver, name, backend, public_url, single) else { continue };
        let resolved = Backend { public, ..resolved };
        if !paths.insert(resolved.path.clone()) {
            resolver.fault(
                backend.path.as_ref().or_else(|| place(backend)),
                format!("the path `{}` is taken", resolved.path),
            );
        }
        backends.push(resolved);
    }
    backends
}

fn one(
    resolver: &mut Resolver<'_>,
    name: &str,
    written: &document::Backend,
    public_url: &str,
    single: bool,
) -> Option<Backend> {
    let parsed = BackendName::try_from(name);
    if let Err(error) = &parsed {
        resolver.fault(place(written), format!("`{name}` cannot name a backend: {error}"));
    }
    let urls = endpoints(resolver, name, written);
    let path = path(resolver, written.path.as_ref(), name, single);
    let ca_file = written.ca_file.as_ref().and_then(|file| resolver.path(file));
    if let Some(file) = &ca_file {
        resolver.read(file)?;
    }
    let connect_timeout = resolver.duration(written.connect_timeout.as_ref(), CONNECT_TIMEOUT);
    let timeout = resolver.duration(written.timeout.as_ref(), TIMEOUT);
    let idle_timeout = resolver.duration(written.idle_timeout.as_ref(), IDLE_TIMEOUT);
    let path = path?;
    let mut urls = urls?.into_iter();
    let url = urls.next()?;
    Some(Backend {
        name: parsed.ok()?,
        url,
        replicas: urls.collect(),
        resource: format!("{public_url}{path}"),
        path,
        accept_entra_tokens: written.accept_entra_tokens,
        public: false,
        identity: Wanted { headers: written.identity.headers, assertion: written.identity.assertion },
        drift: drift(resolver, written.drift.as_ref()),
        catalogue_refresh: refresh(resolver, written.catalogue_refresh.as_ref()),
        on_behalf_of: on_behalf_of(resolver, name, written),
        features: features(resolver, written.client_features.as_deref()),
        care: super::care::care(resolver, written),
        ca_file,
        connect_timeout,
        timeout,
        idle_timeout,
    })
}

/// Whether the backend lets in who brings no token. One word in one place must not open it: the server has to say so too.
fn is_public(resolver: &mut Resolver<'_>, name: &str, written: &document::Backend, allowed: bool) -> bool {
    let Some((text, word)) = written.access.as_ref().and_then(|text| Some((text, resolver.text(text)?))) else {
        return false;
    };
    match word.as_str() {
        "token" => return false,
        "public" => {}
        _ => {
            resolver.fault(Some(text), format!("`{word}` is no kind of access; there are token and public"));
            return false;
        }
    }
    if !allowed {
        let message = format!(
            "backend `{name}` is open to callers without a token; say `allow_public: true` under `server` too if that is meant"
        );
        resolver.fault(Some(text), message);
    }
    if written.on_behalf_of.is_some() {
        let message = format!(
            "backend `{name}` has `on_behalf_of` and `access: public`; who brings no token has no sign-in to exchange"
        );
        resolver.fault(Some(text), message);
    }
    resolver.warn(format!(
        "backend `{name}` is public: callers without a token reach what roles with `members: {{ public: true }}` open"
    ));
    true
}

/// The backend that is meant where none is named.
pub(super) fn default(
    resolver: &mut Resolver<'_>,
    text: Option<&document::Text>,
    backends: &BTreeMap<String, document::Backend>,
) -> Option<BackendName> {
    let text = text?;
    let name = resolver.text(text)?;
    if !backends.contains_key(&name) {
        resolver.fault(Some(text), format!("`{name}` is none of `backends`; name one of them"));
        return None;
    }
    BackendName::try_from(name.as_str()).ok()
}

fn drift(resolver: &mut Resolver<'_>, written: Option<&document::Drift>) -> Option<Drift> {
    let written = written?;
    let lock = resolver.path(&written.lock);
    let mut rule = Rule::default();
    if let Some((text, word)) = written.mode.as_ref().and_then(|text| Some((text, resolver.text(text)?))) {
        let known = Rule::WORDS.join(", ");
        match Rule::parse(&word) {
            Some(parsed) => rule = parsed,
            None => resolver.fault(Some(text), format!("`{word}` is no mode of drift; there are {known}")),
        }
    }
    Some(Drift { lock: lock?, rule })
}

fn refresh(resolver: &mut Resolver<'_>, text: Option<&document::Text>) -> Duration {
    let refresh = resolver.duration(text, CATALOGUE_REFRESH);
    if refresh < MIN_REFRESH {
        resolver.fault(text, "a catalogue is read every `1s` at most; write `1m` or more for a server in use");
    }
    refresh
}

/// The scope of the backend's own API, in full.
fn on_behalf_of(resolver: &mut Resolver<'_>, name: &str, written: &document::Backend) -> Option<String> {
    let text = &written.on_behalf_of.as_ref()?.scope;
    let scope = resolver.text(text)?;
    let (api, permission) = scope.rsplit_once('/').unwrap_or_default();
    if api.is_empty() || permission.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic()) {
        resolver.fault(Some(text), format!("`{scope}` is no scope of an API; write `api://its-client-id/.default`"));
        return None;
    }
    if written.accept_entra_tokens {
        let message = format!(
            "backend `{name}` has `on_behalf_of` and `accept_entra_tokens`; who comes with a token of Entra's has no sign-in here to exchange"
        );
        resolver.fault(Some(text), message);
        return None;
    }
    Some(scope)
}

/// The features named; the usual ones when none are.
fn features(resolver: &mut Resolver<'_>, words: Option<&[document::Text]>) -> Features {
    let Some(words) = words else { return Features::default() };
    let mut features = Features::none();
    for word in words {
        let Some(value) = resolver.text(word) else { continue };
        let Some(more) = features.with(&value) else {
            let known = Features::WORDS.join(", ");
            resolver.fault(Some(word), format!("`{value}` is no feature of clients; there are {known}"));
            continue;
        };
        features = more;
    }
    features
}

/// Where a fault of the backend as a whole is.
fn place(written: &document::Backend) -> Option<&document::Text> {
    written.url.as_ref().or_else(|| written.urls.as_ref()?.first())
}

/// The endpoints of `url` or `urls`, at least one.
fn endpoints(resolver: &mut Resolver<'_>, name: &str, written: &document::Backend) -> Option<Vec<Url>> {
    let texts: Vec<&document::Text> = match (&written.url, &written.urls) {
        (Some(url), None) => vec![url],
        (None, Some(urls)) if !urls.is_empty() => urls.iter().collect(),
        (Some(url), Some(_)) => {
            resolver.fault(Some(url), format!("backend `{name}` has `url` and `urls`; keep one of them"));
            return None;
        }
        (None, _) => {
            resolver.fault(None, format!("backend `{name}` has no `url`; write `http://host:port/mcp`"));
            return None;
        }
    };
    // Every one is looked at before any is given up.
    let found: Vec<Option<Url>> = texts.iter().map(|text| endpoint(resolver, text)).collect();
    let found: Vec<Url> = found.into_iter().collect::<Option<_>>()?;
    for (place, (url, text)) in found.iter().zip(&texts).enumerate() {
        if found.iter().take(place).any(|other| other == url) {
            resolver.fault(Some(text), format!("`{url}` is in `urls` twice; leave one out"));
            return None;
        }
    }
    Some(found)
}

fn endpoint(resolver: &mut Resolver<'_>, text: &document::Text) -> Option<Url> {
    let value = resolver.text(text)?;
    match Url::parse(&value) {
        Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => {
            if url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
            {
                return Some(url);
            }
            resolver.fault(Some(text), "a backend's URL has no user name, query or fragment; leave them out");
        }
        _ => resolver.fault(Some(text), format!("`{value}` is not an http or https URL; write `http://host:port/mcp`")),
    }
    None
}

fn path(resolver: &mut Resolver<'_>, text: Option<&document::Text>, name: &str, single: bool) -> Option<String> {
    let Some(text) = text else {
        return Some(if single { "/mcp".to_owned() } else { format!("/{name}/mcp") });
    };
    let value = resolver.text(text)?;
    let path = value.strip_suffix('/').unwrap_or(&value);
    let mut segments = path.split('/');
    let rooted = segments.next() == Some("");
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    };
    let segments: Vec<&str> = segments.collect();
    if !rooted || segments.is_empty() || !segments.iter().all(|segment| plain(segment)) {
        resolver
            .fault(Some(text), format!("`{value}` cannot be a path; write `/name/mcp` with letters, digits, `-._~`"));
        return None;
    }
    if segments.first().is_some_and(|first| RESERVED.contains(first)) || path == "/health" {
        resolver.fault(Some(text), format!("`{value}` is the gateway's own; choose another first segment"));
        return None;
    }
    Some(path.to_owned())
}
