//! What loads, but probably does not say what was meant.
//!
//! Here stands what opens to nobody and what opens nothing; `slips` finds slips of the pen, `traps` what the language
//! reads otherwise than people do, `untested` tests that cannot fail.

mod slips;
mod traps;
mod untested;

use std::collections::BTreeSet;

use serde_saphyr::Location;

use crate::compiled::{Bits, DenyRule};
use crate::condition::{Condition, Vocabulary};
use crate::document::Document;
use crate::error::{Fault, Severity};
use crate::glob::NameGlob;
use crate::names::Tag;
use crate::policy::Policy;
use crate::written::Written;

pub(crate) fn lint(policy: &Policy, document: &Document) -> Vec<Fault> {
    let (written, _) = Written::read(document);
    // What the tests say of tools counts where decisions go by a catalogue.
    let policy = &crate::cases::with_catalogues(policy, &written);
    let mut findings = Vec::new();
    keys_without_locks(&written, &mut findings);
    locks_without_keys(&written, &mut findings);
    unused_vocabulary(&written, &mut findings);
    unreachable_roles(&written, &mut findings);
    patterns_without_items(&written, &mut findings);
    shut_items(policy, &written, &mut findings);
    empty_grants(policy, &written, &mut findings);
    silent_backends(policy, &mut findings);
    conditions_on_nothing(policy, &written, &mut findings);
    slips::find(policy, &written, &mut findings);
    traps::find(policy, &written, &mut findings);
    untested::find(policy, &written, &mut findings);
    findings.sort_by_key(|fault| (fault.line, fault.column));
    findings
}

fn warn(findings: &mut Vec<Fault>, at: Location, message: String) {
    findings.push(Fault { line: at.line(), column: at.column(), severity: Severity::Warning, message });
}

/// The tags that something carries, or may come to carry by an import.
fn carried(written: &Written) -> BTreeSet<&Tag> {
    let imported = written.tags.iter().flatten().filter(|_| !written.imports.is_empty()).map(|tag| &tag.name.value);
    written.carried().into_iter().chain(imported).collect()
}

fn keys_without_locks(written: &Written, findings: &mut Vec<Fault>) {
    let carried = carried(written);
    for open in written.roles.iter().flat_map(|role| &role.opens) {
        if !carried.contains(&open.tag.value) {
            let tag = &open.tag.value;
            warn(
                findings,
                open.tag.at,
                format!("nothing carries the tag `{tag}`; tag something, or take the key away"),
            );
        }
    }
    for tag in written.denies.iter().flat_map(|deny| &deny.tags) {
        if !carried.contains(&tag.value) {
            warn(findings, tag.at, format!("nothing carries the tag `{}`; the rule denies nothing", tag.value));
        }
    }
}

fn locks_without_keys(written: &Written, findings: &mut Vec<Fault>) {
    let opened: BTreeSet<&Tag> =
        written.roles.iter().flat_map(|role| &role.opens).map(|open| &open.tag.value).collect();
    for tagging in [&written.tools, &written.prompts, &written.resources].into_iter().flatten() {
        if !opened.contains(&tagging.tag.value) {
            let tag = &tagging.tag.value;
            warn(
                findings,
                tagging.tag.at,
                format!("no role opens the tag `{tag}`; what carries it opens by a grant or to nobody"),
            );
        }
    }
}

fn unused_vocabulary(written: &Written, findings: &mut Vec<Fault>) {
    let carried = carried(written);
    for tag in written.tags.iter().flatten().filter(|tag| !carried.contains(&tag.name.value)) {
        let text = format!(
            "the tag `{}` is declared and nothing carries it; tag something with it, or take it out",
            tag.name.value
        );
        warn(findings, tag.name.at, text);
    }
}

/// A role that no token gives and no role inherits.
fn unreachable_roles(written: &Written, findings: &mut Vec<Fault>) {
    let inherited: BTreeSet<&str> =
        written.roles.iter().flat_map(|role| &role.inherits).map(|role| role.value.as_ref()).collect();
    for role in &written.roles {
        let nobody = role.members.as_ref().is_some_and(crate::written::Members::is_empty);
        let name = &role.name.value;
        if nobody && !inherited.contains(name.as_ref()) {
            warn(findings, role.name.at, format!("nobody can hold the role `{name}`; name its `members`"));
        }
        // Who holds a role only to be an exception to a rule needs no key of it.
        let excepted = written.denies.iter().flat_map(|rule| &rule.unless).any(|role| role.value == *name);
        if role.opens.is_empty() && role.tools.is_empty() && role.inherits.is_empty() && !excepted {
            warn(findings, role.name.at, format!("the role `{name}` opens nothing; give it `opens`"));
        }
    }
}

/// Patterns against the catalogue of the tests, where the backend has one.
fn patterns_without_items(written: &Written, findings: &mut Vec<Fault>) {
    for tagging in &written.tools {
        let backend = &tagging.backend.value;
        let mut tools = written.tests.catalogue.iter().filter(|entry| entry.backend.value == *backend).peekable();
        if tools.peek().is_none() {
            continue;
        }
        let tools: Vec<&str> = tools.map(|entry| entry.tool.value.as_str()).collect();
        for pattern in &tagging.patterns {
            let glob = NameGlob::new(&pattern.value);
            if !tools.iter().any(|tool| glob.matches(tool)) {
                let text = format!(
                    "`{}` matches no tool of `{backend}` in the tests' catalogue; mend it, or add the tool there",
                    pattern.value
                );
                warn(findings, pattern.at, text);
            }
        }
    }
}

/// Tools of the catalogue that open to nobody, whatever roles they hold.
fn shut_items(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for entry in &written.tests.catalogue {
        let Some((index, table)) = policy.backend(&entry.backend.value) else { continue };
        let (tool, locks) = (&entry.tool.value, table.tool_locks(&entry.tool.value));
        if locks.is_empty() {
            warn(findings, entry.tool.at, format!("the tool `{tool}` carries no tag and opens to nobody; tag it"));
        } else if !reachable(policy, index, tool, locks) {
            let text =
                format!("nobody can reach the tool `{tool}`; no role holds every key, or a deny rule spares nobody");
            warn(findings, entry.tool.at, text);
        }
    }
}

/// Whether the holder of every role gets in.
fn reachable(policy: &Policy, backend: usize, tool: &str, locks: Bits) -> bool {
    let mut keys = Bits::default();
    for key in policy.0.roles.iter().flat_map(|role| &role.keys).filter(|key| key.backend == backend) {
        keys.insert(key.bit);
    }
    let mut grants = policy.0.roles.iter().flat_map(|role| &role.grants);
    let granted = grants
        .any(|grant| grant.backend == backend && grant.tool == tool && locks.without(grant.ignoring).within(keys));
    let shut = |rule: &DenyRule| {
        rule.is_plain() && rule.unless.is_empty() && rule.tags.get(backend).is_some_and(|tags| tags.meets(locks))
    };
    (granted || locks.within(keys)) && !policy.0.denies.iter().any(shut)
}

/// Grants of tools that carry no tag.
fn empty_grants(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for grant in written.roles.iter().flat_map(|role| &role.tools) {
        let table = policy.backend(&grant.backend.value);
        if table.is_some_and(|(_, table)| table.tool_locks(&grant.tool).is_empty()) {
            let text = format!("the tool `{}` carries no tag, so that this opens nothing; tag it first", grant.tool);
            warn(findings, grant.backend.at, text);
        }
    }
}

/// Configured backends on which nothing carries a tag.
fn silent_backends(policy: &Policy, findings: &mut Vec<Fault>) {
    for backend in policy.0.backends.iter().filter(|backend| backend.tags.is_empty()) {
        let text = format!(
            "nothing on the backend `{}` carries a tag, so that it opens to nobody; tag its tools",
            backend.name
        );
        warn(findings, Location::UNKNOWN, text);
    }
}

/// Conditions on arguments that no tool with the tag has, by the schemas of the tests' catalogue.
fn conditions_on_nothing(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    let of_keys = written.roles.iter().flat_map(|role| &role.opens);
    let of_keys = of_keys.filter_map(|open| Some((vec![&open.tag.value], open.when.as_ref()?)));
    let of_rules = written.denies.iter().filter_map(|rule| {
        let tags = rule.tags.iter().map(|tag| &tag.value).collect::<Vec<_>>();
        Some((tags, rule.when.as_ref()?))
    });
    for (tags, when) in of_keys.chain(of_rules) {
        let vocabulary = Vocabulary { roles: true, claims: None };
        let Ok(condition) = Condition::parse(&when.value, vocabulary) else { continue };
        for entry in &written.tests.catalogue {
            let Some(schema) = &entry.definition.input_schema else { continue };
            let carries = policy.tags_of(&entry.backend.value, &entry.tool.value);
            let has = |name: &str| schema.get("properties").is_some_and(|properties| properties.get(name).is_some());
            let missing = condition.arguments.iter().find(|name| !has(name));
            if let Some(missing) = missing.filter(|_| tags.iter().any(|tag| carries.contains(tag))) {
                let tool = &entry.tool.value;
                warn(
                    findings,
                    when.at,
                    format!(
                        "the tool `{tool}` has no argument `{missing}`, so that the condition fails on it; mend the name, or the tool's schema in the tests' catalogue"
                    ),
                );
            }
        }
    }
}
