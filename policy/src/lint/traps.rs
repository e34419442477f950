//! Traps of the language: what is read as one thing and means another.

use std::collections::BTreeSet;
use std::time::Duration;

use super::warn;
use crate::condition::{Answer, Arguments, Condition, Scene, Vocabulary};
use crate::error::Fault;
use crate::policy::Policy;
use crate::subject::{Kind, Subject};
use crate::written::{At, Deny, RoleDecl, Trust, Written};

/// A sign-in is followed by a redirect, a token and a call; less than this is over before the call comes.
const SHORTEST_MAX_AGE: Duration = Duration::from_secs(60);

pub(super) fn find(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    patterns_for_the_future(written, findings);
    conditions_no_holder_meets(written, findings);
    imports_without_a_first_lock(written, findings);
    rates_for_nobody(written, findings);
    twin_roles(written, findings);
    idle_backends(policy, written, findings);
    caps_of_nothing(policy, written, findings);
    lists_in_one_text(written, findings);
    covered_rules(policy, written, findings);
    exceptions_for_nobody(written, findings);
    hasty_step_up(written, findings);
    shared_work(policy, written, findings);
}

/// `*` beside narrower tags: what the server adds tomorrow opens by the one tag.
fn patterns_for_the_future(written: &Written, findings: &mut Vec<Fault>) {
    for tagging in &written.tools {
        let others = written
            .tools
            .iter()
            .any(|other| other.backend.value == tagging.backend.value && other.tag.value != tagging.tag.value);
        for pattern in tagging.patterns.iter().filter(|pattern| others && pattern.value == "*") {
            let (tag, backend) = (&tagging.tag.value, &tagging.backend.value);
            let text =
                format!("`*` lets every tool that `{backend}` gets later open by `{tag}` alone; use narrower patterns");
            warn(findings, pattern.at, text);
        }
    }
}

/// Whether every holder of the role's keys is a program, or every one a person; `None` where both may be.
fn only_kind(written: &Written, role: &RoleDecl) -> Option<Kind> {
    let inherited = written.roles.iter().any(|other| other.inherits.iter().any(|up| up.value == role.name.value));
    match &role.members {
        _ if inherited => None,
        None => Some(Kind::User),
        Some(members) if members.public => None,
        Some(members) => match (members.apps.is_empty(), members.roles.is_empty() && members.groups.is_empty()) {
            (true, false) => Some(Kind::User),
            (false, true) => Some(Kind::App),
            _ => None,
        },
    }
}

/// A key of programs that is for users, or the other way round.
fn conditions_no_holder_meets(written: &Written, findings: &mut Vec<Fault>) {
    for role in &written.roles {
        let Some(kind) = only_kind(written, role) else { continue };
        for when in role.opens.iter().filter_map(|open| open.when.as_ref()) {
            let Ok(condition) = Condition::parse(&when.value, Vocabulary { roles: false, claims: None }) else {
                continue;
            };
            let answer = |kind: Kind| {
                let caller = Subject::new(kind, "", "");
                condition.answer(&Scene { arguments: Arguments::Anybody, tool: "", backend: "", caller: &caller })
            };
            let other = if kind == Kind::App { Kind::User } else { Kind::App };
            if !condition.reads_tool && answer(kind) == Answer::False && answer(other) != Answer::False {
                let holders = if kind == Kind::App { "applications" } else { "users" };
                let text = format!(
                    "only {holders} hold the role `{}`, and the condition is never true of them; see its `members`",
                    role.name.value
                );
                warn(findings, when.at, text);
            }
        }
    }
}

/// A narrow import adds locks, and a tool that the operator did not tag stays shut.
fn imports_without_a_first_lock(written: &Written, findings: &mut Vec<Fault>) {
    for import in written.imports.iter().filter(|import| import.trust == Trust::Narrow) {
        let backend = &import.backend.value;
        if !written.tools.iter().any(|tagging| tagging.backend.value == *backend && !tagging.patterns.is_empty()) {
            let text = format!(
                "`trust: narrow` only adds locks, and nothing on `{backend}` has one of yours; tag its tools, or trust it in full"
            );
            warn(findings, import.backend.at, text);
        }
    }
}

/// Whether no token gives the role.
fn is_held_by_nobody(role: &RoleDecl) -> bool {
    role.members.as_ref().is_some_and(crate::written::Members::is_empty)
}

/// A rate on a role that only others inherit.
fn rates_for_nobody(written: &Written, findings: &mut Vec<Fault>) {
    for role in written.roles.iter().filter(|role| role.rate.is_some() && is_held_by_nobody(role)) {
        let text = format!(
            "the rate of the role `{}` counts for nobody; rates are not inherited, write it on the roles that callers hold",
            role.name.value
        );
        warn(findings, role.name.at, text);
    }
}

fn names(on: Option<&Vec<At<String>>>) -> Option<BTreeSet<&str>> {
    on.map(|on| on.iter().map(|name| name.value.as_str()).collect())
}

/// What a role gives, as a text to compare.
fn gives(role: &RoleDecl) -> String {
    let keys: BTreeSet<String> = role
        .opens
        .iter()
        .map(|open| {
            format!("{} {:?} {:?}", open.tag.value, names(open.on.as_ref()), open.when.as_ref().map(|w| &w.value))
        })
        .collect();
    let grants: BTreeSet<String> = role
        .tools
        .iter()
        .map(|grant| {
            let ignoring: BTreeSet<_> = grant.ignoring.iter().map(|tag| &tag.value).collect();
            format!("{}/{} {ignoring:?}", grant.backend.value, grant.tool)
        })
        .collect();
    let inherits: BTreeSet<&str> = role.inherits.iter().map(|up| up.value.as_ref()).collect();
    format!("{:?} {keys:?} {grants:?} {inherits:?} {:?} {}", names(role.on.as_ref()), role.rate, role.shadow)
}

/// Two roles that are one: a change to one of them is forgotten in the other.
fn twin_roles(written: &Written, findings: &mut Vec<Fault>) {
    let named: BTreeSet<&str> = written
        .denies
        .iter()
        .flat_map(|rule| &rule.unless)
        .chain(written.tenants.iter().flatten().filter_map(|tenant| tenant.roles.as_ref()).flatten())
        .map(|role| role.value.as_ref())
        .collect();
    for (at, role) in written.roles.iter().enumerate() {
        let plain = !role.opens.is_empty() && !named.contains(role.name.value.as_ref());
        let mut earlier = written.roles.iter().take(at);
        let twin = earlier.find(|other| !named.contains(other.name.value.as_ref()) && gives(other) == gives(role));
        if let Some(twin) = twin.filter(|_| plain) {
            let text = format!(
                "the roles `{}` and `{}` hold the same keys; make them one with the `members` of both",
                twin.name.value, role.name.value
            );
            warn(findings, role.name.at, text);
        }
    }
}

/// Backends that a role counts on without a key there.
fn idle_backends(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for role in written.roles.iter().filter(|role| !role.opens.is_empty() || !role.tools.is_empty()) {
        let Some(compiled) = policy.0.roles.iter().find(|known| known.name == role.name.value) else { continue };
        for on in role.on.iter().flatten().filter(|on| on.value != "*") {
            let Some(index) = policy.0.backends.iter().position(|table| table.name.as_ref() == on.value) else {
                continue;
            };
            let keys = compiled.keys.iter().any(|key| key.backend == index);
            if !keys && !compiled.grants.iter().any(|grant| grant.backend == index) {
                let text = format!(
                    "the role `{}` opens nothing on `{}`, where none of its tags is; take the backend out, or tag there",
                    role.name.value, on.value
                );
                warn(findings, on.at, text);
            }
        }
    }
}

/// Tenants that are listed and reach nothing.
fn caps_of_nothing(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for tenant in written.tenants.iter().flatten() {
        let Some(roles) = &tenant.roles else { continue };
        let holds = |name: &str| {
            policy
                .0
                .roles
                .iter()
                .any(|role| role.name.as_ref() == name && !(role.keys.is_empty() && role.grants.is_empty()))
        };
        if !roles.iter().any(|role| holds(role.value.as_ref())) {
            let text = format!(
                "the tenant `{}` is capped to nothing; name roles with keys, or take the tenant out",
                tenant.id
            );
            warn(findings, tenant.at, text);
        }
    }
}

/// Several values in one pair of quotes.
fn lists_in_one_text(written: &Written, findings: &mut Vec<Fault>) {
    for role in &written.roles {
        let members = role.members.iter().flat_map(|members| members.roles.iter().chain(&members.apps));
        let values = members.map(String::as_str).chain(role.members.is_none().then_some(role.name.value.as_ref()));
        for value in values.filter(|value| value.contains([' ', ',', ';'])) {
            let text = format!("`{value}` is one value, and app-role values have no spaces or commas; write a list");
            warn(findings, role.name.at, text);
        }
    }
    for pattern in written.tools.iter().flat_map(|tagging| &tagging.patterns) {
        if pattern.value.contains([' ', ',', ';']) {
            let text = format!(
                "`{}` is one pattern, and tools have no spaces or commas in their names; write a list",
                pattern.value
            );
            warn(findings, pattern.at, text);
        }
    }
}

/// Rules that another one makes idle: it denies whatever they would, and spares no more.
fn covered_rules(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    let on = |rule: &Deny| -> BTreeSet<String> {
        let all = || policy.0.backends.iter().map(|table| table.name.to_string()).collect();
        match &rule.on {
            Some(on) if !on.iter().any(|name| name.value == "*") => on.iter().map(|name| name.value.clone()).collect(),
            _ => all(),
        }
    };
    let tags = |rule: &Deny| -> BTreeSet<String> { rule.tags.iter().map(|tag| tag.value.to_string()).collect() };
    let unless = |rule: &Deny| -> BTreeSet<String> { rule.unless.iter().map(|role| role.value.to_string()).collect() };
    for (at, rule) in written.denies.iter().enumerate() {
        let covers = |(place, by): &(usize, &Deny)| {
            let stronger = *place != at
                && !by.shadow
                && by.when.is_none()
                && tags(by).is_superset(&tags(rule))
                && on(by).is_superset(&on(rule))
                && unless(by).is_subset(&unless(rule));
            // Of two that say the same, the later one is idle.
            let same = !rule.shadow && rule.when.is_none() && tags(by) == tags(rule) && unless(by) == unless(rule);
            stronger && (!same || on(by) != on(rule) || *place < at)
        };
        if let Some((_, by)) = written.denies.iter().enumerate().find(covers) {
            let idle = if rule.shadow { "records nothing" } else { "denies nothing more" };
            let text = format!(
                "the deny rule `{}` {idle}: `{}` denies all of it already; take one of the two out",
                rule.id.value, by.id.value
            );
            warn(findings, rule.id.at, text);
        }
    }
}

/// `unless` is for members; who inherits from a role is none.
fn exceptions_for_nobody(written: &Written, findings: &mut Vec<Fault>) {
    for name in written.denies.iter().flat_map(|rule| &rule.unless) {
        if written.roles.iter().any(|role| role.name.value == name.value && is_held_by_nobody(role)) {
            let text = format!(
                "nobody is a member of `{}`, and inheriting from it is no exception; name the roles that callers hold",
                name.value
            );
            warn(findings, name.at, text);
        }
    }
}

fn hasty_step_up(written: &Written, findings: &mut Vec<Fault>) {
    for tag in written.tags.iter().flatten() {
        let age = tag.step_up.as_ref().and_then(|step_up| step_up.max_age);
        if age.is_some_and(|age| age < SHORTEST_MAX_AGE) {
            let text = format!(
                "a sign-in for `{}` is too old after less than a minute, often before the call comes; allow more",
                tag.name.value
            );
            warn(findings, tag.name.at, text);
        }
    }
}

/// Tools that no one role opens: most often a pattern that reached further than was meant.
fn shared_work(policy: &Policy, written: &Written, findings: &mut Vec<Fault>) {
    for entry in &written.tests.catalogue {
        let Some((index, table)) = policy.backend(&entry.backend.value) else { continue };
        let tool = &entry.tool.value;
        let locks = table.tool_locks(tool);
        let opened = || !policy.tool_openers(&entry.backend.value, tool).is_empty();
        // What a rule shuts to all but its exceptions takes two roles on purpose.
        let excepted = || {
            let mut rules = policy.0.denies.iter().filter(|rule| !rule.unless.is_empty());
            rules.any(|rule| rule.tags.get(index).is_some_and(|tags| tags.meets(locks)))
        };
        if locks.is_empty() || !super::reachable(policy, index, tool, locks) || opened() || excepted() {
            continue;
        }
        let tags: Vec<String> =
            locks.iter().filter_map(|bit| table.tags.get(bit)).map(|tag| format!("`{tag}`")).collect();
        let text = format!(
            "no role opens the tool `{tool}` on its own: it carries {}; see whether a pattern reaches too far",
            tags.join(" and ")
        );
        warn(findings, entry.tool.at, text);
    }
}
