//! Who can reach an item, asked without a token in hand: by app-role value, by group, and by tenant.
//!
//! Of such a caller no more is known than their kind and what gives them roles. What hangs on more, on arguments or on
//! other claims, is told as a term under which they can.

use std::collections::BTreeSet;
use std::fmt;

use crate::compiled::{Backend, BackendRing, Bits, Ring};
use crate::condition::{Answer, Arguments, Scene};
use crate::judge::required;
use crate::pin::Pin;
use crate::policy::Policy;
use crate::subject::{Kind, Subject};
use crate::universe::{Item, Kind as ItemKind};
use crate::written::{PinHow, PinItems, PinValue};

/// Callers as a token describes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    tenant: Option<String>,
    kind: Kind,
    groups: Vec<String>,
    roles: Vec<String>,
}

impl Holder {
    /// Persons, applications that act on their own behalf, or anybody without a token.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// App-role values of the token.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Groups of the token, by object ID.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// The tenant, where the policy looks at it.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Both at once; nothing where no token could say both.
    pub(crate) fn and(&self, other: &Self) -> Option<Self> {
        let alike = self.tenant == other.tenant && self.kind == other.kind && self != other;
        let joined = |a: &[String], b: &[String]| -> Vec<String> {
            a.iter().chain(b).cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        alike.then(|| Self {
            groups: joined(&self.groups, &other.groups),
            roles: joined(&self.roles, &other.roles),
            ..self.clone()
        })
    }

    fn subject(&self) -> Subject {
        Subject::new(self.kind(), self.tenant.as_deref().unwrap_or_default(), "")
            .with_roles(self.roles.clone())
            .with_groups(self.groups.clone())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::User => "users",
            Kind::App => "applications",
            Kind::Public => "anybody without a token",
        })?;
        let mut separator = " with";
        for role in &self.roles {
            write!(f, "{separator} app role `{role}`")?;
            separator = " and";
        }
        for group in &self.groups {
            write!(f, "{separator} group {group}")?;
            separator = " and";
        }
        self.tenant.iter().try_for_each(|tenant| write!(f, " of tenant {tenant}"))
    }
}

/// What has to be so for an item to open; nothing where it opens in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(BTreeSet<String>);

impl Terms {
    /// The terms, each a phrase.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether it opens in any case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Policy {
    /// Everybody whom the policy gives a role, by what gives it: one app-role value, or one group. Where tenants are
    /// listed, in each of them.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        let none = || Holder { tenant: None, kind: Kind::User, groups: Vec::new(), roles: Vec::new() };
        let members = &self.0.members;
        let users = members.users.keys().map(|role| Holder { roles: vec![role.clone()], ..none() });
        let groups = members.groups.keys().map(|group| Holder { groups: vec![group.clone()], ..none() });
        let apps = members.apps.keys().map(|role| Holder { kind: Kind::App, roles: vec![role.clone()], ..none() });
        let holders: Vec<Holder> = users.chain(groups).chain(apps).collect();
        let mut all: Vec<Holder> = match &*self.0.tenants {
            None => holders,
            Some(tenants) => {
                let of = |tenant: &String| {
                    let tenant = Some(tenant.clone());
                    holders.iter().map(|holder| Holder { tenant: tenant.clone(), ..holder.clone() }).collect::<Vec<_>>()
                };
                tenants.iter().flat_map(|tenant| of(&tenant.id)).collect()
            }
        };
        if !members.public.is_empty() {
            all.push(Holder { kind: Kind::Public, ..none() });
        }
        all.sort();
        all
    }

    /// Whether such a caller can reach an item, and on what terms. Scopes are not looked at: they are one sign-in away.
    #[must_use]
    pub fn reach(&self, holder: &Holder, item: &Item) -> Option<Terms> {
        Standing::of(self, holder).reach(item)
    }

    /// Who can reach an item: each on their own, and pairs where neither can alone.
    #[must_use]
    pub fn who_can(&self, item: &Item) -> Vec<(Holder, Terms)> {
        let holders = self.holders();
        let (mut found, mut without) = (Vec::new(), Vec::new());
        for holder in holders {
            match self.reach(&holder, item) {
                Some(terms) => found.push((holder, terms)),
                None => without.push(holder),
            }
        }
        for (_, _, pair) in pairs(&without) {
            found.extend(self.reach(&pair, item).map(|terms| (pair, terms)));
        }
        found
    }
}

/// Pairs are looked at for so many holders; for more there would be too many to read.
const MAX_PAIRED: usize = 64;

/// Every two of these that one token could describe, and it.
pub(crate) fn pairs(holders: &[Holder]) -> impl Iterator<Item = (&Holder, &Holder, Holder)> {
    let few = if holders.len() > MAX_PAIRED { &[] } else { holders };
    few.iter()
        .enumerate()
        .flat_map(move |(at, one)| few.iter().skip(at + 1).filter_map(move |other| Some((one, other, one.and(other)?))))
}

/// A holder under one policy.
pub(crate) struct Standing<'p> {
    policy: &'p Policy,
    subject: Subject,
    ring: Ring,
}

impl<'p> Standing<'p> {
    pub(crate) fn of(policy: &'p Policy, holder: &Holder) -> Self {
        let subject = holder.subject();
        let ring = policy.0.ring_of(&subject);
        Self { policy, subject, ring }
    }

    pub(crate) fn reach(&self, item: &Item) -> Option<Terms> {
        let (index, table) = self.policy.backend(&item.backend)?;
        let held = self.ring.backends.get(index).filter(|_| self.ring.tenant_listed)?;
        let locks = self.locks(index, table, item).filter(|locks| !locks.is_empty())?;
        let mut terms = BTreeSet::new();
        if self.policy.0.shadow {
            terms.insert("in any case, for the whole policy only records".to_owned());
            return Some(Terms(terms));
        }
        let tool = if item.kind == ItemKind::Tool { item.name.as_str() } else { "" };
        let (arguments, backend) = (Arguments::Anybody, table.name.as_ref());
        let scene = Scene { arguments, tool, backend, caller: &self.subject };
        self.denied(index, held, locks, &scene, &mut terms)?;
        opened(table, held, locks, tool, &scene, &mut terms)?;
        for (bit, step_up) in table.step_up.iter().filter(|(bit, _)| locks.contains(*bit)) {
            let tag = table.tags.get(*bit)?;
            terms.extend(step_up.acr.iter().map(|acr| format!("tag `{tag}` wants a sign-in with `{acr}`")));
            let age = |age: std::time::Duration| format!("tag `{tag}` wants a sign-in within {} s", age.as_secs());
            terms.extend(step_up.max_age.map(age));
        }
        self.pinned(index, item, &mut terms);
        Some(Terms(terms))
    }

    /// The locks on an item; nothing where it stays shut or does not exist.
    fn locks(&self, index: usize, table: &Backend, item: &Item) -> Option<Bits> {
        match (item.kind, &table.catalogue) {
            (ItemKind::Tool, Some(catalogue)) => {
                catalogue.tool(&item.name).filter(|entry| entry.shut.is_none()).map(|entry| entry.locks)
            }
            (ItemKind::Tool, None) if self.policy.0.needs_catalogue(index) => None,
            (ItemKind::Tool, None) => Some(table.tools.of(&item.name)),
            (ItemKind::Prompt, _) => Some(table.prompts.of(&item.name)),
            (ItemKind::Resource, _) => Some(table.resources.of(&item.name)),
        }
    }

    /// Nothing where a deny rule refuses in any case; what it depends on is a term.
    fn denied(
        &self,
        index: usize,
        held: &BackendRing,
        locks: Bits,
        scene: &Scene<'_>,
        terms: &mut BTreeSet<String>,
    ) -> Option<()> {
        if locks.meets(held.denied) {
            return None;
        }
        let rules = held.denies.iter().filter_map(|place| self.policy.0.denies.get(*place));
        for rule in rules.filter(|rule| !rule.shadow && rule.tags.get(index).is_some_and(|tags| tags.meets(locks))) {
            match rule.when.as_ref().map(|when| (when, when.answer(scene))) {
                Some((when, Answer::Unknown)) => {
                    terms.insert(format!("not when {} (deny rule `{}`)", when.text(), rule.id));
                }
                Some((_, Answer::False)) => {}
                None | Some((_, Answer::True | Answer::Failed(_))) => return None,
            }
        }
        Some(())
    }

    fn pinned(&self, index: usize, item: &Item, terms: &mut BTreeSet<String>) {
        let items = match item.kind {
            ItemKind::Tool => PinItems::Tools,
            ItemKind::Prompt => PinItems::Prompts,
            ItemKind::Resource => PinItems::Resources,
        };
        let is_for = |pin: &&Pin| match items {
            PinItems::Resources => pin.is_for_uri(index, &item.name),
            _ => pin.is_for(items, index, &item.name),
        };
        for pin in self.policy.0.pins.iter().filter(is_for) {
            let to = match &pin.to {
                PinValue::Kind => "caller.kind".to_owned(),
                PinValue::Tenant => "caller.tid".to_owned(),
                PinValue::Object => "caller.oid".to_owned(),
                PinValue::Client => "caller.client".to_owned(),
                PinValue::Claim(claim) => format!("caller.claims.{claim}"),
                PinValue::Constant(value) => value.to_string(),
            };
            let how = if pin.how == PinHow::Set { "is set to" } else { "has to be" };
            terms.insert(format!("argument `/{}` {how} {to} (pin `{}`)", pin.argument.join("/"), pin.id));
        }
    }
}

/// Nothing where the keys are not enough; the conditions of those that are needed are terms.
fn opened(
    table: &Backend,
    held: &BackendRing,
    locks: Bits,
    tool: &str,
    scene: &Scene<'_>,
    terms: &mut BTreeSet<String>,
) -> Option<()> {
    let mut certain = held.keys;
    let mut doubtful: Vec<(usize, String)> = Vec::new();
    for key in held.conditional.iter().filter(|key| locks.contains(key.bit)) {
        let answers: Vec<Answer> = key.all.iter().map(|condition| condition.answer(scene)).collect();
        if answers.iter().all(|answer| *answer == Answer::True) {
            certain.insert(key.bit);
        } else if answers.iter().all(|answer| matches!(answer, Answer::True | Answer::Unknown)) {
            let open = key.all.iter().zip(&answers).filter(|(_, answer)| **answer == Answer::Unknown);
            let texts: Vec<&str> = open.map(|(condition, _)| condition.text().as_ref()).collect();
            doubtful.push((key.bit, texts.join(" and ")));
        }
    }
    let mut possible = certain;
    for (bit, _) in &doubtful {
        possible.insert(*bit);
    }
    let enough = |keys: Bits| -> Option<Bits> {
        let required = required(locks, table);
        let grants = held.grants.get(tool).map(Vec::as_slice).unwrap_or_default();
        let by_grant = grants.iter().map(|(ignoring, _)| required.without(*ignoring));
        std::iter::once(required).chain(by_grant).find(|needed| needed.within(keys))
    };
    if enough(certain).is_some() {
        return Some(());
    }
    for bit in enough(possible)?.without(certain).iter() {
        let tag = table.tags.get(bit)?;
        let texts: Vec<&str> = doubtful.iter().filter(|(of, _)| *of == bit).map(|(_, text)| text.as_str()).collect();
        terms.insert(format!("tag `{tag}` when {}", texts.join(" or ")));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::BackendName;

    const POLICY: &str = r#"
roles:
  Reader: { opens: [read] }
  Writer: { opens: [read, { tag: write, when: 'args.env == "dev" || caller.kind == "app"' }] }
  Officer: { members: { roles: [Officer], apps: [Officer] }, opens: [pii] }
  Robot: { members: { apps: [Robot] }, opens: [{ tag: write, when: 'caller.kind == "app"' }, read] }
tools: { weather: { read: ["get_*"], write: [add_station], pii: [get_owner] } }
deny: [{ id: night, tags: [write], when: 'args.night', unless: [Reader] }, { id: no-apps, tags: [pii], when: 'caller.kind == "app"' }]
"#;

    fn who(name: &str) -> Vec<String> {
        let backend = BackendName::try_from("weather").unwrap();
        let policy = Policy::from_yaml(POLICY, std::slice::from_ref(&backend)).unwrap();
        let item = Item { backend, kind: ItemKind::Tool, name: name.to_owned() };
        let said = |(holder, terms): (Holder, Terms)| {
            let terms: Vec<&str> = terms.iter().collect();
            if terms.is_empty() { holder.to_string() } else { format!("{holder}: {}", terms.join("; ")) }
        };
        policy.who_can(&item).into_iter().map(said).collect()
    }

    #[test]
    fn who_can_names_everybody_and_their_terms() {
        assert_eq!(
            who("get_x"),
            ["users with app role `Reader`", "users with app role `Writer`", "applications with app role `Robot`"]
        );
        assert_eq!(
            who("add_station"),
            [
                "users with app role `Writer`: not when args.night (deny rule `night`); \
                 tag `write` when args.env == \"dev\" || caller.kind == \"app\"",
                "applications with app role `Robot`: not when args.night (deny rule `night`)",
            ]
        );
        assert_eq!(who("nothing"), Vec::<String>::new());
    }

    #[test]
    fn what_takes_two_roles_is_told_as_a_pair_and_what_a_deny_rule_shuts_is_not() {
        assert_eq!(
            who("get_owner"),
            [
                "users with app role `Officer` and app role `Reader`",
                "users with app role `Officer` and app role `Writer`"
            ]
        );
    }
}
