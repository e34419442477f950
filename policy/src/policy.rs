//! A policy: validated, compiled, immutable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cases::CaseReport;
use crate::compile;
use crate::compiled::{Backend, CompiledRole, DenyRule};
use crate::document::Document;
use crate::error::{Fault, Faults};
use crate::lint;
use crate::names::{BackendName, Tag};
use crate::pin::Pin;
use crate::step_up::StepUp;

/// Who may do what. Cheap to clone; nothing changes it.
#[derive(Clone, Debug)]
pub struct Policy(pub(crate) Arc<Compiled>);

/// The compiled policy.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) id: u64,
    pub(crate) hash: Arc<str>,
    /// Whether denials say what is not open, for tools of a catalogue.
    pub(crate) explain: bool,
    /// Whether the whole policy only records.
    pub(crate) shadow: bool,
    pub(crate) backends: Vec<Backend>,
    pub(crate) roles: Arc<Vec<CompiledRole>>,
    pub(crate) members: Arc<compile::Members>,
    pub(crate) tenants: Arc<Option<Vec<compile::TenantCap>>>,
    pub(crate) denies: Arc<Vec<DenyRule>>,
    pub(crate) pins: Arc<Vec<Pin>>,
    pub(crate) titles: Arc<Vec<(String, String)>>,
}

/// What a policy is compiled for, beside its backends.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The claims that `caller.claims` has; any, where it is not known which.
    pub claims: Option<BTreeSet<String>>,
    /// Whether `mode: shadow` is refused for the policy as a whole.
    pub refuse_shadow: bool,
}

/// A tag that items of a backend carry; also an OAuth scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagInfo {
    /// The tag.
    pub name: String,
    /// What the consent page calls it.
    pub title: Option<String>,
    /// What it wants of the sign-in, beside the key.
    pub step_up: Option<StepUp>,
}

impl Policy {
    /// Reads and compiles a policy for these backends.
    ///
    /// # Errors
    ///
    /// Returns every fault: of syntax (the first), of shape and of meaning (all).
    pub fn from_yaml(text: &str, backends: &[BackendName]) -> Result<Self, Faults> {
        Self::compile(&Document::from_yaml(text)?, backends)
    }

    /// Compiles a policy for these backends.
    ///
    /// # Errors
    ///
    /// Returns every fault of shape and of meaning.
    pub fn compile(document: &Document, backends: &[BackendName]) -> Result<Self, Faults> {
        Self::compile_for(document, backends, &Setting::default())
    }

    /// Compiles a policy for these backends in this setting.
    ///
    /// # Errors
    ///
    /// Returns every fault of shape and of meaning.
    pub fn compile_for(document: &Document, backends: &[BackendName], setting: &Setting) -> Result<Self, Faults> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        compile::compile(document, backends, setting, id).map(|compiled| Self(Arc::new(compiled)))
    }

    /// Whether the policy as a whole only records what it would refuse.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.0.shadow
    }

    /// Whether denials say what is not open, for tools of a catalogue.
    #[must_use]
    pub fn explains(&self) -> bool {
        self.0.explain
    }

    /// A short hash of what the policy says; comments and layout do not count.
    #[must_use]
    pub fn hash(&self) -> &Arc<str> {
        &self.0.hash
    }

    /// The tags that items of a backend carry: the scopes of its tokens.
    #[must_use]
    pub fn tags(&self, backend: &BackendName) -> Vec<TagInfo> {
        let Some(backend) = self.0.backends.iter().find(|known| known.name == *backend) else { return Vec::new() };
        let title = |tag: &str| self.0.titles.iter().find(|(name, _)| name == tag).map(|(_, title)| title.clone());
        let step_up =
            |bit: usize| backend.step_up.iter().find(|(tag, _)| *tag == bit).map(|(_, step_up)| step_up.clone());
        let info = |(bit, tag): (usize, &Tag)| TagInfo {
            name: tag.as_ref().to_owned(),
            title: title(tag.as_ref()),
            step_up: step_up(bit),
        };
        backend.tags.iter().enumerate().map(info).collect()
    }

    /// Runs the tests that the document carries.
    #[must_use]
    pub fn run_cases(&self, document: &Document) -> CaseReport {
        crate::cases::run(self, document)
    }

    /// What loads, but probably does not say what was meant.
    #[must_use]
    pub fn lint(&self, document: &Document) -> Vec<Fault> {
        lint::lint(self, document)
    }

    pub(crate) fn backend(&self, name: &BackendName) -> Option<(usize, &Backend)> {
        self.0.backends.iter().enumerate().find(|(_, backend)| backend.name == *name)
    }
}
