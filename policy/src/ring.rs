//! From a caller to the keys they hold under one policy.

use crate::compiled::{BackendRing, Bits, Ring};
use crate::policy::Compiled;
use crate::subject::{Kind, Scopes, Subject};

impl Compiled {
    /// Everything the caller holds: roles give keys, the tenant caps them, scopes and deny rules are masks beside.
    pub(crate) fn ring_of(&self, subject: &Subject) -> Ring {
        let held = self.roles_of(subject);
        let mut ring = self.keys_of(&held);
        ring.tenant_listed = self.cap(&mut ring, subject.tenant());
        let exempt = self.exempt(&held, subject.tenant());
        for (index, backend) in ring.backends.iter_mut().enumerate() {
            backend.denied = self.denied(index, &exempt);
            backend.scopes = self.scopes(index, subject.scopes());
        }
        ring
    }

    /// The policy roles that a caller has directly.
    pub(crate) fn roles_of(&self, subject: &Subject) -> Vec<usize> {
        let by_role = match subject.kind() {
            Kind::User => &self.members.users,
            Kind::App => &self.members.apps,
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
            for &(backend, bit) in &role.keys {
                if let Some(ring) = backends.get_mut(backend)
                    && !ring.keys.contains(bit)
                {
                    ring.keys.insert(bit);
                    ring.givers.push((bit, role.name.clone()));
                }
            }
            for grant in &role.grants {
                if let Some(ring) = backends.get_mut(grant.backend) {
                    ring.grants.entry(grant.tool.clone()).or_default().push((grant.required, role.name.clone()));
                }
            }
        }
        Ring { policy: self.id, backends, tenant_listed: true }
    }

    /// Intersects with what the tenant's roles hold; false when tenants are listed and this one is not.
    fn cap(&self, ring: &mut Ring, tenant: &str) -> bool {
        let Some(tenants) = &self.tenants else { return true };
        let Some(listed) = tenants.iter().find(|listed| listed.id.eq_ignore_ascii_case(tenant)) else {
            ring.backends.fill(BackendRing::default());
            return false;
        };
        let Some(roles) = &listed.roles else { return true };
        let ceiling = self.keys_of(roles);
        for (held, cap) in ring.backends.iter_mut().zip(&ceiling.backends) {
            held.keys = held.keys.and(cap.keys);
            held.grants.retain(|tool, _| cap.grants.contains_key(tool));
            for (tool, grants) in &mut held.grants {
                let caps = cap.grants.get(tool).map(Vec::as_slice).unwrap_or_default();
                let both = grants.iter().flat_map(|(required, role)| {
                    caps.iter().map(move |(capped, _)| (required.or(*capped), role.clone()))
                });
                *grants = both.collect();
            }
        }
        true
    }

    fn denied(&self, backend: usize, exempt: &[usize]) -> Bits {
        let mut denied = Bits::default();
        for rule in self.denies.iter().filter(|rule| !rule.exempts(exempt)) {
            denied = denied.or(rule.tags.get(backend).copied().unwrap_or_default());
        }
        denied
    }

    /// The roles that count for a rule's `unless`: those the caller is a member of, for membership is not inherited,
    /// and within the tenant's ceiling, or a guest could hold more than the ceiling's roles do.
    pub(crate) fn exempt(&self, held: &[usize], tenant: &str) -> Vec<usize> {
        let listed = self.tenants.iter().flatten().find(|listed| listed.id.eq_ignore_ascii_case(tenant));
        let ceiling = listed.and_then(|listed| listed.roles.as_ref());
        held.iter().copied().filter(|role| ceiling.is_none_or(|roles| roles.contains(role))).collect()
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
