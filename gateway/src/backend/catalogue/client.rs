//! Lists a backend's tools in the era that it speaks: 2026-07-28 without a session, or an introduction and a session.
//!
//! The era is found by asking (2026-07-28, basic/versioning): a backend that answers `server/discover` with that
//! revision is of the modern era, one that does not is introduced to. Both are remembered until they fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::pages::Pages;
use super::wire::{self, Ask, FetchError, Reply, Stream};
use super::{Catalogue, Unreadable};
use crate::backend::{Replicas, Upstream};
use crate::mcp::ProtocolVersion;

const MODERN: &str = ProtocolVersion::V2026_07_28.as_str();
const LEGACY: &str = ProtocolVersion::V2025_11_25.as_str();

/// How much of a backend is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all pages together.
    pub bytes: usize,
    /// From the first request to the last page.
    pub time: Duration,
}

/// What a fetch brought.
#[derive(Debug)]
pub struct Fetched {
    /// The tools.
    pub catalogue: Catalogue,
    /// How long the backend says that they are good (`ttlMs`).
    pub ttl: Option<Duration>,
    /// Whether it said while it was read that they have changed.
    pub changed: bool,
}

/// How a backend is spoken to, once that is known.
#[derive(Clone, Debug)]
struct Dialogue {
    /// The server that was introduced to.
    mark: String,
    terms: Terms,
    /// Whether it says when its tools change.
    tells: bool,
}

#[derive(Clone, Debug)]
enum Terms {
    Modern,
    Legacy { session: Option<String>, version: String },
}

/// Asks one backend for its tools.
#[derive(Debug)]
pub struct Client {
    replicas: Arc<Replicas>,
    limits: Limits,
    dialogue: Mutex<Option<Dialogue>>,
    ids: AtomicU64,
}

impl Client {
    /// A client of these servers; nothing is asked yet.
    #[must_use]
    pub fn new(replicas: Arc<Replicas>, limits: Limits) -> Self {
        Self { replicas, limits, dialogue: Mutex::default(), ids: AtomicU64::new(1) }
    }

    /// Whether it asks these servers.
    #[must_use]
    pub fn reads(&self, replicas: &Arc<Replicas>) -> bool {
        Arc::ptr_eq(&self.replicas, replicas)
    }

    /// Every tool, from all pages.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] when the backend cannot be reached in time, or what it says is no catalogue.
    pub async fn fetch(&self) -> Result<Fetched, FetchError> {
        let mut dialogue = self.dialogue.lock().await;
        let fetched = tokio::time::timeout(self.limits.time, self.fetch_in(&mut dialogue)).await;
        let fetched = fetched.unwrap_or(Err(FetchError::Timeout));
        if fetched.is_err() {
            // Whatever failed, the next attempt begins with an introduction.
            *dialogue = None;
        }
        fetched
    }

    async fn fetch_in(&self, dialogue: &mut Option<Dialogue>) -> Result<Fetched, FetchError> {
        if let Some(known) = &*dialogue
            && let Some(upstream) = self.server(&known.mark)
        {
            match self.list(upstream, known).await {
                // A session that is gone, or an era that has passed.
                Err(FetchError::Status(400 | 404) | FetchError::Refused { .. } | FetchError::Connect(_)) => {}
                fetched => return fetched,
            }
        }
        let (upstream, fresh) = self.introduce().await?;
        let fetched = self.list(upstream, &fresh).await;
        *dialogue = Some(fresh);
        fetched
    }

    fn server(&self, mark: &str) -> Option<&Upstream> {
        self.replicas.iter().find(|replica| replica.mark() == mark).map(AsRef::as_ref)
    }

    /// The first server that can be reached, and how it is spoken to.
    async fn introduce(&self) -> Result<(&Upstream, Dialogue), FetchError> {
        let mut failure = None;
        for upstream in self.replicas.in_turn() {
            match self.introduce_to(upstream).await {
                Err(error @ FetchError::Connect(_)) => failure = Some(error),
                Err(error) => return Err(error),
                Ok(dialogue) => return Ok((upstream, dialogue)),
            }
        }
        Err(failure.unwrap_or_else(|| FetchError::Broken("no server is configured".to_owned())))
    }

    async fn introduce_to(&self, upstream: &Upstream) -> Result<Dialogue, FetchError> {
        if let Some(tells) = self.discover(upstream).await? {
            return Ok(Dialogue { mark: upstream.mark().to_owned(), terms: Terms::Modern, tells });
        }
        let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client_info() });
        let reply = self.post(upstream, "initialize", Some(params), &[]).await?;
        let session = reply.session.clone();
        let result = result_of(reply)?;
        let version = result.get("protocolVersion").and_then(Value::as_str).unwrap_or(LEGACY).to_owned();
        let terms = Terms::Legacy { session, version };
        let fields = terms.fields("notifications/initialized");
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let ask = Ask { method: "POST", path: None, fields: &fields, body: Some(&note) };
        wire::ask(upstream, ask, self.limits.bytes).await?;
        let tells = tells(&result);
        Ok(Dialogue { mark: upstream.mark().to_owned(), terms, tells })
    }

    /// Whether the backend is of the modern era, and if so, whether it tells of changes.
    async fn discover(&self, upstream: &Upstream) -> Result<Option<bool>, FetchError> {
        let fields = Terms::Modern.fields("server/discover");
        let reply = match self.post(upstream, "server/discover", Some(modern(json!({}))), &fields).await {
            // Servers of the older era answer what they do not know in many ways; a broken connection is none of them.
            Err(FetchError::Unreadable(_) | FetchError::Status(_) | FetchError::Refused { .. }) => return Ok(None),
            reply => reply?,
        };
        let Some(result) = reply.result else { return Ok(None) };
        let versions = result.get("supportedVersions").and_then(Value::as_array);
        let is_modern = versions.is_some_and(|versions| versions.iter().any(|version| version == MODERN));
        Ok(is_modern.then(|| tells(&result)))
    }

    async fn list(&self, upstream: &Upstream, dialogue: &Dialogue) -> Result<Fetched, FetchError> {
        let fields = dialogue.terms.fields("tools/list");
        let mut pages = Pages::new(self.limits.bytes);
        let (mut cursor, mut changed) = (None, false);
        loop {
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
            let params = if dialogue.is_modern() { modern(params) } else { params };
            let reply = self.post(upstream, "tools/list", Some(params), &fields).await?;
            changed |= reply.changed;
            let bytes = reply.bytes;
            cursor = pages.add(&result_of(reply)?, bytes)?;
            if cursor.is_none() {
                break;
            }
        }
        let (catalogue, ttl) = pages.finish()?;
        Ok(Fetched { catalogue, ttl, changed })
    }

    async fn post(
        &self,
        upstream: &Upstream,
        method: &str,
        params: Option<Value>,
        fields: &[(&str, &str)],
    ) -> Result<Reply, FetchError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        wire::ask(upstream, Ask { method: "POST", path: None, fields, body: Some(&body) }, self.limits.bytes).await
    }

    /// A stream on which the backend says when its tools change; `None` when it never says so, or is not yet known.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] when the backend gives no stream.
    pub(super) async fn listen(&self) -> Result<Option<Stream>, FetchError> {
        let Some(dialogue) = self.dialogue.lock().await.clone().filter(|dialogue| dialogue.tells) else {
            return Ok(None);
        };
        let Some(upstream) = self.server(&dialogue.mark) else { return Ok(None) };
        if dialogue.is_modern() {
            let fields = dialogue.terms.fields("subscriptions/listen");
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            let params = modern(json!({ "notifications": { "toolsListChanged": true } }));
            let body = json!({ "jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params });
            let ask = Ask { method: "POST", path: None, fields: &fields, body: Some(&body) };
            return wire::stream(upstream, ask, self.limits.bytes).await.map(Some);
        }
        let fields = dialogue.terms.fields("");
        wire::stream(upstream, Ask { method: "GET", path: None, fields: &fields, body: None }, self.limits.bytes)
            .await
            .map(Some)
    }

    /// How long a stream may be silent.
    pub(super) fn idle(&self) -> Duration {
        self.replicas.any().settings().idle_timeout
    }
}

impl Dialogue {
    fn is_modern(&self) -> bool {
        matches!(self.terms, Terms::Modern)
    }
}

impl Terms {
    fn fields<'t>(&'t self, method: &'t str) -> Vec<(&'t str, &'t str)> {
        match self {
            Self::Modern => vec![("mcp-protocol-version", MODERN), ("mcp-method", method)],
            Self::Legacy { session, version } => {
                let session = session.as_deref().map(|session| ("mcp-session-id", session));
                std::iter::once(("mcp-protocol-version", version.as_str())).chain(session).collect()
            }
        }
    }
}

/// Parameters with what every request of 2026-07-28 says of itself.
fn modern(mut params: Value) -> Value {
    if let Some(members) = params.as_object_mut() {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": client_info(),
        });
        members.insert("_meta".to_owned(), meta);
    }
    params
}

fn client_info() -> Value {
    json!({ "name": "portcullis", "version": env!("CARGO_PKG_VERSION") })
}

fn tells(introduction: &Value) -> bool {
    introduction.pointer("/capabilities/tools/listChanged") == Some(&Value::Bool(true))
}

fn result_of(reply: Reply) -> Result<Value, FetchError> {
    match (reply.result, reply.error) {
        (Some(result), _) => Ok(result),
        (None, Some(error)) => {
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
            Err(FetchError::Refused { code, message: message.chars().take(200).collect() })
        }
        (None, None) if (200..300).contains(&reply.status) => {
            Err(Unreadable::Answer("it has no answer".to_owned()).into())
        }
        (None, None) => Err(FetchError::Status(reply.status)),
    }
}
