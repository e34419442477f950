//! Patterns for names (`get_*`) and for resource URIs (`weather://stations/**`), matched in linear time.
//!
//! In a name `*` stands for any run of characters. In a URI `*` stays within a path segment and `**` crosses
//! segments. Names advance piece by piece, URIs step a set of states that fits in four words; how a URI is spelled is
//! the business of `uri`.

use std::fmt;

/// Names longer than this belong to nothing that a policy can name.
pub(crate) const MAX_NAME: usize = 512;

/// A pattern for the names of tools and prompts: `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameGlob {
    first: String,
    /// What follows each star, in order.
    rest: Vec<String>,
}

impl NameGlob {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut pieces = pattern.split('*').map(str::to_owned);
        Self { first: pieces.next().unwrap_or_default(), rest: pieces.collect() }
    }

    /// Each piece is found once, left to right; no part of the name is searched twice.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let Some((last, middle)) = self.rest.split_last() else { return self.first == name };
        let Some(mut rest) = name.strip_prefix(self.first.as_str()) else { return false };
        for piece in middle {
            let Some((_, after)) = rest.split_once(piece.as_str()) else { return false };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }
}

impl fmt::Display for NameGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        self.rest.iter().try_for_each(|piece| write!(f, "*{piece}"))
    }
}

/// One step of a URI pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This character.
    Literal(char),
    /// Any characters but `/`.
    Segment,
    /// Any characters.
    Across,
}

/// A pattern over resource URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriGlob(Vec<Step>);

/// A set of positions in a URI pattern.
type States = [u64; 4];

/// Positions 0 to 255 fit in `States`; the last one is the end.
pub(crate) const MAX_STEPS: usize = 255;

impl UriGlob {
    /// `None` when the pattern has more steps than fit.
    pub(crate) fn new(steps: Vec<Step>) -> Option<Self> {
        (steps.len() <= MAX_STEPS).then_some(Self(steps))
    }

    /// Whether every text that `input` stands for matches. A URI stands for itself; the variables of a template are
    /// `Segment` or `Across`, which nothing narrower than the same wildcard takes in.
    pub(crate) fn matches(&self, input: impl Iterator<Item = Step>) -> bool {
        let mut states = States::default();
        self.enter(&mut states, 0);
        for step in input {
            states = self.advance(&states, step);
            if states == States::default() {
                return false;
            }
        }
        holds(&states, self.0.len())
    }

    fn advance(&self, states: &States, input: Step) -> States {
        let mut next = States::default();
        for at in positions(states) {
            match self.0.get(at) {
                Some(Step::Across) => self.enter(&mut next, at),
                Some(Step::Segment) if !matches!(input, Step::Literal('/') | Step::Across) => {
                    self.enter(&mut next, at);
                }
                Some(literal @ Step::Literal(_)) if *literal == input => self.enter(&mut next, at + 1),
                _ => {}
            }
        }
        next
    }

    /// Adds a position, and those behind it that a wildcard reaches by standing for nothing.
    fn enter(&self, states: &mut States, from: usize) {
        for at in from..=self.0.len() {
            if let Some(word) = states.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
            if !matches!(self.0.get(at), Some(Step::Segment | Step::Across)) {
                return;
            }
        }
    }
}

fn holds(states: &States, at: usize) -> bool {
    states.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
}

fn positions(states: &States) -> impl Iterator<Item = usize> {
    states.iter().enumerate().flat_map(|(index, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(index * 64 + bit)
        })
    })
}

/// Whether some name matches both patterns.
pub(crate) fn overlap(a: &[u8], b: &[u8]) -> bool {
    // Which places of `b` the patterns so far can meet at.
    let closure = |row: &mut Vec<bool>| {
        for at in 1..row.len() {
            let star = b.get(at - 1) == Some(&b'*');
            if star
                && row.get(at - 1) == Some(&true)
                && let Some(cell) = row.get_mut(at)
            {
                *cell = true;
            }
        }
    };
    let mut row = vec![false; b.len() + 1];
    if let Some(first) = row.first_mut() {
        *first = true;
    }
    closure(&mut row);
    for byte in a {
        let before = row.clone();
        for (at, cell) in row.iter_mut().enumerate() {
            let was = before.get(at) == Some(&true);
            let diagonal =
                at > 0 && before.get(at - 1) == Some(&true) && (b.get(at - 1) == Some(byte) || *byte == b'*');
            let by_star = at > 0 && b.get(at - 1) == Some(&b'*') && was;
            *cell = diagonal || by_star || (*byte == b'*' && was);
        }
        if *byte == b'*' {
            let from = row.iter().position(|cell| *cell).unwrap_or(row.len());
            row.iter_mut().skip(from).for_each(|cell| *cell = true);
        }
        closure(&mut row);
    }
    row.last() == Some(&true)
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

    fn uri(pattern: &str, text: &str) -> bool {
        let mut steps = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(character) = rest.next() {
            steps.push(match character {
                '*' if rest.next_if_eq(&'*').is_some() => Step::Across,
                '*' => Step::Segment,
                other => Step::Literal(other),
            });
        }
        UriGlob::new(steps).unwrap().matches(text.chars().map(Step::Literal))
    }

    #[test]
    fn a_star_in_a_uri_stays_within_its_segment() {
        assert!(uri("w://s/*", "w://s/home") && uri("w://s/*", "w://s/") && uri("w://*/x", "w://s/x"));
        assert!(!uri("w://s/*", "w://s/home/now") && !uri("w://s/*/now", "w://s/a/b/now"));
        assert!(uri("w://s/**", "w://s/home/now") && uri("w://**/now", "w://a/b/now") && uri("**", "w://s"));
        assert!(uri("w://**/a*c/**", "w://x/y/abc/z") && !uri("w://**/a*c/**", "w://x/y/ab/c"));
    }

    #[test]
    fn hostile_patterns_and_texts_take_linear_time() {
        let stars = "a*".repeat(100) + "b";
        assert!(!NameGlob::new(&stars).matches(&"a".repeat(1_000_000)));
        let stars = "*a**a".repeat(20) + "b";
        assert!(!uri(&stars, &"a".repeat(20_000)));
        assert!(UriGlob::new(vec![Step::Across; 256]).is_none());
    }

    #[test]
    fn wildcards_of_the_input_are_taken_in_by_wildcards_only() {
        let glob = |steps: &[Step]| UriGlob::new(steps.to_vec()).unwrap();
        let input = [Step::Literal('a'), Step::Segment];
        let open = Step::Across;
        assert!(glob(&[Step::Literal('a'), Step::Segment]).matches(input.into_iter()));
        assert!(glob(&[open]).matches(input.into_iter()));
        assert!(!glob(&[Step::Literal('a'), Step::Literal('b')]).matches(input.into_iter()));
        assert!(!glob(&[Step::Literal('a'), Step::Segment]).matches([Step::Literal('a'), open].into_iter()));
    }

    #[test]
    fn patterns_overlap_when_one_name_matches_both() {
        for (a, b, expected) in [
            ("get_x", "get_x", true),
            ("get_x", "get_y", false),
            ("get_*", "get_x", true),
            ("get_*", "*_x", true),
            ("get_*", "set_*", false),
            ("*", "anything", true),
            ("a*b", "*c*", true),
            ("a*b", "b*", false),
            ("", "*", true),
            ("", "a", false),
        ] {
            assert_eq!(
                (overlap(a.as_bytes(), b.as_bytes()), overlap(b.as_bytes(), a.as_bytes())),
                (expected, expected),
                "{a} {b}"
            );
        }
    }
}
