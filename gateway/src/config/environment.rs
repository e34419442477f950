//! The door to the environment variables, and `${NAME}` in texts.

use std::collections::HashMap;

/// Where `${NAME}` and the well-known environment names are looked up.
#[derive(Clone, Debug)]
pub struct Environment(Source);

#[derive(Clone, Debug)]
enum Source {
    Process,
    Fixed(HashMap<String, String>),
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn process() -> Self {
        Self(Source::Process)
    }

    /// A fixed set of variables; for tests.
    #[must_use]
    pub fn fixed<'v>(variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        Self(Source::Fixed(variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()))
    }

    /// These variables; for tests.
    #[cfg(test)]
    pub(super) fn of(variables: HashMap<String, String>) -> Self {
        Self(Source::Fixed(variables))
    }

    /// The value of a variable; `None` when it is absent, empty or not UTF-8.
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the environment")]
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Source::Process => std::env::var(name).ok(),
            Source::Fixed(map) => map.get(name).cloned(),
        };
        value.filter(|text| !text.is_empty())
    }

    /// Replaces every `${NAME}` and `${NAME:-default}` in `text`; `$$` stands for one dollar sign.
    ///
    /// # Errors
    ///
    /// Returns what is wrong: a variable that is not set and has no default, or a `${` without its `}`.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(tail) = after.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some(tail) = after.strip_prefix('{') {
                let (inside, tail) = tail.split_once('}').ok_or_else(|| "`${` without its `}`".to_owned())?;
                out.push_str(&self.lookup(inside)?);
                rest = tail;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn lookup(&self, inside: &str) -> Result<String, String> {
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        self.get(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
            format!("the environment variable `{name}` is not set; set it, or write `${{{name}:-default}}`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_defaults_are_expanded() {
        let env = Environment::fixed([("A", "one"), ("EMPTY", "")]);
        assert_eq!(env.expand("x ${A} ${B:-two} $$ $5").as_deref(), Ok("x one two $ $5"));
        assert_eq!(env.expand("${EMPTY:-three}").as_deref(), Ok("three"));
    }

    #[test]
    fn a_missing_variable_says_which() {
        let env = Environment::fixed([]);
        assert!(env.expand("${NOPE}").is_err_and(|e| e.contains("`NOPE`")));
        assert!(env.expand("${NOPE").is_err());
    }
}
