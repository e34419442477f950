//! One item of a backend against what one caller holds: whether it opens, and why not.
//!
//! Lists and calls ask the same questions; a list does not know the arguments, so that what hangs on them may still
//! open, and is not refused yet.

use crate::compiled::{Backend, BackendRing, Bits, DenyRule};
use crate::condition::{Answer, Arguments, Scene};
use crate::decision::{How, Reason};
use crate::names::Role;
use crate::policy::Compiled;
use crate::ring::may_be;

/// What is judged, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) policy: &'a Compiled,
    pub(crate) index: usize,
    pub(crate) table: &'a Backend,
    pub(crate) held: &'a BackendRing,
    /// The tags on the item.
    pub(crate) locks: Bits,
    /// Its name, where it is a tool.
    pub(crate) tool: Option<&'a str>,
    pub(crate) scene: Scene<'a>,
}

impl Judge<'_> {
    /// What opens it: a key for every lock, or a grant for this tool. A deny rule beats both.
    pub(crate) fn opens(&self) -> Option<How> {
        // INVARIANT: an item without a tag opens to nobody, in shadow neither.
        if self.locks.is_empty() {
            return None;
        }
        if self.policy.shadow {
            let enforced = if self.is_denied() { None } else { self.by_keys() };
            return Some(enforced.unwrap_or(How::Shadow));
        }
        if self.is_denied() { None } else { self.by_keys() }
    }

    fn by_keys(&self) -> Option<How> {
        let (keys, required) = (self.keys(), self.required());
        if required.within(keys) {
            return Some(How::Keys);
        }
        self.grant(required, keys).map(|(_, role)| How::Grant(role.clone()))
    }

    /// A grant for this tool that leaves none of these tags without a key.
    fn grant(&self, required: Bits, keys: Bits) -> Option<&(Bits, Role)> {
        let mut grants = self.tool.and_then(|tool| self.held.grants.get(tool)).into_iter().flatten();
        grants.find(|(ignoring, _)| required.without(*ignoring).within(keys))
    }

    /// The tags that need a key: tags in shadow do not, where the item has another.
    fn required(&self) -> Bits {
        required(self.locks, self.table)
    }

    /// The keys that open here, or in a list may open.
    fn keys(&self) -> Bits {
        let listing = self.is_listing();
        if listing && !self.held.asks_by_tool {
            return self.held.listed;
        }
        let mut keys = self.held.keys;
        for key in self.held.conditional.iter().filter(|key| self.locks.contains(key.bit)) {
            let met = if listing {
                may_be(&key.all, &self.scene)
            } else {
                key.all.iter().all(|condition| condition.answer(&self.scene) == Answer::True)
            };
            if met {
                keys.insert(key.bit);
            }
        }
        keys
    }

    fn is_denied(&self) -> bool {
        let plainly = if self.is_listing() { self.held.listed_denied } else { self.held.denied };
        let asks = !self.is_listing() || self.held.asks_by_tool;
        self.locks.meets(plainly) || (asks && self.asked().any(|rule| !rule.shadow && self.fires(rule)))
    }

    /// The rules about this item that have to be asked.
    fn asked(&self) -> impl Iterator<Item = &DenyRule> {
        let rules = self.held.denies.iter().filter_map(|place| self.policy.denies.get(*place));
        rules.filter(|rule| rule.tags.get(self.index).is_some_and(|tags| tags.meets(self.locks)))
    }

    /// A rule fires when its condition is met, and when it fails.
    fn fires(&self, rule: &DenyRule) -> bool {
        let answer = rule.when.as_ref().map_or(Answer::True, |when| when.answer(&self.scene));
        matches!(answer, Answer::True | Answer::Failed(_))
    }

    fn is_listing(&self) -> bool {
        matches!(self.scene.arguments, Arguments::Unknown)
    }

    /// Why it is not open: deny rules first, then the tags without a key.
    pub(crate) fn closed(&self, exempt: &[usize]) -> Vec<Reason> {
        if self.locks.is_empty() {
            return vec![Reason::Untagged];
        }
        let bound = |rule: &&DenyRule| {
            !rule.shadow
                && !rule.exempts(exempt)
                && rule.tags.get(self.index).is_some_and(|tags| tags.meets(self.locks))
        };
        let mut reasons: Vec<Reason> =
            self.policy.denies.iter().filter(bound).filter_map(|rule| self.denied_by(rule)).collect();
        for bit in self.required().without(self.keys()).iter() {
            let Some(tag) = self.table.tags.get(bit) else { continue };
            let conditional = self.held.conditional.iter().find(|key| key.bit == bit);
            let unmet = conditional.and_then(|key| {
                let condition = key.all.iter().find(|condition| condition.answer(&self.scene) != Answer::True)?;
                let why = if let Answer::Failed(why) = condition.answer(&self.scene) { Some(why) } else { None };
                Some(Reason::ConditionFalse(tag.clone(), condition.text().to_string(), why))
            });
            reasons.push(unmet.unwrap_or_else(|| Reason::TagClosed(tag.clone())));
        }
        reasons
    }

    fn denied_by(&self, rule: &DenyRule) -> Option<Reason> {
        let answer = rule.when.as_ref().map_or(Answer::True, |when| when.answer(&self.scene));
        match answer {
            Answer::True => Some(Reason::Denied(rule.id.clone(), rule.reason.clone())),
            Answer::Failed(why) => Some(Reason::DenyFailed(rule.id.clone(), why)),
            Answer::False | Answer::Unknown => None,
        }
    }

    /// What the caller may be told of a refusal: the reason that a rule gives.
    pub(crate) fn given(&self, reasons: &[Reason]) -> Option<String> {
        reasons.iter().find_map(|reason| match reason {
            Reason::Denied(_, Some(reason)) => Some(reason.clone()),
            Reason::DenyFailed(id, _) => {
                self.policy.denies.iter().find(|rule| rule.id == *id).and_then(|rule| rule.reason.clone())
            }
            _ => None,
        })
    }

    /// What would have refused an item that opens.
    pub(crate) fn in_shadow(&self, how: &How, exempt: &[usize]) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = match how {
            How::Shadow => self.closed(exempt),
            _ => Vec::new(),
        };
        reasons.extend(self.asked().filter(|rule| rule.shadow).filter_map(|rule| self.denied_by(rule)));
        if !matches!(how, How::Shadow) {
            let unheld = self.spared().iter();
            reasons.extend(unheld.filter_map(|bit| self.table.tags.get(bit)).cloned().map(Reason::ShadowTag));
        }
        reasons
    }

    /// The tags in shadow without which the item would not have opened.
    fn spared(&self) -> Bits {
        let keys = self.keys();
        if self.locks.within(keys) || self.grant(self.locks, keys).is_some() {
            return Bits::default();
        }
        let (required, unheld) = (self.required(), self.locks.and(self.table.shadow).without(keys));
        let grant = if required.within(keys) { None } else { self.grant(required, keys) };
        grant.map_or(unheld, |(ignoring, _)| unheld.without(*ignoring))
    }

    /// What roles in shadow would have opened.
    pub(crate) fn shadow_roles(&self) -> Vec<Reason> {
        let missing = self.locks.without(self.keys());
        let tag = |bit: usize| self.table.tags.get(bit).cloned();
        let keys = self.held.shadow.iter().filter(|key| missing.contains(key.bit) && may_be(&key.all, &self.scene));
        let grants = self.tool.and_then(|tool| self.held.shadow_grants.get(tool)).into_iter().flatten();
        let grants = grants.flat_map(|(ignoring, role)| missing.and(*ignoring).iter().map(move |bit| (bit, role)));
        let mut reasons: Vec<Reason> = Vec::new();
        for (bit, role) in keys.map(|key| (key.bit, &key.role)).chain(grants) {
            let reason = tag(bit).map(|tag| Reason::ShadowRole(role.clone(), tag));
            reasons.extend(reason.filter(|reason| !reasons.contains(reason)));
        }
        reasons
    }
}

/// The tags of an item that need a key: tags in shadow do not, where it has another; a tool whose tags are all in shadow
/// would open to everybody otherwise.
pub(crate) fn required(locks: Bits, table: &Backend) -> Bits {
    let enforced = locks.without(table.shadow);
    if enforced.is_empty() { locks } else { enforced }
}
