//! Tests that cannot fail, and what they leave out.

use std::collections::BTreeSet;

use super::warn;
use crate::error::Fault;
use crate::policy::Policy;
use crate::written::{Expect, Written};

pub(super) fn find(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    nothing_refused(written, findings);
    idle_never(policy, written, findings);
    imports_without_a_tool(written, findings);
}

/// Cases that would pass under a policy which opens everything.
fn nothing_refused(written: &Written, findings: &mut Vec<Fault>) {
    let tests = &written.tests;
    let leaves_out = |(backend, seen): &(crate::written::At<crate::names::BackendName>, Vec<_>)| {
        tests.catalogue.iter().filter(|entry| entry.backend.value == backend.value).count() > seen.len()
    };
    let refuses = tests.cases.iter().any(|case| {
        case.call.as_ref().is_some_and(|call| call.expect != Expect::Allow) || case.sees.iter().any(leaves_out)
    });
    if let Some(first) = tests.cases.first().filter(|_| !refuses && tests.never.is_empty()) {
        let text = "no test expects a refusal, so that all pass where everything is open; add one with `expect: deny`";
        warn(findings, first.name.at, text.to_owned());
    }
}

/// A `never` that no tool of the catalogue could break.
fn idle_never(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    let tests = &written.tests;
    let tested = crate::cases::with_catalogues(policy, written);
    for never in &tests.never {
        if tests.catalogue.is_empty() {
            let text = "`never` looks at the tests' catalogue, and there is none; list the tools";
            warn(findings, never.at, text.to_owned());
            continue;
        }
        let carried: BTreeSet<_> =
            tests.catalogue.iter().flat_map(|entry| tested.tags_of(&entry.backend.value, &entry.tool.value)).collect();
        for tag in never.reach.tags.iter().filter(|tag| !carried.contains(&tag.value)) {
            let text = format!(
                "no tool of the tests' catalogue carries `{}`, so that this `never` says nothing of it; add one",
                tag.value
            );
            warn(findings, tag.at, text);
        }
        for (backend, tool) in &never.reach.tools {
            let known = |entry: &crate::written::CatalogueEntry| {
                entry.backend.value == backend.value && entry.tool.value == *tool
            };
            if !tests.catalogue.iter().any(known) {
                let text = format!("`{}/{tool}` is not in the tests' catalogue; add it", backend.value);
                warn(findings, backend.at, text);
            }
        }
    }
}

/// Imports of which the catalogue shows nothing.
fn imports_without_a_tool(written: &Written, findings: &mut Vec<Fault>) {
    for import in &written.imports {
        let backend = &import.backend.value;
        let mut tools = written.tests.catalogue.iter().filter(|entry| entry.backend.value == *backend).peekable();
        let says = |entry: &crate::written::CatalogueEntry| {
            (import.meta && entry.definition.meta.is_some())
                || (import.annotations && entry.definition.annotations.is_some())
        };
        if tools.peek().is_some() && !tools.any(says) {
            let text = format!(
                "no tool of `{backend}` in the tests' catalogue declares what is imported; write `{{ name, meta, annotations }}`"
            );
            warn(findings, import.backend.at, text);
        }
    }
}
