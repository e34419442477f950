//! URI templates with one-segment variables (RFC 6570 level 1), for pins on resources.

/// Literals and variables in turn, a literal first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    literals: Vec<String>,
    variables: Vec<String>,
}

impl Template {
    /// Reads a template; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (mut literals, mut variables) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else { return Err("a `{` has no `}`") };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err("a variable is a plain name, as in `{tenant}`");
            }
            if before.is_empty() && !literals.is_empty() {
                return Err("two variables stand side by side; put something between them");
            }
            literals.push(before.to_owned());
            variables.push(name.to_owned());
            rest = behind;
        }
        literals.push(rest.to_owned());
        Ok(Self { literals, variables })
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
