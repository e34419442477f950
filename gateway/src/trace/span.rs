//! One span, from its beginning to its end.

use std::time::Duration;

use super::context::{Context, SpanId, TraceId};
use crate::clock::{Stopwatch, wall_time};

/// Whose view it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of whoever is asked.
    Server,
    /// Of whoever asks.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word of a closed set.
    Word(&'static str),
    /// A text.
    Text(Box<str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// Something that takes time.
#[derive(Debug)]
pub struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    /// Another context that it has to do with.
    pub(super) link: Option<(TraceId, SpanId)>,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Since the Unix epoch.
    pub(super) began: Duration,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
    running: Stopwatch,
}

impl Span {
    pub(super) fn new(trace: TraceId, parent: Option<SpanId>, kind: Kind) -> Self {
        Self {
            trace,
            id: SpanId::random(),
            parent,
            link: None,
            kind,
            name: String::new(),
            began: wall_time(),
            took: Duration::ZERO,
            attributes: Vec::with_capacity(12),
            failed: false,
            running: Stopwatch::start(),
        }
    }

    /// An exchange that is made for it, about the same tool or prompt.
    #[must_use]
    pub fn client(&self) -> Self {
        let same = |(key, _): &&(&'static str, Value)| matches!(*key, "gen_ai.tool.name" | "gen_ai.prompt.name");
        let attributes = self.attributes.iter().filter(same).cloned().collect();
        Self { name: self.name.clone(), attributes, ..Self::new(self.trace, Some(self.id), Kind::Client) }
    }

    /// The trace that it is of.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace
    }

    /// What is sent from it.
    #[must_use]
    pub fn context(&self, state: Option<String>) -> Context {
        Context { trace_id: self.trace, span_id: self.id, sampled: true, state }
    }

    /// What it is, in few words.
    pub fn call(&mut self, name: String) {
        self.name = name;
    }

    /// It also has to do with this.
    pub fn link(&mut self, context: &Context) {
        self.link = Some((context.trace_id, context.span_id));
    }

    /// It began so long ago.
    pub fn since(&mut self, running: Stopwatch) {
        self.began = self.began.saturating_sub(running.elapsed());
        self.running = running;
    }

    /// Whether something of this key was said of it.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.attributes.iter().any(|(known, _)| *known == key)
    }

    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push((key, value.into()));
    }

    /// It failed, for this reason of a closed set.
    pub fn fail(&mut self, error: &'static str) {
        self.failed = true;
        self.set("error.type", error);
    }

    pub(super) fn ended(mut self) -> Self {
        self.took = self.running.elapsed();
        self
    }
}
