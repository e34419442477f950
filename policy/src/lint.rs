//! What loads, but probably does not say what was meant.

use std::collections::BTreeSet;

use serde_saphyr::Location;

use crate::compiled::Bits;
use crate::document::Document;
use crate::error::{Fault, Severity};
use crate::glob::{NameGlob, UriGlob};
use crate::names::Tag;
use crate::policy::Policy;
use crate::written::Written;

pub(crate) fn lint(policy: &Policy, document: &Document) -> Vec<Fault> {
    let (written, _) = Written::read(document);
    let mut findings = Vec::new();
    keys_without_locks(&written, &mut findings);
    locks_without_keys(&written, &mut findings);
    unused_vocabulary(&written, &mut findings);
    unreachable_roles(&written, &mut findings);
    patterns_without_items(&written, &mut findings);
    untagged_items(policy, &written, &mut findings);
    findings.sort_by_key(|fault| (fault.line, fault.column));
    findings
}

fn warn(findings: &mut Vec<Fault>, at: Location, message: String) {
    findings.push(Fault { line: at.line(), column: at.column(), severity: Severity::Warning, message });
}

fn carried(written: &Written) -> BTreeSet<&Tag> {
    let taggings = [&written.tools, &written.prompts, &written.resources].into_iter().flatten();
    taggings.filter(|tagging| !tagging.patterns.is_empty()).map(|tagging| &tagging.tag.value).collect()
}

fn keys_without_locks(written: &Written, findings: &mut Vec<Fault>) {
    let carried = carried(written);
    for open in written.roles.iter().flat_map(|role| &role.opens) {
        if !carried.contains(&open.tag.value) {
            let tag = &open.tag.value;
            warn(findings, open.tag.at, format!("nothing carries the tag `{tag}`; tag something, or take the key away"));
        }
    }
    for tag in written.denies.iter().flat_map(|deny| &deny.tags) {
        if !carried.contains(&tag.value) {
            warn(findings, tag.at, format!("nothing carries the tag `{}`; the rule denies nothing", tag.value));
        }
    }
}

fn locks_without_keys(written: &Written, findings: &mut Vec<Fault>) {
    let opened: BTreeSet<&Tag> = written.roles.iter().flat_map(|role| &role.opens).map(|open| &open.tag.value).collect();
    for tagging in [&written.tools, &written.prompts, &written.resources].into_iter().flatten() {
        if !opened.contains(&tagging.tag.value) {
            let tag = &tagging.tag.value;
            warn(findings, tagging.tag.at, format!("no role opens the tag `{tag}`; what carries it opens by a grant or to nobody"));
        }
    }
}

fn unused_vocabulary(written: &Written, findings: &mut Vec<Fault>) {
    let carried = carried(written);
    for tag in written.tags.iter().flatten().filter(|tag| !carried.contains(&tag.name.value)) {
        warn(findings, tag.name.at, format!("the tag `{}` is declared and nothing carries it", tag.name.value));
    }
}

/// A role that no token gives and no role inherits.
fn unreachable_roles(written: &Written, findings: &mut Vec<Fault>) {
    let inherited: BTreeSet<&str> =
        written.roles.iter().flat_map(|role| &role.inherits).map(|role| role.value.as_ref()).collect();
    for role in &written.roles {
        let nobody = role.members.as_ref().is_some_and(|m| m.roles.is_empty() && m.apps.is_empty() && m.groups.is_empty());
        let name = &role.name.value;
        if nobody && !inherited.contains(name.as_ref()) {
            warn(findings, role.name.at, format!("nobody can hold the role `{name}`; name its `members`"));
        }
        if role.opens.is_empty() && role.tools.is_empty() && role.inherits.is_empty() {
            warn(findings, role.name.at, format!("the role `{name}` opens nothing; give it `opens`"));
        }
    }
}

/// Patterns against the catalogue of the tests, where the backend has one.
fn patterns_without_items(written: &Written, findings: &mut Vec<Fault>) {
    for tagging in &written.tools {
        let backend = &tagging.backend.value;
        let mut tools = written.catalogue.iter().filter(|entry| entry.backend.value == *backend).peekable();
        if tools.peek().is_none() {
            continue;
        }
        let tools: Vec<&str> = tools.map(|entry| entry.tool.as_str()).collect();
        for pattern in &tagging.patterns {
            let glob = NameGlob::new(&pattern.value);
            if !tools.iter().any(|tool| glob.matches(tool)) {
                let text = format!("`{}` matches no tool of `{backend}` in the tests' catalogue", pattern.value);
                warn(findings, pattern.at, text);
            }
        }
    }
    for pattern in written.resources.iter().flat_map(|tagging| &tagging.patterns) {
        let sample = pattern.value.replace('*', "x");
        if !UriGlob::new(&pattern.value).matches(&sample) {
            warn(findings, pattern.at, format!("`{}` can match no URI; remove dot segments and encoded slashes", pattern.value));
        }
    }
}

/// Tools of the catalogue that open to nobody.
fn untagged_items(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for entry in &written.catalogue {
        let Some((_, table)) = policy.backend(&entry.backend.value) else { continue };
        if table.tools.of(&entry.tool) == Bits::default() {
            let text = format!("the tool `{}` carries no tag and opens to nobody; tag it", entry.tool);
            warn(findings, entry.backend.at, text);
        }
    }
}
