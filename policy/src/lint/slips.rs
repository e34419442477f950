//! Slips of the pen: what says the same twice, what can never be so, and names that are almost another.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Location;

use super::warn;
use crate::condition::{Answer, Arguments, Condition, Scene, Vocabulary};
use crate::error::Fault;
use crate::glob::NameGlob;
use crate::policy::Policy;
use crate::subject::{Kind, Subject};
use crate::written::{At, PinItems, Written, suggestion};

pub(super) fn find(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    whole_shadow(written, findings);
    said_twice(written, findings);
    inherited_keys(policy, written, findings);
    almost_alike(written, findings);
    foreign_patterns(written, findings);
    misplaced_ids(written, findings);
    settled_conditions(written, findings);
    rules_for_nobody(policy, written, findings);
    idle_ignoring(policy, written, findings);
    idle_pins(policy, written, findings);
    tests_of_slips(policy, written, findings);
    unmet_step_up(written, findings);
}

fn whole_shadow(written: &Written, findings: &mut Vec<Fault>) {
    if let Some(at) = written.shadow {
        let text = "the whole policy is in shadow: whatever carries a tag opens to everybody; for a time only";
        warn(findings, at, text.to_owned());
    }
}

/// Patterns of a tag that another pattern of it covers, and keys that a role lists twice.
fn said_twice(written: &Written, findings: &mut Vec<Fault>) {
    for tagging in written.tools.iter().chain(&written.prompts) {
        for (at, pattern) in tagging.patterns.iter().enumerate() {
            let covers = |(other, by): &(usize, &At<String>)| {
                let same = by.value == pattern.value;
                *other != at && if same { *other < at } else { NameGlob::new(&by.value).matches(&pattern.value) }
            };
            if let Some((_, by)) = tagging.patterns.iter().enumerate().find(covers) {
                let text = format!("`{}` is in `{}` already; take one of the two out", pattern.value, by.value);
                warn(findings, pattern.at, text);
            }
        }
    }
    for role in &written.roles {
        let mut seen = BTreeSet::new();
        for open in role.opens.iter().filter(|open| open.when.is_none() && open.on.is_none()) {
            if !seen.insert(&open.tag.value) {
                let text = format!("the role `{}` opens `{}` twice; take one out", role.name.value, open.tag.value);
                warn(findings, open.tag.at, text);
            }
        }
    }
    let mut names = BTreeSet::new();
    for case in &written.tests.cases {
        if !names.insert(case.name.value.as_str()) {
            let text = format!("two tests are named `{}`; a failure would not say which; rename one", case.name.value);
            warn(findings, case.name.at, text);
        }
    }
}

/// Keys that a role inherits wherever it counts.
fn inherited_keys(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    let compiled = |name: &str| policy.0.roles.iter().find(|role| role.name.as_ref() == name);
    for role in &written.roles {
        let Some(own) = compiled(role.name.value.as_ref()) else { continue };
        let inherited: Vec<_> = role.inherits.iter().filter_map(|name| compiled(name.value.as_ref())).collect();
        for open in role.opens.iter().filter(|open| open.when.is_none() && open.on.is_none()) {
            let bits = own.on.iter().filter_map(|backend| {
                let table = policy.0.backends.get(*backend)?;
                Some((*backend, table.tags.iter().position(|tag| *tag == open.tag.value)?))
            });
            let bits: Vec<(usize, usize)> = bits.collect();
            let inherits = |(backend, bit): &(usize, usize)| {
                let mut keys = inherited.iter().flat_map(|role| &role.keys);
                keys.any(|key| key.backend == *backend && key.bit == *bit && key.when.is_none())
            };
            if !bits.is_empty() && bits.iter().all(inherits) {
                let text =
                    format!("the role `{}` inherits the key for `{}`; take it out", role.name.value, open.tag.value);
                warn(findings, open.tag.at, text);
            }
        }
    }
}

/// Names that differ in case only: both load, and they are two.
fn almost_alike(written: &Written, findings: &mut Vec<Fault>) {
    let tags = [&written.tools, &written.prompts, &written.resources].into_iter().flatten();
    let tags = tags.map(|tagging| (tagging.tag.value.as_ref(), tagging.tag.at));
    let roles = written.roles.iter().map(|role| (role.name.value.as_ref(), role.name.at));
    for (what, names) in [("tag", tags.collect::<Vec<_>>()), ("role", roles.collect())] {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (name, at) in names {
            let other = *seen.entry(name.to_lowercase()).or_insert(name);
            if other != name {
                warn(
                    findings,
                    at,
                    format!("the {what}s `{other}` and `{name}` differ in case only, and are two; write one of them"),
                );
            }
        }
    }
}

/// Patterns in another language than globs.
fn foreign_patterns(written: &Written, findings: &mut Vec<Fault>) {
    for pattern in written.tools.iter().chain(&written.prompts).flat_map(|tagging| &tagging.patterns) {
        let text = pattern.value.as_str();
        let regular = text.starts_with('^') || text.ends_with('$') || text.contains(['|', '(', '[', '?', '+']);
        if regular {
            let said = format!("`{text}` looks like a regular expression; only `*` is special, it stands for anything");
            warn(findings, pattern.at, said);
        } else if text.contains("**") {
            warn(
                findings,
                pattern.at,
                format!("`{text}` has `**`, which is for URIs; in a name `*` is anything already"),
            );
        }
    }
}

/// Object IDs where names belong.
fn misplaced_ids(written: &Written, findings: &mut Vec<Fault>) {
    let guid = |text: &str| text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    for role in &written.roles {
        let listed = role.members.iter().flat_map(|members| members.roles.iter().chain(&members.apps));
        for value in listed.filter(|value| guid(value)) {
            let text = format!("`{value}` is an object ID, and app roles have names; a group goes under `groups`");
            warn(findings, role.name.at, text);
        }
    }
}

/// Conditions that are so, or not so, whoever calls and with whatever arguments.
fn settled_conditions(written: &Written, findings: &mut Vec<Fault>) {
    let keys = written.roles.iter().flat_map(|role| &role.opens).filter_map(|open| open.when.as_ref());
    let rules = written.denies.iter().filter_map(|rule| rule.when.as_ref());
    for when in keys.chain(rules) {
        let Ok(condition) = Condition::parse(&when.value, Vocabulary { roles: true, claims: None }) else { continue };
        if condition.reads_tool {
            continue;
        }
        let answer = |kind: Kind| {
            let caller = Subject::new(kind, "", "");
            condition.answer(&Scene { arguments: Arguments::Anybody, tool: "", backend: "", caller: &caller })
        };
        let word = match [Kind::User, Kind::App, Kind::Public].map(answer) {
            [Answer::True, Answer::True, Answer::True] => "always true",
            [Answer::False, Answer::False, Answer::False] => "never true",
            [Answer::Failed(_), Answer::Failed(_), Answer::Failed(_)] => "never answered",
            _ => continue,
        };
        warn(findings, when.at, format!("the condition `{}` is {word}; take it out, or mend it", when.value));
    }
}

/// Deny rules that spare everybody.
fn rules_for_nobody(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    let roles: BTreeSet<&str> = policy.0.roles.iter().map(|role| role.name.as_ref()).collect();
    for rule in &written.denies {
        let spared: BTreeSet<&str> = rule.unless.iter().map(|role| role.value.as_ref()).collect();
        if !roles.is_empty() && spared == roles {
            warn(
                findings,
                rule.id.at,
                format!(
                    "the deny rule `{}` spares every role, and so denies nothing; shorten its `unless`, or take it out",
                    rule.id.value
                ),
            );
        }
    }
}

/// Grants that ignore tags which the tool does not carry.
fn idle_ignoring(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for grant in written.roles.iter().flat_map(|role| &role.tools) {
        let Some((_, table)) = policy.backend(&grant.backend.value) else { continue };
        let carried: Vec<_> = table.tools.of(&grant.tool).iter().filter_map(|bit| table.tags.get(bit)).collect();
        for tag in grant.ignoring.iter().filter(|tag| !carried.is_empty() && !carried.contains(&&tag.value)) {
            let text = format!(
                "the tool `{}` does not carry the tag `{}` that is ignored; take it out",
                grant.tool, tag.value
            );
            warn(findings, tag.at, text);
        }
    }
}

/// Pins that are for no tool of the tests' catalogue, and exceptions that are none.
fn idle_pins(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for pin in written.pins.iter().filter(|pin| pin.items == PinItems::Tools) {
        for (backend, pattern) in &pin.patterns {
            let mut tools =
                written.tests.catalogue.iter().filter(|entry| entry.backend.value == backend.value).peekable();
            let glob = NameGlob::new(pattern);
            if tools.peek().is_some() && !tools.any(|entry| glob.matches(&entry.tool.value)) {
                let text = format!(
                    "the pin `{}` is for no tool of `{}` in the tests' catalogue; mend its pattern, or add the tool there",
                    pin.id.value, backend.value
                );
                warn(findings, pin.id.at, text);
            }
        }
        for (backend, tool) in &pin.except {
            let within =
                |(on, pattern): &(At<_>, String)| on.value == backend.value && NameGlob::new(pattern).matches(tool);
            if !pin.patterns.iter().any(within) {
                let text = format!(
                    "the pin `{}` is not for `{tool}` anyway, so that the exception says nothing; take it out",
                    pin.id.value
                );
                warn(findings, backend.at, text);
            }
        }
    }
    let tested = crate::cases::with_catalogues(policy, written);
    for backend in tested.0.backends.iter().map(|table| &table.name) {
        for finding in tested.catalogue_findings(backend) {
            let is_of = |entry: &&crate::written::CatalogueEntry| {
                entry.backend.value == *backend && finding.starts_with(&format!("the tool `{}` of ", entry.tool.value))
            };
            let at = written.tests.catalogue.iter().find(is_of).map_or(Location::UNKNOWN, |entry| entry.tool.at);
            let text = format!("in the tests' catalogue of `{backend}`: {finding}; mend the entry, or the rule");
            warn(findings, at, text);
        }
    }
}

/// Role values in tests that nobody is given anything by, and that are almost one that somebody is.
fn tests_of_slips(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    let members = &policy.0.members;
    let known: BTreeSet<&str> = members.users.keys().chain(members.apps.keys()).map(String::as_str).collect();
    let cases = written.tests.cases.iter().map(|case| (&case.subject, case.name.at));
    let never = written.tests.never.iter().map(|never| (&never.subject, never.at));
    for (subject, at) in cases.chain(never) {
        for role in subject.roles().iter().filter(|role| !known.contains(role.as_str())) {
            if let Some(hint) = suggestion(role, known.iter().copied()) {
                warn(findings, at, format!("no role is given by `{role}`; {hint}"));
            }
        }
    }
}

/// A step-up on what only applications hold keys for: nobody could ever meet it.
fn unmet_step_up(written: &Written, findings: &mut Vec<Fault>) {
    for tag in written.tags.iter().flatten().filter(|tag| tag.step_up.is_some()) {
        let inherited: BTreeSet<&str> =
            written.roles.iter().flat_map(|role| &role.inherits).map(|role| role.value.as_ref()).collect();
        let mut openers =
            written.roles.iter().filter(|role| role.opens.iter().any(|open| open.tag.value == tag.name.value));
        let for_apps = |role: &crate::written::RoleDecl| {
            let apps = role.members.as_ref().is_some_and(|m| m.roles.is_empty() && m.groups.is_empty() && !m.public);
            apps && !inherited.contains(role.name.value.as_ref())
        };
        let some = written.roles.iter().any(|role| role.opens.iter().any(|open| open.tag.value == tag.name.value));
        if some && openers.all(for_apps) {
            let text = format!(
                "only applications hold a key for `{}`, and they never meet a step-up; take `step_up` out",
                tag.name.value
            );
            warn(findings, tag.name.at, text);
        }
    }
}
