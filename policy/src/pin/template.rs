//! URI templates with one-segment variables (RFC 6570 level 1), for pins on resources.

use crate::glob::{Step, overlap};
use crate::uri::{self, WITHIN};

/// Literals and variables in turn, a literal first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    literals: Vec<String>,
    variables: Vec<String>,
}

impl Template {
    /// Reads a template; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut marked, mut variables) = (String::new(), Vec::new());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else { return Err("a `{` has no `}`".to_owned()) };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err("a variable is a plain name, as in `{tenant}`".to_owned());
            }
            if before.is_empty() && !variables.is_empty() {
                return Err("two variables stand side by side; put something between them".to_owned());
            }
            marked.push_str(before);
            marked.push(WITHIN);
            variables.push(name.to_owned());
            rest = behind;
        }
        marked.push_str(rest);
        // INVARIANT: a template is compared in the form in which URIs are; in another it would pin nothing.
        let canonical = uri::canonical_with_marks(&marked).map_err(|error| error.to_string())?;
        let literals: Vec<String> = canonical.split(WITHIN).map(str::to_owned).collect();
        if literals.len() != variables.len() + 1 {
            return Err("it holds a character that no URI holds".to_owned());
        }
        Ok(Self { literals, variables })
    }

    /// Whether some expansion of a server's template, or a URI, may be one of this.
    pub(super) fn meets(&self, template: &str) -> bool {
        // What cannot be read in one way is refused for that.
        let Ok(other) = (if template.contains('{') { uri::template(template) } else { uri::canonical(template) })
        else {
            return false;
        };
        let character = |step: Step| if let Step::Literal(character) = step { character } else { '*' };
        let own = self.literals.join("*");
        let meets = |other: &str| {
            let other: String = uri::steps(other).map(character).collect();
            overlap(own.as_bytes(), other.as_bytes())
        };
        meets(&other) || uri::readings(&other).iter().any(|read| meets(read))
    }

    /// Whether it has a variable of this name.
    pub(crate) fn names(&self, variable: &str) -> bool {
        self.variables.iter().any(|name| name == variable)
    }

    /// What stands for the variable in a URI; `None` when the URI is no expansion of the template.
    pub(super) fn variable(&self, uri: &str, wanted: &str) -> Option<String> {
        let (first, others) = self.literals.split_first()?;
        let mut rest = uri.strip_prefix(first.as_str())?;
        let mut found = None;
        for (place, (name, literal)) in self.variables.iter().zip(others).enumerate() {
            let last = place + 1 == self.variables.len();
            let value = if last { rest.strip_suffix(literal.as_str())? } else { rest.split_once(literal.as_str())?.0 };
            if value.is_empty() || value.contains('/') {
                return None;
            }
            if name == wanted {
                found = Some(value.to_owned());
            }
            rest = rest.get(value.len() + literal.len()..)?;
        }
        found.filter(|_| rest.is_empty())
    }
}
