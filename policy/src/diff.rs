//! What one policy opens that another does not: who gains what, who loses what, and for whom the terms are others.

use std::collections::BTreeSet;

use crate::policy::Policy;
use crate::universe::Item;
use crate::who::{Holder, Standing, Terms, pairs};

/// One caller, one item, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Who.
    pub holder: Holder,
    /// What.
    pub item: Item,
    /// On what terms it opened; nothing where it did not.
    pub before: Option<Terms>,
    /// On what terms it opens; nothing where it does not.
    pub after: Option<Terms>,
}

/// What has become of an item for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It opens now.
    Gains,
    /// It opens no longer.
    Loses,
    /// It opens on other terms.
    OtherTerms,
}

impl Change {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Loses => "loses",
            Self::OtherTerms => "other terms",
        }
    }
}

impl Difference {
    /// What has become of it.
    #[must_use]
    pub fn change(&self) -> Change {
        match (&self.before, &self.after) {
            (None, _) => Change::Gains,
            (_, None) => Change::Loses,
            (Some(_), Some(_)) => Change::OtherTerms,
        }
    }

    /// Whether something opens that did not, or a term has gone.
    #[must_use]
    pub fn widens(&self) -> bool {
        let terms = |terms: &Option<Terms>| -> BTreeSet<String> {
            terms.iter().flat_map(Terms::iter).map(str::to_owned).collect()
        };
        self.before.is_none() || (self.after.is_some() && !terms(&self.before).is_subset(&terms(&self.after)))
    }
}

/// Everything that differs between two policies for everybody whom one of them gives a role, and for every two of those
/// where neither alone sees a difference.
#[must_use]
pub fn differences(old: &Policy, new: &Policy, items: &BTreeSet<Item>) -> Vec<Difference> {
    let holders: Vec<Holder> =
        old.holders().into_iter().chain(new.holders()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut found: Vec<Difference> = holders.iter().flat_map(|holder| of(old, new, holder, items)).collect();
    let alone: BTreeSet<(Holder, Item)> =
        found.iter().map(|difference| (difference.holder.clone(), difference.item.clone())).collect();
    for (one, other, pair) in pairs(&holders) {
        let told = |item: &Item| [one, other].into_iter().any(|holder| alone.contains(&(holder.clone(), item.clone())));
        let together = of(old, new, &pair, items).into_iter();
        let together = together.filter(|difference| difference.change() != Change::OtherTerms);
        found.extend(together.filter(|difference| !told(&difference.item)));
    }
    found
}

fn of(old: &Policy, new: &Policy, holder: &Holder, items: &BTreeSet<Item>) -> Vec<Difference> {
    let (was, is) = (Standing::of(old, holder), Standing::of(new, holder));
    let differs = |item: &Item| {
        let (before, after) = (was.reach(item), is.reach(item));
        (before != after).then(|| Difference { holder: holder.clone(), item: item.clone(), before, after })
    };
    items.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::universe::Universe;

    fn compared(old: &str, new: &str) -> Vec<String> {
        let [old, new] = [old, new].map(|text| Document::from_yaml(text).unwrap());
        let universe = Universe::of(&[&old, &new]);
        let policy = |document: &Document| universe.applied(&Policy::compile(document, &document.backends()).unwrap());
        let said = |difference: Difference| {
            let widens = if difference.widens() { "+" } else { "-" };
            format!("{widens} {} {} {}", difference.holder, difference.change().as_str(), difference.item)
        };
        differences(&policy(&old), &policy(&new), &universe.items()).into_iter().map(said).collect()
    }

    const OLD: &str = "
roles: { A: { opens: [read] }, B: { opens: [write] } }
tools: { w: { read: [\"get_*\"], write: [add] } }
tests: { catalogue: { w: [get_x, get_y, add] } }
";

    #[test]
    fn the_same_is_no_difference() {
        assert_eq!(compared(OLD, OLD), Vec::<String>::new());
        assert_eq!(compared(OLD, &OLD.replace("\"get_*\"", "get_x, get_y")), Vec::<String>::new());
    }

    #[test]
    fn who_gains_and_who_loses_is_told() {
        for (from, to, expected) in [
            (
                "opens: [write]",
                "opens: [read, write]",
                vec!["+ users with app role `B` gains w/get_x", "+ users with app role `B` gains w/get_y"],
            ),
            (
                "A: { opens: [read] }, ",
                "",
                vec!["- users with app role `A` loses w/get_x", "- users with app role `A` loses w/get_y"],
            ),
            ("write: [add]", "write: [add, get_x]", vec!["- users with app role `A` loses w/get_x"]),
            ("[write]", "[{ tag: write, when: args.x }]", vec!["- users with app role `B` other terms w/add"]),
            ("write: [add]", "write: [add], a: [add2], b: [add2]", vec![]),
        ] {
            let mut found = compared(OLD, &OLD.replacen(from, to, 1));
            found.sort();
            assert_eq!(found, expected, "{to}");
        }
    }

    #[test]
    fn what_only_two_roles_together_reach_is_told_of_the_two() {
        let new = "
roles: { A: { opens: [read, one] }, B: { opens: [write, two] } }
tools: { w: { read: [\"get_*\"], write: [add], one: [both], two: [both] } }
tests: { catalogue: { w: [get_x, get_y, add, both] } }
";
        assert_eq!(compared(OLD, new), ["+ users with app role `A` and app role `B` gains w/both"]);
    }
}
