//! Runs the tests that a policy carries.

use std::collections::BTreeSet;
use std::fmt;

use crate::action::Action;
use crate::authorize::Asked;
use crate::catalogue::Catalogue;
use crate::decision::DenialKind;
use crate::document::Document;
use crate::error::{Fault, Severity};
use crate::names::BackendName;
use crate::policy::Policy;
use crate::subject::Subject;
use crate::written::{Call, Case, CatalogueEntry, Expect, Never, Target, Written};

/// What the tests found.
#[derive(Clone, Debug)]
pub struct CaseReport {
    total: usize,
    failures: Vec<CaseFailure>,
}

impl CaseReport {
    /// How many tests ran.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// The tests that failed.
    #[must_use]
    pub fn failures(&self) -> &[CaseFailure] {
        &self.failures
    }
}

/// A test that failed: where it is, and what happened instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFailure {
    /// Line in the file, from 1.
    pub line: u64,
    /// Column in the line, from 1.
    pub column: u64,
    /// The test's name.
    pub name: String,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault().fmt(f)
    }
}

impl CaseFailure {
    /// What there is to mend.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let message = format!("the test `{}` fails: {}; mend the policy, or the test", self.name, self.message);
        Fault { line: self.line, column: self.column, severity: Severity::Error, message }
    }
}

pub(crate) fn run(policy: &Policy, document: &Document) -> CaseReport {
    let (written, _) = Written::read(document);
    let policy = with_catalogues(policy, &written);
    let catalogue = &written.tests.catalogue;
    let mut failures = Vec::new();
    for case in &written.tests.cases {
        let subject = at_home(&written, &case.subject);
        let messages = sees(&policy, catalogue, case, &subject)
            .into_iter()
            .chain(case.call.as_ref().and_then(|call| decides(&policy, call, &subject)));
        failures.extend(messages.map(|message| CaseFailure {
            line: case.name.at.line(),
            column: case.name.at.column(),
            name: case.name.value.clone(),
            message,
        }));
    }
    for never in &written.tests.never {
        let subject = at_home(&written, &never.subject);
        failures.extend(reached(&policy, catalogue, never, &subject).map(|message| CaseFailure {
            line: never.at.line(),
            column: never.at.column(),
            name: "never".to_owned(),
            message,
        }));
    }
    CaseReport { total: written.tests.cases.len() + written.tests.never.len(), failures }
}

/// The tests' catalogue is what the backends have.
pub(crate) fn with_catalogues(policy: &Policy, written: &Written) -> Policy {
    let mut backends: Vec<&BackendName> = written.tests.catalogue.iter().map(|entry| &entry.backend.value).collect();
    backends.dedup();
    backends.into_iter().filter(|backend| policy.needs_catalogue(backend)).fold(policy.clone(), |policy, backend| {
        let tools = written.tests.catalogue.iter().filter(|entry| entry.backend.value == *backend);
        let tools = tools.map(|entry| entry.definition.clone()).collect();
        policy.with_catalogue(backend, &Catalogue { tools, ..Catalogue::default() })
    })
}

/// The first tool of the catalogue that must not be reached, and is seen.
fn reached(policy: &Policy, catalogue: &[CatalogueEntry], never: &Never, subject: &Subject) -> Option<String> {
    let forbidden = |entry: &&CatalogueEntry| {
        let (backend, tool) = (&entry.backend.value, &entry.tool.value);
        let tags = policy.tags_of(backend, tool);
        never.reach.tags.iter().any(|tag| tags.contains(&tag.value))
            || never.reach.tools.iter().any(|(on, name)| on.value == *backend && name == tool)
    };
    let seen = |entry: &&CatalogueEntry| policy.view(subject, &entry.backend.value).tool(&entry.tool.value);
    let found = catalogue.iter().filter(forbidden).find(seen)?;
    Some(format!("`{}/{}` is within reach", found.backend.value, found.tool.value))
}

/// A caller without a tenant is of the home tenant: the first listed one without a cap, where tenants are listed.
fn at_home(written: &Written, subject: &Subject) -> Subject {
    let Some(tenants) = written.tenants.as_ref().filter(|_| subject.tenant().is_empty()) else {
        return subject.clone();
    };
    let home = tenants.iter().find(|tenant| tenant.roles.is_none()).or_else(|| tenants.first());
    home.map_or_else(|| subject.clone(), |tenant| subject.in_tenant(&tenant.id))
}

fn sees(policy: &Policy, catalogue: &[CatalogueEntry], case: &Case, subject: &Subject) -> Vec<String> {
    let mut messages = Vec::new();
    for (backend, expected) in &case.sees {
        let view = policy.view(subject, &backend.value);
        let tools = catalogue.iter().filter(|entry| entry.backend.value == backend.value);
        let seen: BTreeSet<&str> =
            tools.map(|entry| entry.tool.value.as_str()).filter(|tool| view.tool(tool)).collect();
        let expected: BTreeSet<&str> = expected.iter().map(|tool| tool.value.as_str()).collect();
        if seen != expected {
            messages.push(format!("sees {} of `{}`, expected {}", names(&seen), backend.value, names(&expected)));
        }
    }
    messages
}

fn names(names: &BTreeSet<&str>) -> String {
    format!("[{}]", names.iter().copied().collect::<Vec<_>>().join(", "))
}

/// In tests a sign-in whose time is given is a fresh one.
const TEST_TIME: u64 = 0;

fn decides(policy: &Policy, call: &Call, subject: &Subject) -> Option<String> {
    let action = match &call.target {
        Target::Tool(name) => Action::CallTool { name },
        Target::Prompt(name) => Action::GetPrompt { name },
        Target::Resource(uri) => Action::ReadResource { uri },
    };
    let with = call.with.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string);
    let arguments = || Some(with.as_str());
    let asked = Asked { action, arguments: &arguments, now: TEST_TIME };
    let (found, why, sent) = match policy.decide(subject, &call.backend.value, &asked) {
        Ok(permit) => (Expect::Allow, permit.to_string(), Some(permit.arguments().unwrap_or(&with).to_owned())),
        Err(denial) => match denial.kind() {
            DenialKind::ScopeMissing { .. } => (Expect::Challenge, denial.to_string(), None),
            DenialKind::NotOpen | DenialKind::Refused { .. } | DenialKind::NotKnownYet => {
                (Expect::Deny, denial.to_string(), None)
            }
        },
    };
    if found != call.expect {
        return Some(format!("expected {}, found {}: {why}", word(call.expect), word(found)));
    }
    if let Some((expected, sent)) = call.sends.as_ref().zip(sent)
        && serde_json::from_str::<serde_json::Value>(&sent).ok().as_ref() != Some(expected)
    {
        return Some(format!("expected to send {expected}, found {sent}"));
    }
    let because = call.because.as_ref()?;
    (!says(&plain(&why), &plain(because))).then(|| format!("expected because `{because}`, found: {why}"))
}

fn word(expect: Expect) -> &'static str {
    match expect {
        Expect::Allow => "allow",
        Expect::Deny => "deny",
        Expect::Challenge => "challenge",
    }
}

/// Whether the text has these words, whole ones.
fn says(text: &str, words: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let whole = |(at, _): (usize, &str)| {
        let (before, after) = (text.get(..at), text.get(at + words.len()..));
        !part(before.and_then(|text| text.chars().next_back())) && !part(after.and_then(|text| text.chars().next()))
    };
    !words.is_empty() && text.match_indices(words).any(whole)
}

fn plain(text: &str) -> String {
    text.replace('`', "")
}
