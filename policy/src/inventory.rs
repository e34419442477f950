//! What the policy says of one tool without asking who calls: its tags, where each comes from, and who opens it.

use crate::compiled::Bits;
use crate::names::{BackendName, Role, Tag};
use crate::policy::Policy;

/// A tag on a tool, and the entry of the policy that put it there: the tool's name, or a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The tag.
    pub tag: Tag,
    /// The entries, in the order of the file for patterns; the name itself comes first; `import` where the backend
    /// declares the tag.
    pub by: Vec<String>,
}

impl Policy {
    /// Whether the policy spells this tool's name out, in `tools` or in a role's grant; a `*` does not.
    #[must_use]
    pub fn names_tool(&self, backend: &BackendName, tool: &str) -> bool {
        self.backend(backend).is_some_and(|(index, table)| {
            let mut grants = self.0.roles.iter().flat_map(|role| &role.grants);
            table.tools.names(tool) || grants.any(|grant| grant.backend == index && grant.tool == tool)
        })
    }

    /// Whether the policy spells this prompt's name out; a `*` does not.
    #[must_use]
    pub fn names_prompt(&self, backend: &BackendName, prompt: &str) -> bool {
        self.backend(backend).is_some_and(|(_, table)| table.prompts.names(prompt))
    }

    /// Whether a condition names this app-role value.
    #[must_use]
    pub fn conditions_name(&self, value: &str) -> bool {
        // Keys do not read roles.
        let mut rules = self.0.denies.iter().filter_map(|rule| rule.when.as_ref());
        let spelt = ['"', '\''].map(|quote| format!("{quote}{value}{quote}"));
        rules.any(|condition| spelt.iter().any(|value| condition.text().contains(value.as_str())))
    }

    /// The tags on a tool, by name, and where each comes from.
    #[must_use]
    pub fn tool_tags(&self, backend: &BackendName, tool: &str) -> Vec<Tagged> {
        let Some((_, table)) = self.backend(backend) else { return Vec::new() };
        let sources = table.tools.sources(tool);
        let by = |bit: usize| {
            let own = sources.iter().filter(|(_, of)| *of == bit).map(|(source, _)| source.clone());
            let imported = (!table.tools.of(tool).contains(bit)).then(|| "import".to_owned());
            own.chain(imported).collect()
        };
        let tags = table.tool_locks(tool).iter();
        tags.filter_map(|bit| Some(Tagged { tag: table.tags.get(bit)?.clone(), by: by(bit) })).collect()
    }

    /// The policy roles that open a tool, each on its own and if its conditions are met: what several open together is
    /// not in it.
    #[must_use]
    pub fn tool_openers(&self, backend: &BackendName, tool: &str) -> Vec<Role> {
        let Some((index, table)) = self.backend(backend) else { return Vec::new() };
        let locks = table.tool_locks(tool);
        if locks.is_empty() {
            return Vec::new();
        }
        let roles = self.0.roles.iter().enumerate().filter(|(at, role)| {
            let mut keys = Bits::default();
            role.keys.iter().filter(|key| key.backend == index).for_each(|key| keys.insert(key.bit));
            let mut grants = role.grants.iter().filter(|grant| grant.backend == index && grant.tool == tool);
            let denied = self.0.denies.iter().any(|rule| {
                rule.is_plain() && !rule.exempts(&[*at]) && rule.tags.get(index).is_some_and(|tags| tags.meets(locks))
            });
            !denied && (locks.within(keys) || grants.any(|grant| locks.without(grant.ignoring).within(keys)))
        });
        roles.map(|(_, role)| role.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_its_tags_their_sources_and_its_openers() {
        let backend = BackendName::try_from("weather").unwrap();
        let text = "
roles:
  Reader: { opens: [read] }
  Writer: { opens: [read, write] }
  Granted: { opens: [read], tools: [{ name: weather/get_keys, ignoring: [admin] }] }
tools: { weather: { read: [\"get_*\", get_x], write: [\"*_x\"], admin: [get_keys] } }
prompts: { weather: { read: [\"*\", summary] } }
";
        let policy = Policy::from_yaml(text, std::slice::from_ref(&backend)).unwrap();
        let tags = |tool: &str| {
            let tags = policy.tool_tags(&backend, tool).into_iter();
            tags.map(|tagged| format!("{} by {}", tagged.tag, tagged.by.join(" "))).collect::<Vec<_>>().join(", ")
        };
        let openers = |tool: &str| {
            policy.tool_openers(&backend, tool).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((tags("get_y"), openers("get_y")), ("read by get_*".into(), "Reader Writer Granted".into()));
        assert_eq!((tags("get_x"), openers("get_x")), ("read by get_*, write by *_x".into(), "Writer".into()));
        assert_eq!(
            (tags("get_keys"), openers("get_keys")),
            ("admin by get_keys, read by get_*".into(), "Granted".into())
        );
        assert_eq!((tags("other"), openers("other")), (String::new(), String::new()));
        assert!(policy.names_tool(&backend, "get_x") && policy.names_tool(&backend, "get_keys"));
        assert!(!policy.names_tool(&backend, "get_y"));
        assert!(policy.names_prompt(&backend, "summary") && !policy.names_prompt(&backend, "get_x"));
    }

    #[test]
    fn a_value_that_only_a_condition_reads_is_known() {
        let backend = BackendName::try_from("weather").unwrap();
        let text = "
roles: { R: { opens: [read] } }
tools: { weather: { read: [get] } }
deny: [{ id: d, tags: [read], when: '!(\"Desk.Privacy\" in caller.roles)', reason: Needs it }]
";
        let policy = Policy::from_yaml(text, std::slice::from_ref(&backend)).unwrap();
        let known = ["Desk.Privacy", "Desk", "R"].map(|value| policy.conditions_name(value));
        assert_eq!(known, [true, false, false]);
    }
}
