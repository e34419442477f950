//! The lock file: one backend's tools as the operator approved them, made to be committed and reviewed.
//!
//! JSON in a stable order, so that a change of one tool is a change of a few lines. Definitions are there in full, for
//! a reviewer to read, and a SHA-256 beside each part, so that a file that was edited by hand or merged badly shows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use portcullis_policy::{BackendName, Tag};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::backend::catalogue::{Catalogue, Field, Tool, digest, hex};
use crate::json;

const VERSION: u32 = 1;
const MAX_BYTES: u64 = 256 << 20;
/// As deep as a definition may be, and the levels around it.
const MAX_DEPTH: u8 = json::MAX_DEPTH + 8;

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It is not there.
    #[error("the lock file `{}` of backend `{backend}` is missing; look at the tools and write it with `portcullis tools pin`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Whose it would be.
        backend: BackendName,
    },
    /// It cannot be read or written.
    #[error("the lock file `{}` cannot be used: {source}; check its permissions", path.display())]
    Io {
        /// Where it is.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It is not what `tools pin` writes.
    #[error("the lock file `{}` is damaged: {why}; restore it from version control, or write it anew with `portcullis tools pin`", path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is another backend's.
    #[error("the lock file `{}` is of backend `{found}`, not of `{backend}`; name each backend's own", path.display())]
    Foreign {
        /// Where it is.
        path: PathBuf,
        /// Whose it should be.
        backend: BackendName,
        /// Whose it is.
        found: String,
    },
}

/// The approved tools of one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct LockFile {
    backend: String,
    tools: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    /// As approved; nothing for a tool that only has locks.
    tool: Option<Tool>,
    /// Tags that the backend has put on it at any time: they stay until the operator approves their removal.
    locks: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    backend: String,
    tools: BTreeMap<String, WrittenEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<BTreeMap<String, Value>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    locks: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sha256: BTreeMap<String, String>,
}

impl LockFile {
    /// A lock file that approves nothing.
    #[must_use]
    pub fn empty(backend: &BackendName) -> Self {
        Self { backend: backend.to_string(), tools: BTreeMap::new() }
    }

    /// A lock file that approves these tools, with the locks that they carry now.
    #[must_use]
    pub fn pin(backend: &BackendName, catalogue: &Catalogue) -> Self {
        let mut lock = Self::empty(backend);
        for tool in catalogue.tools() {
            lock.approve(tool.name(), Some(tool));
        }
        lock
    }

    /// Approves a tool as it is now; `None`: that it is gone.
    pub fn approve(&mut self, name: &str, tool: Option<&Tool>) {
        match tool {
            Some(tool) => {
                let locks = tool.tags().into_iter().map(str::to_owned).collect();
                self.tools.insert(name.to_owned(), Entry { tool: Some(tool.definition()), locks });
            }
            None => {
                self.tools.remove(name);
            }
        }
    }

    /// Keeps on a tool no other tags than these.
    pub fn release(&mut self, name: &str, declared: &BTreeSet<String>) {
        if let Some(entry) = self.tools.get_mut(name) {
            entry.locks.retain(|tag| declared.contains(tag));
        }
    }

    /// The same with the locks that the backend has put on tools since; `None` when there are none.
    #[must_use]
    pub fn with_locks_of(&self, catalogue: &Catalogue) -> Option<Self> {
        let mut more = self.clone();
        for tool in catalogue.tools() {
            for tag in tool.tags() {
                more.tools.entry(tool.name().to_owned()).or_default().locks.insert(tag.to_owned());
            }
        }
        (more != *self).then_some(more)
    }

    /// The same with these tags kept on tools beside those that are kept already; `None` when there are none.
    #[must_use]
    pub fn with_locks(&self, imported: &BTreeMap<String, BTreeSet<Tag>>) -> Option<Self> {
        let mut more = self.clone();
        for (tool, tags) in imported {
            let locks = &mut more.tools.entry(tool.clone()).or_default().locks;
            locks.extend(tags.iter().map(ToString::to_string));
        }
        (more != *self).then_some(more)
    }

    /// The tags that are kept on tools.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.tools.iter().map(|(name, entry)| (name.as_str(), &entry.locks))
    }

    /// A tool as it was approved.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)?.tool.as_ref()
    }

    /// The approved tools, by name.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values().filter_map(|entry| entry.tool.as_ref())
    }

    /// The tags that stay on a tool, whatever the backend says of it now.
    pub fn locks(&self, name: &str) -> impl Iterator<Item = &str> {
        self.tools.get(name).into_iter().flat_map(|entry| &entry.locks).map(String::as_str)
    }

    /// Reads the file of a backend.
    ///
    /// # Errors
    ///
    /// Returns a [`LockError`] for a file that is missing, damaged or another backend's.
    pub fn read(path: &Path, backend: &BackendName) -> Result<Self, LockError> {
        let io = |source: std::io::Error| {
            if source.kind() == std::io::ErrorKind::NotFound {
                return LockError::Missing { path: path.to_owned(), backend: backend.clone() };
            }
            LockError::Io { path: path.to_owned(), source }
        };
        let damaged = |why: String| LockError::Damaged { path: path.to_owned(), why };
        if std::fs::metadata(path).map_err(io)?.len() > MAX_BYTES {
            return Err(damaged("it is too large".to_owned()));
        }
        let bytes = std::fs::read(path).map_err(io)?;
        let text = String::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let written = parse(&text).map_err(damaged)?;
        if written.backend != backend.as_ref() {
            return Err(LockError::Foreign { path: path.to_owned(), backend: backend.clone(), found: written.backend });
        }
        Self::of(written).map_err(damaged)
    }

    fn of(written: Written) -> Result<Self, String> {
        let mut tools = BTreeMap::new();
        for (name, entry) in written.tools {
            let tool = entry.definition.map(|definition| verified(&name, definition, &entry.sha256)).transpose()?;
            tools.insert(name, Entry { tool, locks: entry.locks });
        }
        Ok(Self { backend: written.backend, tools })
    }

    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let entry = |entry: &Entry| {
            let fields = || entry.tool.iter().flat_map(Tool::fields);
            WrittenEntry {
                definition: entry
                    .tool
                    .is_some()
                    .then(|| fields().map(|(field, value)| (field.as_str().to_owned(), sorted(value))).collect()),
                locks: entry.locks.clone(),
                sha256: fields().map(|(field, value)| (field.as_str().to_owned(), hex(&digest(value)))).collect(),
            }
        };
        let tools = self.tools.iter().map(|(name, one)| (name.clone(), entry(one))).collect();
        let written = Written { version: VERSION, backend: self.backend.clone(), tools };
        // Names and values are all JSON has; there is nothing in it that could not be written.
        serde_json::to_string_pretty(&written).unwrap_or_default() + "\n"
    }

    /// SHA-256 of [`LockFile::render`], in hexadecimal: of the file, where `portcullis tools` has written it.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.render()))
    }

    /// Writes the file: whole, or not at all.
    ///
    /// # Errors
    ///
    /// Returns [`LockError::Io`] when the directory cannot be written to.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        self.replace(path).map_err(|source| LockError::Io { path: path.to_owned(), source })
    }

    fn replace(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let written = std::fs::File::create(&beside).and_then(|mut file| {
            file.write_all(self.render().as_bytes())?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| std::fs::rename(&beside, path));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        renamed
    }
}

fn parse(text: &str) -> Result<Written, String> {
    json::check(text, MAX_DEPTH).map_err(|error| error.to_string())?;
    let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if written.version != VERSION {
        return Err(format!("its version is {}, and this is Portcullis for version {VERSION}", written.version));
    }
    Ok(written)
}

/// A definition, if it is the one that the digests were made of.
fn verified(
    name: &str,
    definition: BTreeMap<String, Value>,
    digests: &BTreeMap<String, String>,
) -> Result<Tool, String> {
    let mut fields = BTreeMap::new();
    if let Some(stray) = digests.keys().find(|field| !definition.contains_key(*field)) {
        return Err(format!("the tool {name:?} has a digest of `{stray}` and no `{stray}`"));
    }
    for (written, value) in definition {
        let field =
            Field::parse(&written).ok_or_else(|| format!("the tool {name:?} has an unknown part {written:?}"))?;
        if digests.get(&written) != Some(&hex(&digest(&value))) {
            return Err(format!("`{written}` of the tool {name:?} is not what its SHA-256 was made of"));
        }
        fields.insert(field, value);
    }
    Ok(Tool::new(name.to_owned(), fields, None))
}

/// The same value with members in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(members) => {
            let by_name: BTreeMap<&String, &Value> = members.iter().collect();
            Value::Object(by_name.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect::<Map<_, _>>())
        }
        scalar => scalar.clone(),
    }
}
