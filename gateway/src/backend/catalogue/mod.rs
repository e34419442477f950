//! The tools of a backend as the gateway itself knows them: one immutable snapshot, read without a caller.
//!
//! [`Client`] fetches it in either era, [`Keeper`] keeps the last good one and fetches anew after `list_changed`, by
//! time and when something on the data path does not fit it. What cannot be read in one way only never replaces
//! what was read before. Which of the tools a caller gets is the affair of `pinning` and of the policy.

mod client;
mod keeper;
mod listen;
mod listing;
mod pages;
mod tool;
pub(super) mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_policy::Tag;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use client::{Client, Fetched, Limits};
pub use keeper::{Imported, Keeper, Known, Pinned};
pub use listing::Listing;
pub use pages::Unreadable;
pub use tool::{Field, Fingerprint, Tool};
pub use wire::FetchError;

pub(crate) use tool::{digest, hex};

use super::pinning::LockFile;

/// Every tool of a backend at one moment, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    tools: Vec<Tool>,
    hash: Arc<str>,
}

impl Catalogue {
    /// The catalogue of these tools.
    ///
    /// # Errors
    ///
    /// Returns [`Unreadable::Twice`] when two of them have one name.
    pub fn new(mut tools: Vec<Tool>) -> Result<Self, Unreadable> {
        tools.sort_by(|a, b| a.name().cmp(b.name()));
        if let Some(twice) = tools.iter().zip(tools.iter().skip(1)).find(|(a, b)| a.name() == b.name()) {
            return Err(Unreadable::Twice(twice.0.name().to_owned()));
        }
        let mut hasher = Sha256::new();
        for tool in &tools {
            // The length first, so that no name runs into a fingerprint.
            hasher.update((tool.name().len() as u64).to_be_bytes());
            hasher.update(tool.name());
            hasher.update(tool.fingerprint());
        }
        let hash = hex(&hasher.finalize());
        Ok(Self { tools, hash: hash.into() })
    }

    /// The tools, sorted by name.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The tool of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tool> {
        let at = self.tools.binary_search_by(|tool| tool.name().cmp(name)).ok()?;
        self.tools.get(at)
    }

    /// What the policy takes of it, with the tags that a lock file keeps on tools.
    #[must_use]
    pub fn for_policy(&self, lock: Option<&LockFile>) -> portcullis_policy::Catalogue {
        let tools = self.tools.iter().map(|tool| portcullis_policy::ToolDefinition {
            name: tool.name().to_owned(),
            input_schema: Some(tool.get(Field::InputSchema).cloned().unwrap_or(Value::Null)),
            meta: tool.meta().cloned(),
            annotations: tool.get(Field::Annotations).cloned(),
        });
        let tags = |locks: &BTreeSet<String>| locks.iter().filter_map(|tag| Tag::try_from(tag.as_str()).ok()).collect();
        let kept = lock.into_iter().flat_map(LockFile::kept).map(|(tool, locks)| (tool.to_owned(), tags(locks)));
        portcullis_policy::Catalogue { tools: tools.collect(), kept: kept.collect(), held_back: BTreeSet::new() }
    }

    /// SHA-256 over names and definitions, in hexadecimal: two catalogues with one hash say the same.
    #[must_use]
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }
}

#[cfg(test)]
mod tests;
