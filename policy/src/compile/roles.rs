//! Roles: who holds them, what they inherit, which keys and grants they carry on which backend.

use super::scope::Names;
use super::{Members, conditions};
use crate::compiled::{Backend, Bits, CompiledRole, Key, ToolGrant};
use crate::policy::Setting;
use crate::written::{RoleDecl, Written};

/// One role's own keys and grants, before inheritance.
#[derive(Default)]
struct Own {
    on: Vec<usize>,
    keys: Vec<Key>,
    grants: Vec<ToolGrant>,
    inherits: Vec<usize>,
}

pub(super) fn compile(
    names: &mut Names<'_>,
    written: &Written,
    tables: &[Backend],
    setting: &Setting,
) -> (Vec<CompiledRole>, Members) {
    let own: Vec<Own> = written.roles.iter().map(|role| own(names, role, tables, setting)).collect();
    let mut roles = Vec::with_capacity(own.len());
    for (index, role) in written.roles.iter().enumerate() {
        let closure = reach(&own, index);
        let circular =
            own.get(index).is_some_and(|role| role.inherits.iter().any(|&up| reach(&own, up).contains(&index)));
        if circular {
            names.fault(role.name.at, format!("the role `{}` inherits from itself; break the circle", role.name.value));
        }
        let inherited = || closure.iter().filter_map(|role| own.get(*role));
        roles.push(CompiledRole {
            name: role.name.value.clone(),
            on: own.get(index).map(|own| own.on.clone()).unwrap_or_default(),
            keys: inherited().flat_map(|own| own.keys.iter().cloned()).collect(),
            grants: inherited().flat_map(|own| own.grants.iter().cloned()).collect(),
            rate: role.rate,
            shadow: role.shadow,
        });
    }
    (roles, members(written))
}

/// A role and everything it inherits from, itself first.
fn reach(own: &[Own], from: usize) -> Vec<usize> {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(role) = reached.get(next).and_then(|&index| own.get(index)) {
        for &parent in &role.inherits {
            if !reached.contains(&parent) {
                reached.push(parent);
            }
        }
        next += 1;
    }
    reached
}

fn own(names: &mut Names<'_>, role: &RoleDecl, tables: &[Backend], setting: &Setting) -> Own {
    let on = if let Some(on) = &role.on {
        names.backends(on)
    } else {
        if names.several_backends() {
            let message = format!(
                "the role `{}` does not say where it counts; add `on: [backend]` or `on: [\"*\"]`",
                role.name.value
            );
            names.fault(role.name.at, message);
        }
        names.all_backends()
    };
    let mut own = Own { inherits: names.roles(&role.inherits), on: on.clone(), ..Own::default() };
    for open in &role.opens {
        let narrowed = match &open.on {
            Some(narrower) => names.backends(narrower).into_iter().filter(|backend| on.contains(backend)).collect(),
            None => on.clone(),
        };
        if narrowed.is_empty() && open.on.is_some() {
            let message = format!(
                "the key for `{}` opens on no backend of its role; name one of the role's `on`",
                open.tag.value
            );
            names.fault(open.tag.at, message);
        }
        let when = match &open.when {
            None => None,
            Some(when) => match conditions::read(names, when, false, setting) {
                Some(condition) => Some(condition),
                // INVARIANT: a key whose condition cannot be read is no key; the fault keeps the policy from loading.
                None => continue,
            },
        };
        for backend in narrowed {
            let bit = tables.get(backend).and_then(|table| table.tags.iter().position(|tag| *tag == open.tag.value));
            own.keys.extend(bit.map(|bit| Key { backend, bit, when: when.clone() }));
        }
    }
    for grant in &role.tools {
        let Some(backend) = names.known_backend(&grant.backend) else { continue };
        if !on.contains(&backend) {
            let (role, backend) = (&role.name.value, &grant.backend.value);
            let message = format!("the role `{role}` does not count on `{backend}`; add the backend to its `on`");
            names.fault(grant.backend.at, message);
            continue;
        }
        let Some(table) = tables.get(backend) else { continue };
        let mut ignored = Bits::default();
        for tag in &grant.ignoring {
            table.tags.iter().position(|known| *known == tag.value).into_iter().for_each(|bit| ignored.insert(bit));
        }
        own.grants.push(ToolGrant { backend, tool: grant.tool.clone(), ignoring: ignored });
    }
    own
}

/// A role without `members` is reached by users whose token carries its name.
fn members(written: &Written) -> Members {
    let mut members = Members::default();
    for (index, role) in written.roles.iter().enumerate() {
        match &role.members {
            None => members.users.entry(role.name.value.as_ref().to_owned()).or_default().push(index),
            Some(listed) => {
                members.public.extend(listed.public.then_some(index));
                let lists = [
                    (&listed.roles, &mut members.users),
                    (&listed.apps, &mut members.apps),
                    (&listed.groups, &mut members.groups),
                ];
                for (values, map) in lists {
                    for value in values {
                        map.entry(value.clone()).or_default().push(index);
                    }
                }
            }
        }
    }
    members
}
