//! What the policy language promises, held against random policies.
//!
//! `Model` is a policy as data. `reference` says in ten lines what it means; the compiled policy must agree about every
//! caller and every tool. `PROPTEST_CASES` raises the number of policies tried.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use portcullis_policy::{Act, Action, BackendName, DenialKind, Kind, Policy, Scopes, Subject};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use proptest::strategy::ValueTree;

const BACKENDS: [&str; 2] = ["one", "two"];
const TAGS: [&str; 4] = ["a", "b", "c", "d"];
const ROLES: [&str; 4] = ["R0", "R1", "R2", "R3"];
const TOOLS: [&str; 6] = ["t0", "t1", "t2", "get_x", "get_y", "other"];
const TENANTS: [&str; 2] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];

#[derive(Clone, Debug)]
struct Role {
    on: BTreeSet<usize>,
    opens: BTreeSet<usize>,
    /// Roles declared earlier, so that there is no circle.
    inherits: BTreeSet<usize>,
    /// A backend of `on`, a tool, the tags ignored there.
    grants: Vec<(usize, usize, BTreeSet<usize>)>,
}

#[derive(Clone, Debug)]
struct Deny {
    tags: BTreeSet<usize>,
    on: BTreeSet<usize>,
    unless: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Model {
    roles: Vec<Role>,
    /// Backend, pattern, tag.
    tagged: BTreeSet<(usize, &'static str, usize)>,
    denies: Vec<Deny>,
    /// The second tenant's ceiling, where tenants are listed.
    ceiling: Option<BTreeSet<usize>>,
}

#[derive(Clone, Debug)]
struct Caller {
    roles: BTreeSet<usize>,
    tenant: usize,
    scopes: Option<BTreeSet<usize>>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Outcome {
    Open,
    Scope,
    Shut,
}

impl Model {
    fn tags(&self, backend: usize, tool: &str) -> BTreeSet<usize> {
        let fits =
            |pattern: &str| pattern == tool || pattern.strip_suffix('*').is_some_and(|start| tool.starts_with(start));
        self.tagged.iter().filter(|(on, pattern, _)| *on == backend && fits(pattern)).map(|(_, _, tag)| *tag).collect()
    }

    fn lineage(&self, role: usize) -> BTreeSet<usize> {
        let mut all = BTreeSet::from([role]);
        self.roles[role].inherits.iter().for_each(|parent| all.extend(self.lineage(*parent)));
        all
    }

    /// What these roles hold on a backend: keys, and for each grant of the tool the tags that still need a key.
    fn held(&self, roles: &BTreeSet<usize>, backend: usize, tool: usize) -> (BTreeSet<usize>, Vec<BTreeSet<usize>>) {
        let all: BTreeSet<usize> = roles.iter().flat_map(|role| self.lineage(*role)).collect();
        let on = |role: &&usize| self.roles[**role].on.contains(&backend);
        let keys = all.iter().filter(on).flat_map(|role| self.roles[*role].opens.clone()).collect();
        let grants = all.iter().flat_map(|role| &self.roles[*role].grants).filter(|g| g.0 == backend && g.1 == tool);
        let tags = self.tags(backend, TOOLS[tool]);
        (keys, grants.map(|(_, _, ignored)| &tags - ignored).collect())
    }

    /// The meaning of the language, in ten lines.
    fn reference(&self, caller: &Caller, backend: usize, tool: usize) -> Outcome {
        let ceiling = self.ceiling.as_ref().filter(|_| caller.tenant == 1);
        let (locks, exempt) =
            (self.tags(backend, TOOLS[tool]), ceiling.map_or(caller.roles.clone(), |c| c & &caller.roles));
        let fires = |d: &&Deny| d.on.contains(&backend) && !d.tags.is_disjoint(&locks) && d.unless.is_disjoint(&exempt);
        let (mut keys, mut grants) = self.held(&caller.roles, backend, tool);
        if let Some((most, capped)) = ceiling.map(|roles| self.held(roles, backend, tool)) {
            keys = &keys & &most;
            grants = grants.iter().flat_map(|mine| capped.iter().map(move |theirs| mine | theirs)).collect();
        }
        let opens = locks.is_subset(&keys) || grants.iter().any(|remaining| remaining.is_subset(&keys));
        let covered = caller.scopes.as_ref().is_none_or(|scopes| locks.is_subset(scopes));
        if locks.is_empty() || self.denies.iter().any(|d| fires(&d)) || !opens {
            return Outcome::Shut;
        }
        if covered { Outcome::Open } else { Outcome::Scope }
    }

    fn yaml(&self) -> String {
        let list = |names: Vec<String>| format!("[{}]", names.join(", "));
        let of =
            |set: &BTreeSet<usize>, names: &[&str]| list(set.iter().map(|index| names[*index].to_owned()).collect());
        let mut text = "tags: { a: {}, b: {}, c: {}, d: {} }\n".to_owned();
        if let Some(roles) = &self.ceiling {
            let _ = writeln!(
                text,
                "tenants:\n  {}: {{}}\n  {}: {{ roles: {} }}",
                TENANTS[0],
                TENANTS[1],
                of(roles, &ROLES)
            );
        }
        text += "roles:\n";
        for (name, role) in ROLES.iter().zip(&self.roles) {
            let grants = role.grants.iter().map(|(backend, tool, ignored)| {
                format!("{{ name: {}/{}, ignoring: {} }}", BACKENDS[*backend], TOOLS[*tool], of(ignored, &TAGS))
            });
            let _ = writeln!(
                text,
                "  {name}: {{ on: {}, opens: {}, inherits: {}, tools: {} }}",
                of(&role.on, &BACKENDS),
                of(&role.opens, &TAGS),
                of(&role.inherits, &ROLES),
                list(grants.collect())
            );
        }
        text += "tools:\n";
        for (index, backend) in BACKENDS.iter().enumerate() {
            let _ = write!(text, "  {backend}:\n    {{");
            for (bit, tag) in TAGS.iter().enumerate() {
                let patterns = self.tagged.iter().filter(|(on, _, tag)| *on == index && *tag == bit);
                let _ = write!(
                    text,
                    " {tag}: {},",
                    list(patterns.map(|(_, pattern, _)| format!("\"{pattern}\"")).collect())
                );
            }
            text += " }\n";
        }
        text += "deny:\n  []\n";
        if !self.denies.is_empty() {
            text = text.replace("deny:\n  []\n", "deny:\n");
        }
        for (index, deny) in self.denies.iter().enumerate() {
            let _ = writeln!(
                text,
                "  - {{ id: d{index}, tags: {}, on: {}, unless: {} }}",
                of(&deny.tags, &TAGS),
                of(&deny.on, &BACKENDS),
                of(&deny.unless, &ROLES)
            );
        }
        text
    }

    fn policy(&self) -> Policy {
        let yaml = self.yaml();
        Policy::from_yaml(&yaml, &BACKENDS.map(backend)).unwrap_or_else(|faults| panic!("{faults}\n{yaml}"))
    }
}

impl Caller {
    fn subject(&self) -> Subject {
        let scopes = self.scopes.as_ref().map(|scopes| scopes.iter().map(|tag| TAGS[*tag].to_owned()).collect());
        Subject::new(Kind::User, TENANTS[self.tenant], "someone")
            .with_roles(self.roles.iter().map(|role| ROLES[*role].to_owned()).collect())
            .with_scopes(scopes.map_or(Scopes::Unlimited, Scopes::Granted))
    }
}

#[derive(Debug)]
struct Call {
    backend: BackendName,
    tool: &'static str,
}

impl Act for Call {
    fn backend(&self) -> &BackendName {
        &self.backend
    }

    fn action(&self) -> Action<'_> {
        Action::CallTool { name: self.tool }
    }
}

fn backend(name: &str) -> BackendName {
    BackendName::try_from(name).unwrap()
}

fn outcome(policy: &Policy, subject: &Subject, on: usize, tool: usize) -> Outcome {
    match policy.authorize(subject, Call { backend: backend(BACKENDS[on]), tool: TOOLS[tool] }) {
        Ok(_) => Outcome::Open,
        Err(denial) if matches!(denial.kind(), DenialKind::ScopeMissing { .. }) => Outcome::Scope,
        Err(_) => Outcome::Shut,
    }
}

fn listed(policy: &Policy, subject: &Subject, on: usize, tool: usize) -> bool {
    policy.view(subject, &backend(BACKENDS[on])).tool(TOOLS[tool])
}

fn everything() -> impl Iterator<Item = (usize, usize)> {
    (0..BACKENDS.len()).flat_map(|on| (0..TOOLS.len()).map(move |tool| (on, tool)))
}

fn some(of: usize, least: usize) -> impl Strategy<Value = BTreeSet<usize>> {
    subsequence((0..of).collect::<Vec<_>>(), least..=of).prop_map(|picked| picked.into_iter().collect())
}

prop_compose! {
    fn a_role(number: usize)(
        on in some(2, 1), opens in some(4, 0), inherits in some(number, 0),
        grants in prop::collection::vec((any::<Index>(), 0..TOOLS.len(), some(4, 0)), 0..2),
    ) -> Role {
        let places: Vec<usize> = on.iter().copied().collect();
        let grants = grants.into_iter().map(|(place, tool, ignored)| (*place.get(&places), tool, ignored)).collect();
        Role { on, opens, inherits, grants }
    }
}

prop_compose! {
    fn a_deny()(tags in some(4, 1), on in some(2, 1), unless in some(4, 0)) -> Deny {
        Deny { tags, on, unless }
    }
}

prop_compose! {
    fn a_model()(
        roles in (a_role(0), a_role(1), a_role(2), a_role(3)),
        tagged in prop::collection::btree_set((0..2usize, prop::sample::select(vec!["t0", "t1", "t2", "get_*", "get_x", "*"]), 0..4usize), 0..10),
        denies in prop::collection::vec(a_deny(), 0..2),
        ceiling in prop::option::of(some(4, 0)),
    ) -> Model {
        Model { roles: vec![roles.0, roles.1, roles.2, roles.3], tagged, denies, ceiling }
    }
}

prop_compose! {
    fn a_caller()(roles in some(4, 0), tenant in 0..2usize, scopes in prop::option::of(some(4, 0))) -> Caller {
        Caller { roles, tenant, scopes }
    }
}

proptest! {
    #[test]
    fn the_compiled_policy_means_what_the_reference_says(model in a_model(), callers in prop::collection::vec(a_caller(), 4)) {
        let policy = model.policy();
        for caller in callers {
            let subject = caller.subject();
            for (on, tool) in everything() {
                prop_assert_eq!(outcome(&policy, &subject, on, tool), model.reference(&caller, on, tool), "{:?} {} {}", caller, on, tool);
            }
        }
    }

    #[test]
    fn the_list_shows_a_tool_exactly_when_a_call_could_be_allowed(model in a_model(), caller in a_caller()) {
        let (policy, subject) = (model.policy(), caller.subject());
        for (on, tool) in everything() {
            prop_assert_eq!(listed(&policy, &subject, on, tool), outcome(&policy, &subject, on, tool) != Outcome::Shut);
        }
    }

    #[test]
    fn a_tag_added_to_a_tagged_tool_never_widens_access(model in a_model(), caller in a_caller(), on in 0..2usize, tool in 0..3usize, tag in 0..4usize) {
        prop_assume!(!model.tags(on, TOOLS[tool]).is_empty());
        let mut more = model.clone();
        more.tagged.insert((on, TOOLS[tool], tag));
        let subject = caller.subject();
        let (before, after) = (outcome(&model.policy(), &subject, on, tool), outcome(&more.policy(), &subject, on, tool));
        prop_assert!(after == Outcome::Shut || before != Outcome::Shut, "{:?} became {:?}", before, after);
        prop_assert!(after != Outcome::Open || before == Outcome::Open);
    }

    #[test]
    fn an_untagged_tool_opens_to_nobody(model in a_model(), caller in a_caller()) {
        let (policy, subject) = (model.policy(), caller.subject());
        for (on, tool) in everything().filter(|(on, tool)| model.tags(*on, TOOLS[*tool]).is_empty()) {
            prop_assert_eq!(outcome(&policy, &subject, on, tool), Outcome::Shut);
        }
    }

    #[test]
    fn a_role_added_never_narrows(model in a_model(), caller in a_caller(), role in 0..4usize) {
        let policy = model.policy();
        let mut more = caller.clone();
        more.roles.insert(role);
        let (before, after) = (caller.subject(), more.subject());
        for (on, tool) in everything() {
            prop_assert!(!listed(&policy, &before, on, tool) || listed(&policy, &after, on, tool));
        }
    }

    #[test]
    fn no_roles_see_nothing(model in a_model(), tenant in 0..2usize) {
        let policy = model.policy();
        let nobody = Caller { roles: BTreeSet::new(), tenant, scopes: None }.subject();
        let stranger = Subject::new(Kind::User, TENANTS[tenant], "s").with_roles(vec!["r0".to_owned(), "R9".to_owned(), "*".to_owned()]);
        let program = Subject::new(Kind::App, TENANTS[tenant], "p").with_roles(ROLES.map(str::to_owned).to_vec());
        for (on, tool) in everything() {
            prop_assert!(![&nobody, &stranger, &program].into_iter().any(|subject| listed(&policy, subject, on, tool)));
        }
    }

    #[test]
    fn keys_never_combine_across_backends(model in a_model(), caller in a_caller()) {
        let mut alone = model.clone();
        for role in &mut alone.roles {
            role.on.remove(&1);
            role.grants.retain(|grant| grant.0 == 0);
        }
        prop_assume!(alone.roles.iter().all(|role| !role.on.is_empty()));
        let (with, without, subject) = (model.policy(), alone.policy(), caller.subject());
        for tool in 0..TOOLS.len() {
            prop_assert_eq!(outcome(&with, &subject, 0, tool), outcome(&without, &subject, 0, tool));
        }
    }

    #[test]
    fn a_deny_rule_without_exceptions_beats_everything(model in a_model(), caller in a_caller(), tags in some(4, 1)) {
        let mut denied = model.clone();
        denied.denies.push(Deny { tags: tags.clone(), on: BTreeSet::from([0]), unless: BTreeSet::new() });
        let (before, after, subject) = (model.policy(), denied.policy(), caller.subject());
        for (on, tool) in everything() {
            let hit = on == 0 && !model.tags(on, TOOLS[tool]).is_disjoint(&tags);
            let expected = if hit { Outcome::Shut } else { outcome(&before, &subject, on, tool) };
            prop_assert_eq!(outcome(&after, &subject, on, tool), expected);
        }
    }

    #[test]
    fn an_unlisted_tenant_reaches_nothing(model in a_model(), caller in a_caller()) {
        let listing = Model { ceiling: Some(BTreeSet::from([0, 1, 2, 3])), ..model };
        let policy = listing.policy();
        let roles = caller.roles.iter().map(|role| ROLES[*role].to_owned()).collect();
        let stranger = Subject::new(Kind::User, "33333333-3333-4333-8333-333333333333", "s").with_roles(roles);
        for (on, tool) in everything() {
            prop_assert_eq!(outcome(&policy, &stranger, on, tool), Outcome::Shut);
        }
    }

    #[test]
    fn no_text_makes_loading_panic(text in "[ -~\\n]{0,200}") {
        let _ = Policy::from_yaml(&text, &BACKENDS.map(backend));
    }
}

/// A model that opens nothing would pass all of the above.
#[test]
fn the_generators_reach_every_outcome() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let model = a_model().new_tree(&mut runner).unwrap().current();
        let caller = a_caller().new_tree(&mut runner).unwrap().current();
        let (policy, subject) = (model.policy(), caller.subject());
        seen.extend(everything().map(|(on, tool)| outcome(&policy, &subject, on, tool) as usize));
    }
    assert_eq!(seen.len(), 3);
}
