//! The compiled form: tags to bits, items to lock masks, callers to key masks.
//!
//! A decision is a look-up and a mask test. Names that the policy spells out are looked up; other names are matched
//! against the backend's patterns.

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalogue::Catalogued;
use crate::condition::Condition;
use crate::glob::{MAX_NAME, NameGlob, Step, UriGlob};
use crate::names::{BackendName, Role, Tag};
use crate::rate::Rate;
use crate::spelling::is_plain;
use crate::step_up::StepUp;
use crate::uri::{self, Pattern};
use crate::written::Import;

const WORDS: usize = 4;
/// Tags that one backend can have.
pub(crate) const MAX_TAGS: usize = WORDS * 64;

/// A set of one backend's tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bits([u64; WORDS]);

impl Bits {
    pub(crate) const ALL: Self = Self([u64::MAX; WORDS]);

    pub(crate) fn insert(&mut self, bit: usize) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    fn with(mut self, bit: usize) -> Self {
        self.insert(bit);
        self
    }

    pub(crate) fn contains(self, bit: usize) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn within(self, other: Self) -> bool {
        self.without(other).is_empty()
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_TAGS).filter(move |bit| self.contains(*bit))
    }

    fn zip(mut self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        for (word, b) in self.0.iter_mut().zip(other.0) {
            *word = with(*word, b);
        }
        self
    }
}

/// What tags the items of one kind carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    exact: HashMap<String, Bits>,
    globs: Vec<(NameGlob, usize)>,
}

impl Locks {
    /// The locks of patterns, each with the bit of its tag.
    pub(crate) fn new<'a>(patterns: impl Iterator<Item = (&'a str, usize)>) -> Self {
        let mut locks = Self::default();
        for (pattern, bit) in patterns {
            if pattern.contains('*') {
                locks.globs.push((NameGlob::new(pattern), bit));
            } else {
                locks.exact.entry(pattern.to_owned()).or_default().insert(bit);
            }
        }
        let by_glob: Vec<(String, Bits)> =
            locks.exact.keys().map(|name| (name.clone(), locks.matching(name))).collect();
        for (name, bits) in by_glob {
            locks.exact.entry(name).and_modify(|exact| *exact = exact.or(bits));
        }
        locks
    }

    /// Every tag that an item of this kind can carry.
    pub(crate) fn tags(&self) -> Bits {
        let exact = self.exact.values().copied().fold(Bits::default(), Bits::or);
        self.globs.iter().fold(exact, |tags, (_, bit)| tags.with(*bit))
    }

    /// The tags of an item; empty when it has none.
    pub(crate) fn of(&self, name: &str) -> Bits {
        self.exact.get(name).copied().unwrap_or_else(|| self.by_glob(name))
    }

    /// Whether an item of this name is spelled out.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.exact.contains_key(name)
    }

    /// What puts tags on an item: its own name, where a tag comes from nothing else, and the patterns that match it.
    pub(crate) fn sources(&self, name: &str) -> Vec<(String, usize)> {
        let own = self.exact.get(name).map(|bits| bits.without(self.matching(name))).unwrap_or_default();
        let own = own.iter().map(|bit| (name.to_owned(), bit));
        let counts = name.len() <= MAX_NAME && (self.names(name) || is_plain(name));
        let globs = self.globs.iter().filter(|(glob, _)| counts && glob.matches(name));
        own.chain(globs.map(|(glob, bit)| (glob.to_string(), *bit))).collect()
    }

    /// The tags of a name that is not spelled out.
    ///
    /// INVARIANT: no pattern opens a name in which something is not seen: a server may take it for another tool. Where
    /// such a name is spelled out, patterns add their locks to it.
    fn by_glob(&self, name: &str) -> Bits {
        if is_plain(name) { self.matching(name) } else { Bits::default() }
    }

    fn matching(&self, name: &str) -> Bits {
        let mut bits = Bits::default();
        if name.len() > MAX_NAME {
            return bits;
        }
        for (glob, bit) in &self.globs {
            if !bits.contains(*bit) && glob.matches(name) {
                bits.insert(*bit);
            }
        }
        bits
    }
}

/// What tags resources carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct UriLocks {
    exact: HashMap<String, Bits>,
    globs: Vec<(UriGlob, usize)>,
}

impl UriLocks {
    pub(crate) fn new(patterns: impl Iterator<Item = (Pattern, usize)>) -> Self {
        let mut locks = Self::default();
        for (pattern, bit) in patterns {
            match pattern {
                Pattern::Exact(uri) => locks.exact.entry(uri).or_default().insert(bit),
                Pattern::Glob(glob) => locks.globs.push((glob, bit)),
            }
        }
        let by_glob = |uri: &String| locks.by_globs(|| uri.chars().map(Step::Literal));
        let united = locks.exact.iter().map(|(uri, bits)| (uri.clone(), bits.or(by_glob(uri)))).collect();
        Self { exact: united, ..locks }
    }

    /// Every tag that a resource can carry.
    pub(crate) fn tags(&self) -> Bits {
        let exact = self.exact.values().copied().fold(Bits::default(), Bits::or);
        self.globs.iter().fold(exact, |tags, (_, bit)| tags.with(*bit))
    }

    /// The tags of the resource that a URI names, however it is spelled; none where that is open to doubt.
    ///
    /// INVARIANT: what a server may take it for adds its locks, and never the first one, which would open it.
    pub(crate) fn of(&self, uri: &str) -> Bits {
        let Ok(uri) = uri::canonical(uri) else { return Bits::default() };
        let own = self.of_canonical(&uri);
        if own.is_empty() {
            return own;
        }
        uri::readings(&uri).iter().fold(own, |locks, read| locks.or(self.of_canonical(read)))
    }

    fn of_canonical(&self, uri: &str) -> Bits {
        self.exact.get(uri).copied().unwrap_or_else(|| self.by_globs(|| uri.chars().map(Step::Literal)))
    }

    /// Tags that every expansion of the template carries decide whether it opens; tags that some may carry do not.
    pub(crate) fn of_template(&self, template: &str) -> Bits {
        if !template.contains('{') {
            return self.of(template);
        }
        let Ok(text) = uri::template(template) else { return Bits::default() };
        let own = self.by_globs(|| uri::steps(&text));
        if own.is_empty() {
            return own;
        }
        let of = |read: &str| self.exact.get(read).copied().unwrap_or_else(|| self.by_globs(|| uri::steps(read)));
        uri::readings(&text).iter().fold(own, |locks, read| locks.or(of(read)))
    }

    fn by_globs<I: Iterator<Item = Step>>(&self, input: impl Fn() -> I) -> Bits {
        let mut bits = Bits::default();
        for (glob, bit) in &self.globs {
            if !bits.contains(*bit) && glob.matches(input()) {
                bits.insert(*bit);
            }
        }
        bits
    }
}

/// One backend: its tags and what carries them.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) name: BackendName,
    /// In the order of their bits.
    pub(crate) tags: Vec<Tag>,
    pub(crate) tools: Locks,
    pub(crate) prompts: Locks,
    pub(crate) resources: UriLocks,
    /// Tags that are not enforced yet.
    pub(crate) shadow: Bits,
    /// Tags that want more of the sign-in.
    pub(crate) step_up: Vec<(usize, StepUp)>,
    pub(crate) import: Option<Import>,
    /// What the backend says of its tools, where that counts.
    pub(crate) catalogue: Option<Arc<Catalogued>>,
}

impl Backend {
    /// The tags on a tool: by its catalogue where it has one.
    pub(crate) fn tool_locks(&self, tool: &str) -> Bits {
        match &self.catalogue {
            Some(catalogue) => catalogue.tool(tool).map_or_else(Bits::default, |entry| entry.locks),
            None => self.tools.of(tool),
        }
    }

    /// Every tag that a tool can carry.
    pub(crate) fn tool_tags(&self) -> Bits {
        match &self.catalogue {
            Some(catalogue) => catalogue.names().fold(Bits::default(), |tags, name| tags.or(self.tool_locks(name))),
            None => self.tools.tags(),
        }
    }
}

/// One policy role with everything it inherits.
#[derive(Clone, Debug)]
pub(crate) struct CompiledRole {
    pub(crate) name: Role,
    /// Where its rate counts.
    pub(crate) on: Vec<usize>,
    pub(crate) keys: Vec<Key>,
    pub(crate) grants: Vec<ToolGrant>,
    pub(crate) rate: Option<Rate>,
    /// Whether it only records what it would open.
    pub(crate) shadow: bool,
}

/// A key for one tag on one backend.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) backend: usize,
    pub(crate) bit: usize,
    pub(crate) when: Option<Arc<Condition>>,
}

/// A tool that opens although some of its tags stay shut.
#[derive(Clone, Debug)]
pub(crate) struct ToolGrant {
    pub(crate) backend: usize,
    pub(crate) tool: String,
    /// Tags that need no key.
    pub(crate) ignoring: Bits,
}

/// A rule that beats every key.
#[derive(Clone, Debug)]
pub(crate) struct DenyRule {
    pub(crate) id: String,
    pub(crate) reason: Option<String>,
    /// Per backend.
    pub(crate) tags: Vec<Bits>,
    /// Roles that it does not bind.
    pub(crate) unless: Vec<usize>,
    pub(crate) when: Option<Arc<Condition>>,
    /// Whether it only records what it would refuse.
    pub(crate) shadow: bool,
}

impl DenyRule {
    /// Whether one of these roles is an exception to the rule.
    pub(crate) fn exempts(&self, roles: &[usize]) -> bool {
        roles.iter().any(|role| self.unless.contains(role))
    }

    /// Whether it refuses without a question.
    pub(crate) fn is_plain(&self) -> bool {
        self.when.is_none() && !self.shadow
    }
}

/// Everything one caller holds under one policy.
#[derive(Debug)]
pub(crate) struct Ring {
    /// The policy that it was made under.
    pub(crate) policy: u64,
    /// Per backend.
    pub(crate) backends: Vec<BackendRing>,
    /// Whether the caller's tenant reaches anything.
    pub(crate) tenant_listed: bool,
    /// The pins whose claim the caller's token lacks.
    pub(crate) unpinnable: Vec<usize>,
}

/// What a caller holds on one backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackendRing {
    /// Keys that open without a question.
    pub(crate) keys: Bits,
    /// Keys that open where their conditions are met.
    pub(crate) conditional: Vec<Conditional>,
    /// Keys of roles that only record, with their conditions.
    pub(crate) shadow: Vec<Conditional>,
    /// Tools with grants of roles that only record.
    pub(crate) shadow_grants: HashMap<String, Vec<(Bits, Role)>>,
    /// Tags that deny rules shut without a question.
    pub(crate) denied: Bits,
    /// Deny rules that have to be asked, and those that only record.
    pub(crate) denies: Vec<usize>,
    /// What a list goes by: keys that may open, and tags that are denied whatever the arguments are.
    pub(crate) listed: Bits,
    pub(crate) listed_denied: Bits,
    /// Whether a list has to ask a condition for each tool.
    pub(crate) asks_by_tool: bool,
    pub(crate) scopes: Bits,
    /// The role that gave each key, by bit.
    pub(crate) givers: Vec<(usize, Role)>,
    /// Tools with grants of their own: the tags that need no key, and the role that says so.
    pub(crate) grants: HashMap<String, Vec<(Bits, Role)>>,
}

/// A key with conditions, all of which have to be met.
#[derive(Clone, Debug)]
pub(crate) struct Conditional {
    pub(crate) bit: usize,
    pub(crate) all: Vec<Arc<Condition>>,
    pub(crate) role: Role,
}
