//! The pages of one `tools/list`, put together; pure, and bounded in every direction.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use super::{Catalogue, Tool};

/// More than any server's clients could work with.
pub(super) const MAX_TOOLS: usize = 10_000;
const MAX_PAGES: usize = 500;
const MAX_CURSOR: usize = 8 * 1024;
/// A server that asks to be read again sooner is read again so soon.
const MIN_TTL: Duration = Duration::from_secs(5);

/// Why an answer is no catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not an answer of the protocol.
    #[error("{0}")]
    Answer(String),
    /// A tool is not what the protocol says.
    #[error("{0}")]
    Tool(String),
    /// Two tools have one name.
    #[error("the tool {0:?} is listed twice")]
    Twice(String),
    /// A cursor leads back to where it came from.
    #[error("its pages lead in a circle")]
    Circle,
    /// There is more of something than is read.
    #[error("it has {0}")]
    TooMuch(&'static str),
}

/// A list that is being read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    tools: Vec<Tool>,
    cursors: HashSet<String>,
    count: usize,
    bytes: usize,
    max_bytes: usize,
    ttl: Option<Duration>,
}

impl Pages {
    /// Nothing yet; the pages together have at most `max_bytes` bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, ..Self::default() }
    }

    /// Takes a page of `bytes` bytes and returns the cursor of the next.
    pub(super) fn add(&mut self, result: &Value, bytes: usize) -> Result<Option<String>, Unreadable> {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.max_bytes {
            return Err(Unreadable::TooMuch("more bytes than `limits.answer_body`"));
        }
        if self.count > MAX_PAGES {
            return Err(Unreadable::TooMuch("too many pages"));
        }
        let no_list = || Unreadable::Answer("its answer to `tools/list` has no `tools`".to_owned());
        let items = result.get("tools").and_then(Value::as_array).ok_or_else(no_list)?;
        if self.tools.len() + items.len() > MAX_TOOLS {
            return Err(Unreadable::TooMuch("too many tools"));
        }
        for item in items {
            self.tools.push(Tool::read(item)?);
        }
        if let Some(ttl) = result.get("ttlMs").and_then(Value::as_u64).map(Duration::from_millis) {
            self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)).max(MIN_TTL));
        }
        match result.get("nextCursor") {
            None | Some(Value::Null) => Ok(None),
            // An empty cursor is a cursor.
            Some(Value::String(cursor)) if cursor.len() <= MAX_CURSOR => {
                if !self.cursors.insert(cursor.clone()) {
                    return Err(Unreadable::Circle);
                }
                Ok(Some(cursor.clone()))
            }
            Some(_) => Err(Unreadable::Answer("its `nextCursor` cannot be used".to_owned())),
        }
    }

    /// The catalogue, and how long the server says that it is good.
    pub(super) fn finish(self) -> Result<(Catalogue, Option<Duration>), Unreadable> {
        Catalogue::new(self.tools).map(|catalogue| (catalogue, self.ttl))
    }
}
