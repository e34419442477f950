//! From a caller to the keys they hold under one policy.

use std::sync::Arc;

use crate::compiled::{BackendRing, Bits, Conditional, DenyRule, Ring};
use crate::condition::{Answer, Arguments, Condition, Scene};
use crate::policy::Compiled;
use crate::subject::{Kind, Scopes, Subject};

impl Compiled {
    /// Everything the caller holds: roles give keys, the tenant caps them, scopes and deny rules are masks beside.
    pub(crate) fn ring_of(&self, subject: &Subject) -> Ring {
        let held = self.roles_of(subject);
        let mut ring = self.keys_of(&held);
        // Who brings no token is of no tenant, and reaches what `members.public` says and nothing more.
        ring.tenant_listed = subject.kind() == Kind::Public || self.cap(&mut ring, subject.tenant());
        let exempt = self.exempt(&held, subject);
        for (index, backend) in ring.backends.iter_mut().enumerate() {
            self.deny(index, backend, &exempt);
            backend.scopes = self.scopes(index, subject.scopes());
            self.list(index, backend, subject);
        }
        let lacks = |(place, pin): (usize, &crate::pin::Pin)| pin.value(subject).is_err().then_some(place);
        ring.unpinnable = self.pins.iter().enumerate().filter_map(lacks).collect();
        ring
    }

    /// The policy roles that a caller has directly.
    pub(crate) fn roles_of(&self, subject: &Subject) -> Vec<usize> {
        let by_role = match subject.kind() {
            Kind::User => &self.members.users,
            Kind::App => &self.members.apps,
            Kind::Public => return self.members.public.clone(),
        };
        let mut held: Vec<usize> =
            subject.roles().iter().filter_map(|role| by_role.get(role)).flatten().copied().collect();
        if subject.kind() == Kind::User {
            held.extend(subject.groups().iter().filter_map(|group| self.members.groups.get(group)).flatten());
        }
        held.sort_unstable();
        held.dedup();
        held
    }

    fn keys_of(&self, held: &[usize]) -> Ring {
        let mut backends = vec![BackendRing::default(); self.backends.len()];
        for role in held.iter().filter_map(|role| self.roles.get(*role)) {
            for key in &role.keys {
                let Some(ring) = backends.get_mut(key.backend) else { continue };
                let with = |when: &Option<Arc<Condition>>| {
                    let all = when.iter().cloned().collect();
                    Conditional { bit: key.bit, all, role: role.name.clone() }
                };
                match &key.when {
                    _ if role.shadow => ring.shadow.push(with(&key.when)),
                    Some(_) => ring.conditional.push(with(&key.when)),
                    None if !ring.keys.contains(key.bit) => {
                        ring.keys.insert(key.bit);
                        ring.givers.push((key.bit, role.name.clone()));
                    }
                    None => {}
                }
            }
            for grant in &role.grants {
                let Some(ring) = backends.get_mut(grant.backend) else { continue };
                let grants = if role.shadow { &mut ring.shadow_grants } else { &mut ring.grants };
                grants.entry(grant.tool.clone()).or_default().push((grant.ignoring, role.name.clone()));
            }
        }
        Ring { policy: self.id, backends, tenant_listed: true, unpinnable: Vec::new() }
    }

    /// Intersects with what the tenant's roles hold; false when tenants are listed and this one is not.
    fn cap(&self, ring: &mut Ring, tenant: &str) -> bool {
        let Some(tenants) = &*self.tenants else { return true };
        let Some(listed) = tenants.iter().find(|listed| listed.id.eq_ignore_ascii_case(tenant)) else {
            ring.backends.fill(BackendRing::default());
            return false;
        };
        let Some(roles) = &listed.roles else { return true };
        let ceiling = self.keys_of(roles);
        for (held, cap) in ring.backends.iter_mut().zip(&ceiling.backends) {
            held.conditional = both(held, cap);
            held.keys = held.keys.and(cap.keys);
            held.shadow = capped(&held.shadow, cap);
            for all in [&mut held.grants, &mut held.shadow_grants] {
                all.retain(|tool, _| cap.grants.contains_key(tool));
                for (tool, grants) in all {
                    let caps = cap.grants.get(tool).map(Vec::as_slice).unwrap_or_default();
                    let narrower = grants.iter().flat_map(|(ignoring, role)| {
                        caps.iter().map(move |(capped, _)| (ignoring.and(*capped), role.clone()))
                    });
                    *grants = narrower.collect();
                }
            }
        }
        true
    }

    /// The deny rules that bind the caller on a backend.
    fn deny(&self, backend: usize, ring: &mut BackendRing, exempt: &[usize]) {
        let tags = |rule: &DenyRule| rule.tags.get(backend).copied().unwrap_or_default();
        for (place, rule) in self.denies.iter().enumerate() {
            if rule.exempts(exempt) || tags(rule).is_empty() {
                continue;
            }
            if rule.is_plain() {
                ring.denied = ring.denied.or(tags(rule));
            } else {
                ring.denies.push(place);
            }
        }
    }

    /// What lists go by, as far as it can be said once for all tools.
    fn list(&self, backend: usize, ring: &mut BackendRing, caller: &Subject) {
        let name = self.backends.get(backend).map_or("", |table| table.name.as_ref());
        let scene = Scene { arguments: Arguments::Unknown, tool: "", backend: name, caller };
        ring.listed = ring.keys;
        ring.listed_denied = ring.denied;
        for key in &ring.conditional {
            if key.all.iter().any(|condition| condition.reads_tool) {
                ring.asks_by_tool = true;
            } else if may_be(&key.all, &scene) {
                ring.listed.insert(key.bit);
            }
        }
        for rule in ring.denies.iter().filter_map(|place| self.denies.get(*place)).filter(|rule| !rule.shadow) {
            let Some(when) = &rule.when else { continue };
            if when.reads_tool {
                ring.asks_by_tool = true;
            } else if matches!(when.answer(&scene), Answer::True | Answer::Failed(_)) {
                ring.listed_denied = ring.listed_denied.or(rule.tags.get(backend).copied().unwrap_or_default());
            }
        }
    }

    /// The roles that count for a rule's `unless`: those the caller is a member of, for membership is not inherited,
    /// and within the tenant's ceiling, or a guest could hold more than the ceiling's roles do.
    pub(crate) fn exempt(&self, held: &[usize], subject: &Subject) -> Vec<usize> {
        let tenants = self.tenants.as_ref().as_ref().filter(|_| subject.kind() != Kind::Public);
        let listed = tenants.into_iter().flatten().find(|listed| listed.id.eq_ignore_ascii_case(subject.tenant()));
        let ceiling = listed.and_then(|listed| listed.roles.as_ref());
        let counts = |role: &usize| self.roles.get(*role).is_some_and(|role| !role.shadow);
        held.iter().copied().filter(counts).filter(|role| ceiling.is_none_or(|roles| roles.contains(role))).collect()
    }

    fn scopes(&self, backend: usize, scopes: &Scopes) -> Bits {
        let Scopes::Granted(granted) = scopes else { return Bits::ALL };
        let mut bits = Bits::default();
        for (bit, tag) in self.backends.get(backend).into_iter().flat_map(|backend| backend.tags.iter().enumerate()) {
            if granted.contains(tag.as_ref()) {
                bits.insert(bit);
            }
        }
        bits
    }
}

/// Whether nothing yet speaks against a key with these conditions.
pub(crate) fn may_be(conditions: &[Arc<Condition>], scene: &Scene<'_>) -> bool {
    conditions.iter().all(|condition| matches!(condition.answer(scene), Answer::True | Answer::Unknown))
}

/// The keys with conditions that are left under a ceiling: the conditions of both sides have to be met.
fn both(held: &BackendRing, cap: &BackendRing) -> Vec<Conditional> {
    let mut left = Vec::new();
    for capped in &cap.conditional {
        if held.keys.contains(capped.bit) && !cap.keys.contains(capped.bit) {
            let giver = held.givers.iter().find(|(bit, _)| *bit == capped.bit).map(|(_, role)| role.clone());
            left.extend(giver.map(|role| Conditional { role, ..capped.clone() }));
        }
    }
    left.extend(capped(&held.conditional, cap));
    left
}

/// What is left of these keys: those that the ceiling has, too, with the conditions of both sides.
fn capped(keys: &[Conditional], cap: &BackendRing) -> Vec<Conditional> {
    let mut left = Vec::new();
    for key in keys {
        if cap.keys.contains(key.bit) {
            left.push(key.clone());
            continue;
        }
        for capped in cap.conditional.iter().filter(|capped| capped.bit == key.bit) {
            let all = key.all.iter().chain(&capped.all).cloned().collect();
            left.push(Conditional { all, ..key.clone() });
        }
    }
    left
}
