//! What the policy means, written from the rules of the language and from nothing else: no bits, no masks, nothing
//! remembered. Slow, and short enough to be read against `docs/policy.md`. Longer than other files here because it is the
//! whole language, in the order of that page.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::Kind;
use serde_json::{Map, Value, json};

use crate::condition::{Doubt, Expr, Scene, is_respelled};
use crate::model::{Ask, BACKENDS, Caller, Deny, Grant, Items, Model, Pin, ROLES, Role, Set, TAGS, To, Tool};

/// What a policy says of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Allow {
        sends: Value,
        headers: Option<BTreeMap<String, String>>,
        recorded: BTreeSet<String>,
    },
    Challenge {
        scopes: BTreeSet<&'static str>,
    },
    /// Open, and refused with these arguments.
    Refused {
        told: String,
        would_open: BTreeSet<(String, &'static str)>,
    },
    /// It does not exist for the caller.
    NotOpen {
        explained: Option<String>,
        would_open: BTreeSet<(String, &'static str)>,
    },
    NotKnownYet,
}

impl Verdict {
    fn hidden() -> Self {
        Self::NotOpen { explained: None, would_open: BTreeSet::new() }
    }

    /// Whether it is in a list.
    pub(crate) fn is_listed(&self) -> bool {
        !matches!(self, Self::NotOpen { .. } | Self::NotKnownYet)
    }
}

/// A policy and a caller.
pub(crate) struct Meaning<'a> {
    pub(crate) model: &'a Model,
    pub(crate) caller: &'a Caller,
    /// Seconds since the Unix epoch.
    pub(crate) now: u64,
}

/// What carries which tags, and for whom it is looked at.
struct Lock<'a> {
    items: Items,
    backend: usize,
    name: &'a str,
    tags: Set,
}

const FIXED: &str = "Not allowed with these arguments";

impl Meaning<'_> {
    pub(crate) fn decide(&self, ask: &Ask) -> Verdict {
        if !self.tenant_is_listed() {
            return Verdict::hidden();
        }
        let lock = match self.lock(ask) {
            Ok(lock) => lock,
            Err(verdict) => return verdict,
        };
        let listing = self.scene(&lock, None);
        if !self.opens(&lock, &listing) {
            return Verdict::NotOpen {
                explained: self.explained(&lock, &listing),
                would_open: self.would_open(&lock, &listing),
            };
        }
        let pins = self.pins(&lock);
        if pins.iter().any(|pin| self.value(pin).is_none()) {
            return Verdict::hidden();
        }
        if lock.items == Items::Resources && pins.iter().any(|pin| !self.fits(pin, ask)) {
            return Verdict::hidden();
        }
        if !self.is_covered(&lock) {
            return Verdict::Challenge { scopes: lock.tags.iter().map(|tag| TAGS[*tag]).collect() };
        }
        // A resource is asked for by its URI, and has no arguments whatever the caller writes.
        let none = json!({});
        let given = if lock.items == Items::Resources { &none } else { &ask.args };
        let Some(args) = self.after_pins(&pins, given) else {
            return Verdict::Refused { told: FIXED.to_owned(), would_open: BTreeSet::new() };
        };
        let scene = self.scene(&lock, Some(&args));
        if !self.opens(&lock, &scene) {
            let told = self.firing(&lock, &scene, false).find_map(|(_, rule)| rule.reason.clone());
            let would_open = self.would_open(&lock, &scene);
            return Verdict::Refused { told: told.unwrap_or_else(|| FIXED.to_owned()), would_open };
        }
        Verdict::Allow {
            headers: self.headers(&lock, &args),
            recorded: self.recorded(&lock, &scene),
            sends: args.clone(),
        }
    }

    fn tenant_is_listed(&self) -> bool {
        // Who brings no token is of no tenant, and is not measured by any.
        let tenants = self.model.tenants.as_ref().filter(|_| self.caller.kind != Kind::Public);
        tenants.is_none_or(|tenants| tenants.contains_key(&self.caller.tenant))
    }

    fn scene<'s>(&'s self, lock: &Lock<'s>, args: Option<&'s Value>) -> Scene<'s> {
        let tool = if lock.items == Items::Tools { lock.name } else { "" };
        Scene { args, tool, backend: BACKENDS[lock.backend], caller: self.caller }
    }

    // The tags.

    fn lock<'k>(&self, ask: &'k Ask) -> Result<Lock<'k>, Verdict> {
        let lock = |tags| Lock { items: ask.items, backend: ask.backend, name: ask.name, tags };
        let own = self.own_tags(ask.items, ask.backend, ask.name);
        let known = self.model.known.get(&ask.backend).filter(|_| ask.items == Items::Tools);
        let Some(known) = known else {
            if ask.items != Items::Tools || !needs_catalogue(self.model, ask.backend) {
                return Ok(lock(own));
            }
            return Err(if self.holds_any_key(ask.backend) { Verdict::NotKnownYet } else { Verdict::hidden() });
        };
        let tool =
            known.tools.iter().find(|tool| tool.name == ask.name).filter(|_| !known.held_back.contains(ask.name));
        let (Some(tool), kept) = (tool, known.kept.get(ask.name)) else { return Err(Verdict::hidden()) };
        let imported = self.imported(ask.backend, tool).ok_or_else(Verdict::hidden)?;
        let lock = lock(own.clone());
        if self.pins(&lock).iter().any(|pin| tool.schema.as_ref().is_some_and(|schema| !has(schema, pin.argument))) {
            return Err(Verdict::hidden());
        }
        let full = self.model.imports.get(&ask.backend).is_some_and(|import| import.full);
        let mut tags = own;
        if full || !tags.is_empty() {
            tags.extend(imported);
            tags.extend(kept.into_iter().flatten());
        }
        Ok(Lock { tags, ..lock })
    }

    fn own_tags(&self, items: Items, backend: usize, name: &str) -> Set {
        let fits = |pattern: &str, name: &str| match items {
            // Nobody knows which resource is meant by a URI with dot segments, or by one that URL parsers write otherwise.
            Items::Resources => {
                !["/../", "//@", ":/x"].iter().any(|part| name.contains(part))
                    && uri_fits(pattern.as_bytes(), name.as_bytes())
            }
            // Nobody knows which tool or prompt is meant by a name in which something is not seen.
            _ => !name.contains('\u{200b}') && name_fits(pattern.as_bytes(), name.as_bytes()),
        };
        let of = |name: &str| -> Set {
            let tagged = self.model.tagged.iter().filter(|(of, on, ..)| *of == items && *on == backend);
            tagged.filter(|(_, _, pattern, _)| fits(pattern, name)).map(|(.., tag)| *tag).collect()
        };
        let own = of(name);
        if own.is_empty() || items != Items::Resources {
            return own;
        }
        // What locks a resource locks it with a query or a slash behind it, and with a user or a port, too.
        taken_for(name).iter().flat_map(|name| of(name)).collect()
    }

    /// What the tool declares; nothing where it stays shut for it.
    fn imported(&self, backend: usize, tool: &Tool) -> Option<Set> {
        let mut tags = Set::new();
        let Some(import) = self.model.imports.get(&backend) else { return Some(tags) };
        let mut declared = Vec::new();
        if import.meta {
            for place in ["fastmcp", "_fastmcp"] {
                let said = tool.meta.as_ref().map_or(&Value::Null, |meta| &meta[place]["tags"]);
                if !said.is_null() {
                    let texts: Option<Vec<&str>> = said.as_array()?.iter().map(Value::as_str).collect();
                    declared.extend(texts?);
                }
            }
        }
        if import.annotations {
            let hint = |name: &str, otherwise: bool| {
                let said = tool.annotations.as_ref().and_then(|hints| hints.get(name));
                said.map_or(Some(otherwise), Value::as_bool)
            };
            match (hint("readOnlyHint", false)?, hint("destructiveHint", true)?) {
                (true, _) => declared.push("read"),
                (false, true) => declared.push("destructive"),
                (false, false) => {}
            }
        }
        for name in declared {
            match TAGS.iter().position(|tag| *tag == name) {
                Some(tag) => drop(tags.insert(tag)),
                None if import.drop => {}
                None => return None,
            }
        }
        Some(tags)
    }

    // The keys.

    /// The roles of which the caller is a member.
    pub(crate) fn held(&self) -> Set {
        let is_member = |(at, role): &(usize, &Role)| match &role.members {
            None => self.caller.kind == Kind::User && self.caller.roles.contains(&ROLES[*at]),
            Some(members) if self.caller.kind == Kind::Public => members.public,
            Some(members) if self.caller.kind == Kind::App => {
                members.apps.iter().any(|value| self.caller.roles.contains(value))
            }
            Some(members) => {
                members.roles.iter().any(|value| self.caller.roles.contains(value))
                    || !members.groups.is_disjoint(&self.caller.groups)
            }
        };
        self.model.roles.iter().enumerate().filter(is_member).map(|(at, _)| at).collect()
    }

    /// The roles beyond which the caller's tenant does not go.
    fn ceiling(&self) -> Option<&Set> {
        let tenants = self.model.tenants.as_ref().filter(|_| self.caller.kind != Kind::Public);
        tenants?.get(&self.caller.tenant)?.as_ref()
    }

    fn with_inherited(&self, role: usize) -> Set {
        let mut all = Set::from([role]);
        self.model.roles[role].inherits.iter().for_each(|above| all.extend(self.with_inherited(*above)));
        all
    }

    /// These roles, but those in shadow, and what they inherit.
    fn acting<'r>(&self, roles: impl Iterator<Item = &'r usize>) -> Set {
        roles.filter(|role| !self.model.roles[**role].shadow).flat_map(|role| self.with_inherited(*role)).collect()
    }

    /// Whether one of these roles has a key for the tag: where arguments are not known, one that it may turn out to have.
    fn have_key(&self, roles: &Set, backend: usize, tag: usize, scene: Option<&Scene<'_>>) -> bool {
        roles.iter().map(|role| &self.model.roles[*role]).any(|role| {
            role.on.contains(&backend)
                && role.opens.iter().any(|open| {
                    open.tag == tag
                        && open.on.as_ref().is_none_or(|on| on.contains(&backend))
                        && scene.is_none_or(|scene| is_met(open.when.as_ref(), scene))
                })
        })
    }

    fn keys(&self, backend: usize, scene: &Scene<'_>) -> Set {
        let held = self.acting(self.held().iter());
        let ceiling = self.ceiling().map(|roles| self.acting(roles.iter()));
        let has = |tag: &usize| {
            self.have_key(&held, backend, *tag, Some(scene))
                && ceiling.as_ref().is_none_or(|roles| self.have_key(roles, backend, *tag, Some(scene)))
        };
        (0..TAGS.len()).filter(has).collect()
    }

    /// The tags that need no key for a tool, once for every role that says so.
    fn ignored(&self, lock: &Lock<'_>) -> Vec<Set> {
        self.within_ceiling(lock, self.acting(self.held().iter()))
    }

    /// What these roles ignore, and the tenant's ceiling does, too.
    fn within_ceiling(&self, lock: &Lock<'_>, roles: Set) -> Vec<Set> {
        let of = |roles: Set| -> Vec<Set> {
            let grants = roles.iter().flat_map(|role| &self.model.roles[*role].grants).collect::<Vec<&Grant>>();
            let here = grants.into_iter().filter(|grant| grant.backend == lock.backend && grant.tool == lock.name);
            here.map(|grant| grant.ignoring.clone()).collect()
        };
        if lock.items != Items::Tools {
            return Vec::new();
        }
        let own = of(roles);
        match self.ceiling() {
            None => own,
            Some(roles) => {
                let most = of(self.acting(roles.iter()));
                own.iter().flat_map(|mine| most.iter().map(move |theirs| mine & theirs)).collect()
            }
        }
    }

    fn holds_any_key(&self, backend: usize) -> bool {
        let held = self.acting(self.held().iter());
        let ceiling = self.ceiling().map(|roles| self.acting(roles.iter()));
        // A key for what nothing there can carry opens nothing there.
        let is_there = |tag: usize| {
            self.model.imports.contains_key(&backend)
                || self.model.tagged.iter().any(|(_, on, _, of)| (*on, *of) == (backend, tag))
        };
        let key = |tag: usize| {
            is_there(tag)
                && self.have_key(&held, backend, tag, None)
                && ceiling.as_ref().is_none_or(|roles| self.have_key(roles, backend, tag, None))
        };
        let grant = |tool: &&str| {
            !self.ignored(&Lock { items: Items::Tools, backend, name: tool, tags: Set::new() }).is_empty()
        };
        (0..TAGS.len()).any(key) || crate::model::TOOLS.iter().any(grant)
    }

    // The decision.

    fn opens(&self, lock: &Lock<'_>, scene: &Scene<'_>) -> bool {
        !lock.tags.is_empty() && (self.model.shadow || self.opens_by_itself(lock, scene))
    }

    /// Not counting a policy that only records.
    fn opens_by_itself(&self, lock: &Lock<'_>, scene: &Scene<'_>) -> bool {
        let nothing_ignored = std::iter::once(Set::new());
        self.firing(lock, scene, false).next().is_none()
            && nothing_ignored.chain(self.ignored(lock)).any(|ignored| self.is_enough(lock, scene, &ignored, true))
    }

    /// A key for every tag, but those that are ignored, and those in shadow for who holds another.
    fn is_enough(&self, lock: &Lock<'_>, scene: &Scene<'_>, ignored: &Set, mercy: bool) -> bool {
        let open = &self.keys(lock.backend, scene) | ignored;
        let (shadow, enforced): (Set, Set) = lock.tags.iter().partition(|tag| self.model.tags[**tag].shadow);
        let spared = if mercy && !enforced.is_disjoint(&open) { shadow } else { Set::new() };
        lock.tags.is_subset(&(&open | &spared))
    }

    /// The deny rules, enforced or in shadow, that refuse.
    fn firing<'f>(
        &'f self,
        lock: &'f Lock<'_>,
        scene: &'f Scene<'_>,
        in_shadow: bool,
    ) -> impl Iterator<Item = (usize, &'f Deny)> {
        let spared: Set = self.held().into_iter().filter(|role| self.counts_for_unless(*role)).collect();
        let fires = move |(_, rule): &(usize, &Deny)| {
            rule.shadow == in_shadow
                && rule.unless.is_disjoint(&spared)
                && rule.on.as_ref().is_none_or(|on| on.contains(&lock.backend))
                && !rule.tags.is_disjoint(&lock.tags)
                && match rule.when.as_ref().map(|when| when.truth(scene)) {
                    None | Some(Ok(true) | Err(Doubt::Failed)) => true,
                    Some(Ok(false) | Err(Doubt::Unknown)) => false,
                }
        };
        self.model.denies.iter().enumerate().filter(fires)
    }

    /// Membership, not inheritance; not in shadow; within the tenant's ceiling.
    fn counts_for_unless(&self, role: usize) -> bool {
        !self.model.roles[role].shadow && self.ceiling().is_none_or(|ceiling| ceiling.contains(&role))
    }

    fn is_covered(&self, lock: &Lock<'_>) -> bool {
        let granted = |tag: &usize| self.caller.scopes.as_ref().is_none_or(|scopes| scopes.contains(tag));
        lock.tags.iter().all(|tag| granted(tag) && self.signed_in_enough(*tag))
    }

    fn signed_in_enough(&self, tag: usize) -> bool {
        let wanted = &self.model.tags[tag];
        let strong = wanted.acr.is_none_or(|acr| self.caller.acrs.contains(&acr));
        let fresh = wanted.max_age.is_none_or(|age| self.caller.auth_time.is_some_and(|at| self.now <= at + age));
        (wanted.acr.is_none() && wanted.max_age.is_none()) || (self.caller.kind == Kind::User && strong && fresh)
    }

    // Pins.

    fn pins(&self, lock: &Lock<'_>) -> Vec<&Pin> {
        let is_for = |pin: &&Pin| {
            let fits = |(on, pattern): &(usize, &str)| {
                *on == lock.backend && name_fits(pattern.as_bytes(), lock.name.as_bytes())
            };
            let excepted = pin.except.iter().any(|(on, name)| *on == lock.backend && *name == lock.name);
            pin.items == lock.items
                && match pin.items {
                    Items::Resources => !variables(pin, lock.backend, lock.name).is_empty(),
                    _ => pin.patterns.iter().any(fits) && !excepted,
                }
        };
        self.model.pins.iter().filter(is_for).collect()
    }

    fn value(&self, pin: &Pin) -> Option<Value> {
        match &pin.to {
            To::Caller(field) => self.caller.field(field),
            To::Value(value) => Some(value.clone()),
        }
    }

    /// Whether a URI has in it what a pin wants.
    fn fits(&self, pin: &Pin, ask: &Ask) -> bool {
        let wanted = self.value(pin).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        variables(pin, ask.backend, ask.name).into_iter().all(|found| Some(found) == wanted)
    }

    fn after_pins(&self, pins: &[&Pin], args: &Value) -> Option<Value> {
        let mut args = args.clone();
        for pin in pins.iter().filter(|pin| pin.items != Items::Resources) {
            let value = self.value(pin)?;
            let mut place = &mut args;
            for name in pin.argument {
                if is_respelled(place, name) {
                    return None;
                }
                if pin.set {
                    place = place.as_object_mut()?.entry(*name).or_insert_with(|| json!({}));
                } else {
                    place = place.get_mut(name)?;
                }
            }
            if pin.set {
                *place = value;
            } else if *place != value {
                return None;
            }
        }
        Some(args)
    }

    /// What headers say of the arguments that leave.
    fn headers(&self, lock: &Lock<'_>, args: &Value) -> Option<BTreeMap<String, String>> {
        let known = self.model.known.get(&lock.backend).filter(|_| lock.items == Items::Tools)?;
        let tool = known.tools.iter().find(|tool| tool.name == lock.name)?;
        if self.pins(lock).is_empty() {
            return None;
        }
        let mut said = BTreeMap::new();
        tool.schema.iter().for_each(|schema| mirror(schema, args, &mut said));
        Some(said)
    }

    /// The schema as the caller sees it; nothing where the tool is not shown.
    pub(crate) fn shown_schema(&self, backend: usize, name: &'static str, schema: &Value) -> Option<Value> {
        let lock = Lock { items: Items::Tools, backend, name, tags: Set::new() };
        let mut schema = schema.clone();
        for pin in self.pins(&lock) {
            if !has(&schema, pin.argument) {
                return None;
            }
            let (last, above) = pin.argument.split_last()?;
            let mut place = &mut schema;
            for name in above {
                place = &mut place["properties"][*name];
            }
            if pin.set {
                place["properties"].as_object_mut()?.remove(*last);
                if let Some(required) = place.get_mut("required").and_then(Value::as_array_mut) {
                    required.retain(|name| name != last);
                }
            }
        }
        Some(schema)
    }

    pub(crate) fn hidden_arguments(&self, backend: usize, prompt: &'static str) -> BTreeSet<String> {
        let lock = Lock { items: Items::Prompts, backend, name: prompt, tags: Set::new() };
        self.pins(&lock).into_iter().filter(|pin| pin.set).map(|pin| pin.argument[0].to_owned()).collect()
    }

    /// The tags of a tool; none where it stays shut.
    pub(crate) fn tags_of_tool(&self, backend: usize, name: &'static str) -> Set {
        let ask = Ask { items: Items::Tools, backend, name, args: json!({}) };
        self.lock(&ask).map(|lock| lock.tags).unwrap_or_default()
    }

    // What is told and recorded.

    fn missing(&self, lock: &Lock<'_>, scene: &Scene<'_>) -> Set {
        &lock.tags - &self.keys(lock.backend, scene)
    }

    fn explained(&self, lock: &Lock<'_>, scene: &Scene<'_>) -> Option<String> {
        let catalogued = lock.items == Items::Tools && self.model.known.contains_key(&lock.backend);
        if !self.model.explain || !catalogued {
            return None;
        }
        if let Some(reason) = self.firing(lock, scene, false).find_map(|(_, rule)| rule.reason.clone()) {
            return Some(reason);
        }
        let (shadow, enforced): (Set, Set) = lock.tags.iter().partition(|tag| self.model.tags[**tag].shadow);
        let spared = if enforced.is_empty() { Set::new() } else { shadow };
        let needs: Vec<String> =
            (&self.missing(lock, scene) - &spared).iter().map(|tag| format!("tag {}", TAGS[*tag])).collect();
        let needs = if needs.is_empty() { String::new() } else { format!(" (needs {})", needs.join(", ")) };
        Some(format!("Not open: {}{needs}", lock.name))
    }

    /// What roles in shadow would have opened.
    fn would_open(&self, lock: &Lock<'_>, scene: &Scene<'_>) -> BTreeSet<(String, &'static str)> {
        let missing = self.missing(lock, scene);
        let ceiling = self.ceiling().map(|roles| self.acting(roles.iter()));
        let mut would = BTreeSet::new();
        for role in self.held().into_iter().filter(|role| self.model.roles[*role].shadow) {
            let all = self.with_inherited(role);
            let key = |tag: &usize| {
                self.have_key(&all, lock.backend, *tag, Some(scene))
                    && ceiling.as_ref().is_none_or(|roles| self.have_key(roles, lock.backend, *tag, Some(scene)))
            };
            let ignored: Set = self.within_ceiling(lock, all.clone()).into_iter().flatten().collect();
            let opened = missing.iter().filter(|tag| key(tag) || ignored.contains(*tag));
            would.extend(opened.map(|tag| (ROLES[role].to_owned(), TAGS[*tag])));
        }
        would
    }

    /// What would have refused, if it did more than record.
    fn recorded(&self, lock: &Lock<'_>, scene: &Scene<'_>) -> BTreeSet<String> {
        let mut recorded: BTreeSet<String> =
            self.firing(lock, scene, true).map(|(at, _)| format!("deny rule `d{at}`")).collect();
        if !self.opens_by_itself(lock, scene) {
            recorded.insert("the policy".to_owned());
            return recorded;
        }
        let enough = |ignored: &Set, mercy| self.is_enough(lock, scene, ignored, mercy);
        let ignored = self.ignored(lock);
        let as_if_enforced = enough(&Set::new(), false) || ignored.iter().any(|ignored| enough(ignored, false));
        if !as_if_enforced {
            recorded.insert("a tag".to_owned());
        }
        recorded
    }
}

fn is_met(when: Option<&Expr>, scene: &Scene<'_>) -> bool {
    when.is_none_or(|when| matches!(when.truth(scene), Ok(true) | Err(Doubt::Unknown)))
}

pub(crate) fn needs_catalogue(model: &Model, backend: usize) -> bool {
    let pinned = |pin: &Pin| pin.items == Items::Tools && pin.patterns.iter().any(|(on, _)| *on == backend);
    model.imports.contains_key(&backend) || model.pins.iter().any(pinned)
}

/// The most that one of the caller's roles gives on a backend: calls, seconds, and how many at once.
pub(crate) fn rate(meaning: &Meaning<'_>, backend: usize) -> Option<(u32, u64, u32)> {
    let roles = meaning.held().into_iter().map(|role| &meaning.model.roles[role]);
    let rates = roles.filter(|role| !role.shadow && role.on.contains(&backend)).filter_map(|role| role.rate);
    let rates = rates.map(|(calls, (_, seconds), burst)| (calls, seconds, burst.unwrap_or(calls)));
    rates.max_by_key(|(calls, seconds, burst)| (u64::from(*calls) * 3600 / seconds, *burst))
}

/// Whether a schema has the argument by `properties` and nothing else.
fn has(schema: &Value, path: &[&str]) -> bool {
    let [name, rest @ ..] = path else { return true };
    schema.get("properties").and_then(|properties| properties.get(name)).is_some_and(|inner| has(inner, rest))
}

fn mirror(schema: &Value, args: &Value, said: &mut BTreeMap<String, String>) {
    for (name, property) in schema.get("properties").and_then(Value::as_object).unwrap_or(&Map::new()) {
        let value = args.get(name).unwrap_or(&Value::Null);
        let text = match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            _ => None,
        };
        if let (Some(header), Some(text)) = (property.get("x-mcp-header").and_then(Value::as_str), text) {
            said.insert(header.to_lowercase(), text);
        }
        mirror(property, value, said);
    }
}

/// `*` is any run of characters.
fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|skipped| name_fits(rest, &name[skipped..])),
        [first, rest @ ..] => name.first() == Some(first) && name_fits(rest, &name[1..]),
    }
}

/// `*` is any run within a segment, `**` any run.
fn uri_fits(pattern: &[u8], uri: &[u8]) -> bool {
    match pattern {
        [] => uri.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=uri.len()).any(|skipped| uri_fits(rest, &uri[skipped..])),
        [b'*', rest @ ..] => {
            let within = uri.iter().position(|byte| *byte == b'/').unwrap_or(uri.len());
            (0..=within).any(|skipped| uri_fits(rest, &uri[skipped..]))
        }
        [first, rest @ ..] => uri.first() == Some(first) && uri_fits(rest, &uri[1..]),
    }
}

/// A URI, and what a server may take for the same: without its query, without a slash at its end, without a user, without
/// a port.
fn taken_for(uri: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([uri.to_owned()]);
    let path = |uri: &str| uri.split('?').next().unwrap_or(uri).to_owned();
    let bare = |uri: &str| path(uri).trim_end_matches('/').to_owned();
    let user = |uri: &str| uri.replace("//u@", "//");
    let port = |uri: &str| uri.replace(":8/", "/");
    for less in [&path as &dyn Fn(&str) -> String, &bare, &user, &port] {
        all.extend(all.iter().map(|uri| less(uri)).collect::<Vec<_>>());
    }
    all
}

/// What stands for a pin's variable in a URI, however a server takes it.
fn variables(pin: &Pin, backend: usize, uri: &str) -> Vec<String> {
    let counts = |uri: &String| !pin.except.iter().any(|(on, name)| *on == backend && name == uri);
    let here = pin.patterns.iter().filter(|(on, _)| *on == backend);
    let templates: Vec<&str> = here.map(|(_, template)| *template).collect();
    let of =
        |uri: String| templates.iter().filter_map(|template| variable(template, &uri)).map(str::to_owned).collect();
    taken_for(uri).into_iter().filter(counts).flat_map(|uri| -> Vec<String> { of(uri) }).collect()
}

/// What stands for the one variable of a template; one segment, and something.
fn variable<'u>(template: &str, uri: &'u str) -> Option<&'u str> {
    let (before, rest) = template.split_once('{')?;
    let (_, after) = rest.split_once('}')?;
    let value = uri.strip_prefix(before)?.strip_suffix(after)?;
    (!value.is_empty() && !value.contains('/')).then_some(value)
}
