//! Whether there is anything of a kind for a caller at all: what a server's introduction of itself may mention.

use crate::compiled::{Backend, Bits};
use crate::view::View;

/// Everything that a view's answers depend on: two views with one mask show the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    policy: u64,
    backend: usize,
    keys: Bits,
    denied: Bits,
    unpinnable: Vec<usize>,
}

impl View<'_> {
    /// What the view's answers depend on; `None` where they depend on more than keys.
    #[must_use]
    pub fn mask(&self) -> Option<Mask> {
        let (backend, _) = self.found?;
        let held = self.ring.backends.get(backend)?;
        let pinned = self.policy.pins_resources_of(backend);
        let by_keys = self.ring.tenant_listed && held.grants.is_empty() && !held.asks_by_tool && !pinned;
        let (keys, denied, unpinnable) = (held.listed, held.listed_denied, self.ring.unpinnable.clone());
        by_keys.then_some(Mask { policy: self.ring.policy, backend, keys, denied, unpinnable })
    }

    /// Whether any tool could open; `false` is certain, `true` may still come to nothing.
    #[must_use]
    pub fn reaches_tools(&self) -> bool {
        let held = self.found.and_then(|(index, _)| self.ring.backends.get(index));
        let granted = held.is_some_and(|held| !held.grants.is_empty());
        (granted && self.ring.tenant_listed) || self.reaches(Backend::tool_tags)
    }

    /// Whether any prompt could open; as [`View::reaches_tools`].
    #[must_use]
    pub fn reaches_prompts(&self) -> bool {
        self.reaches(|table| table.prompts.tags())
    }

    /// Whether any resource or template could open; as [`View::reaches_tools`].
    #[must_use]
    pub fn reaches_resources(&self) -> bool {
        self.reaches(|table| table.resources.tags())
    }

    /// Whether the policy speaks of a tool of this name, and it does not open.
    #[must_use]
    pub fn hides_tool(&self, name: &str) -> bool {
        let spoken_of = self.found.is_some_and(|(_, table)| !table.tool_locks(name).is_empty());
        spoken_of && !self.tool(name)
    }

    /// As [`View::hides_tool`], for a prompt. `*` matches every word of a sentence: one of letters alone is the name of a
    /// prompt only where the policy spells it out.
    #[must_use]
    pub fn hides_prompt(&self, name: &str) -> bool {
        let is_word = name.chars().all(char::is_alphabetic);
        let spoken_of = self
            .found
            .is_some_and(|(_, table)| table.prompts.names(name) || (!is_word && !table.prompts.of(name).is_empty()));
        spoken_of && !self.prompt(name)
    }

    /// As [`View::hides_tool`], for the URI of a resource.
    #[must_use]
    pub fn hides_resource(&self, uri: &str) -> bool {
        let spoken_of = self.found.is_some_and(|(_, table)| uri.contains(':') && !table.resources.of(uri).is_empty());
        spoken_of && !self.resource(uri)
    }

    fn reaches(&self, tags: impl FnOnce(&Backend) -> Bits) -> bool {
        let Some((index, table)) = self.found else { return false };
        let Some(held) = self.ring.backends.get(index) else { return false };
        let may = if held.asks_by_tool { Bits::ALL } else { held.listed.without(held.listed_denied) };
        self.ring.tenant_listed && tags(table).meets(may)
    }
}

#[cfg(test)]
mod tests {
    use crate::{BackendName, Kind, Policy, Subject};

    #[test]
    fn a_caller_reaches_what_one_of_their_keys_could_open() {
        let backend = BackendName::try_from("weather").unwrap();
        let document = "
roles:
  Reader: { opens: [read] }
  Granted: { tools: [{ name: weather/rotate_keys, ignoring: [admin] }] }
  Writer: { opens: [write] }
tools: { weather: { read: [\"get_*\"], admin: [rotate_keys] } }
prompts: { weather: { write: [brief, \"*_all\"], admin: [\"*\"] } }
resources: { weather: { read: [\"weather://a/**\"], admin: [\"weather://a/key\"] } }
";
        let policy = Policy::from_yaml(document, std::slice::from_ref(&backend)).unwrap();
        let reached = |role: &str| {
            let subject = Subject::new(Kind::User, "t", "o").with_roles(vec![role.to_owned()]);
            let view = policy.view(&subject, &backend);
            (view.reaches_tools(), view.reaches_prompts(), view.reaches_resources())
        };
        assert_eq!(reached("Reader"), (true, false, true));
        assert_eq!(reached("Granted"), (true, false, false));
        assert_eq!(reached("Writer"), (false, true, false));
        assert_eq!(reached("Nobody"), (false, false, false));
        let mask = |role: &str| {
            let subject = Subject::new(Kind::User, "t", role).with_roles(vec![role.to_owned(), "x".to_owned()]);
            policy.view(&subject, &backend).mask()
        };
        assert!(mask("Reader").is_some() && mask("Reader") == mask("Reader"));
        assert_ne!(mask("Reader"), mask("Writer"));
        assert_eq!(mask("Granted"), None);
        let subject = Subject::new(Kind::User, "t", "o").with_roles(vec!["Reader".to_owned()]);
        let view = policy.view(&subject, &backend);
        assert!(view.hides_tool("rotate_keys"));
        assert!(!view.hides_tool("get_x") && !view.hides_tool("unheard_of"));
        assert!(view.hides_prompt("brief") && view.hides_prompt("brief_all") && !view.hides_prompt("word"));
        assert!(view.hides_resource("weather://a/key") && view.hides_resource("WEATHER://a/k%65y"));
        assert!(
            !view.hides_resource("weather://a/b") && !view.hides_resource("other://a") && !view.hides_resource("a")
        );
    }
}
