//! Patterns for names and URIs, matched in linear time.
//!
//! In a name `*` stands for any run of characters. In a URI `*` stays within a path segment and `**` crosses
//! segments. Matching keeps one point of return a wildcard, so that no pattern makes it slow.

/// A pattern for the names of tools and prompts: `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameGlob(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(u8),
    Any,
}

impl NameGlob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.bytes().map(|b| if b == b'*' { Part::Any } else { Part::Literal(b) }).collect())
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let (text, pattern) = (name.as_bytes(), self.0.as_slice());
        let (mut t, mut p) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        loop {
            match (pattern.get(p), text.get(t)) {
                (Some(Part::Any), _) => {
                    back = Some((p, t));
                    p += 1;
                }
                (Some(Part::Literal(want)), Some(have)) if want == have => {
                    p += 1;
                    t += 1;
                }
                (None, None) => return true,
                _ => match back {
                    Some((star, from)) if from < text.len() => {
                        back = Some((star, from + 1));
                        p = star + 1;
                        t = from + 1;
                    }
                    _ => return false,
                },
            }
        }
    }
}

/// A pattern for resource URIs and URI templates (RFC 6570).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriGlob(Vec<UriPart>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UriPart {
    Literal(char),
    /// `*`: any run without a slash.
    Segment,
    /// `**`: any run.
    Across,
}

/// A URI, or a template whose variables stand for every value they can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Char(char),
    /// A simple variable: its value has no slash.
    Variable,
    /// A reserved, path or other variable: its value may have any character.
    Wide,
}

impl UriGlob {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut parts = Vec::with_capacity(pattern.len());
        for c in pattern.chars() {
            match (c, parts.last()) {
                ('*', Some(UriPart::Segment)) => {
                    parts.pop();
                    parts.push(UriPart::Across);
                }
                ('*', Some(UriPart::Across)) => {}
                ('*', _) => parts.push(UriPart::Segment),
                _ => parts.push(UriPart::Literal(c)),
            }
        }
        Self(parts)
    }

    /// Whether this URI is inside the pattern; one that could be read as another place never is.
    pub(crate) fn matches(&self, uri: &str) -> bool {
        is_canonical(uri) && self.covers(&uri.chars().map(Symbol::Char).collect::<Vec<_>>())
    }

    /// Whether every expansion of this template is inside the pattern.
    pub(crate) fn matches_template(&self, template: &str) -> bool {
        symbols(template).is_some_and(|symbols| self.covers(&symbols))
    }

    /// The states that the pattern can be in after each symbol; as many steps as pattern times text.
    fn covers(&self, text: &[Symbol]) -> bool {
        let mut states = vec![false; self.0.len() + 1];
        if let Some(first) = states.first_mut() {
            *first = true;
        }
        self.skip_wildcards(&mut states);
        for symbol in text {
            let mut next = vec![false; states.len()];
            for (index, part) in self.0.iter().enumerate() {
                if !states.get(index).copied().unwrap_or(false) {
                    continue;
                }
                match part.step(*symbol) {
                    Step::Stay => set(&mut next, index),
                    Step::Advance => set(&mut next, index + 1),
                    Step::Fail => {}
                }
            }
            self.skip_wildcards(&mut next);
            states = next;
        }
        states.last().copied().unwrap_or(false)
    }

    /// A wildcard may stand for nothing.
    fn skip_wildcards(&self, states: &mut [bool]) {
        for (index, part) in self.0.iter().enumerate() {
            if !matches!(part, UriPart::Literal(_)) && states.get(index).copied().unwrap_or(false) {
                set(states, index + 1);
            }
        }
    }
}

enum Step {
    Stay,
    Advance,
    Fail,
}

impl UriPart {
    fn step(self, symbol: Symbol) -> Step {
        match (self, symbol) {
            (Self::Literal(want), Symbol::Char(have)) if want == have => Step::Advance,
            (Self::Literal(_), _) | (Self::Segment, Symbol::Char('/') | Symbol::Wide) => Step::Fail,
            (Self::Segment | Self::Across, _) => Step::Stay,
        }
    }
}

fn set(states: &mut [bool], index: usize) {
    if let Some(state) = states.get_mut(index) {
        *state = true;
    }
}

/// A URI in the one spelling that a backend and this policy read alike: no dot segments, no encoded slashes or dots,
/// no backslash, no control characters.
pub(crate) fn is_canonical(uri: &str) -> bool {
    let lower = uri.to_ascii_lowercase();
    let encoded = ["%2f", "%5c", "%2e", "%00"].iter().any(|code| lower.contains(code));
    let path = lower.split(['?', '#']).next().unwrap_or(&lower);
    let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    !encoded && !dots && !uri.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\')
}

/// The template as symbols; `None` when it is not well formed.
fn symbols(template: &str) -> Option<Vec<Symbol>> {
    let mut symbols = Vec::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, tail) = after.split_once('}')?;
        symbols.extend(before.chars().map(Symbol::Char));
        let simple = !variable.is_empty() && variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        symbols.push(if simple { Symbol::Variable } else { Symbol::Wide });
        rest = tail;
    }
    symbols.extend(rest.chars().map(Symbol::Char));
    let literal: String = symbols.iter().map(|s| if let Symbol::Char(c) = s { *c } else { 'x' }).collect();
    is_canonical(&literal).then_some(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_name_is_any_run() {
        for (pattern, name, want) in [
            ("get_*", "get_forecast", true),
            ("get_*", "get_", true),
            ("get_*", "forget_it", false),
            ("*", "", true),
            ("*_x_*", "a_x_b", true),
            ("a*b*c", "a12b34c", true),
            ("a*b*c", "a12b34", false),
            ("exact", "exact", true),
            ("exact", "exact2", false),
        ] {
            assert_eq!(NameGlob::new(pattern).matches(name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_stay_linear() {
        let pattern = "a*".repeat(50) + "b";
        assert!(!NameGlob::new(&pattern).matches(&"a".repeat(100_000)));
    }

    #[test]
    fn stars_in_a_uri_mind_the_slash() {
        for (pattern, uri, want) in [
            ("weather://stations/*", "weather://stations/berlin", true),
            ("weather://stations/*", "weather://stations/berlin/logs", false),
            ("weather://stations/**", "weather://stations/berlin/logs", true),
            ("weather://stations/**", "weather://owners/1", false),
            ("weather://stations/**", "weather://stations/../owners/1", false),
            ("weather://stations/**", "weather://stations/%2e%2e/owners", false),
            ("weather://stations/**", "weather://stations/a%2Fb", false),
        ] {
            assert_eq!(UriGlob::new(pattern).matches(uri), want, "{pattern} {uri}");
        }
    }

    #[test]
    fn a_template_matches_when_every_expansion_would() {
        for (pattern, template, want) in [
            ("weather://stations/*", "weather://stations/{id}", true),
            ("weather://stations/*", "weather://stations/{+id}", false),
            ("weather://stations/**", "weather://stations/{+id}", true),
            ("weather://stations/berlin", "weather://stations/{id}", false),
            ("weather://**", "{scheme}://x", false),
        ] {
            assert_eq!(UriGlob::new(pattern).matches_template(template), want, "{pattern} {template}");
        }
    }
}
