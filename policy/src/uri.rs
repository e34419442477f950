//! Resource URIs (RFC 3986) and URI templates (RFC 6570), as patterns see them.
//!
//! A tag is a lock, so two spellings of one resource must carry the same tags: URIs are compared with percent escapes
//! decoded and with scheme and authority in lower case. What a server could read as another resource is refused first:
//! dot segments, encoded slashes, empty segments, fragments, double encoding. Reads nothing and resolves nothing.

use crate::glob::{Step, UriGlob};

/// Why a URI names no resource that a policy can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UriError {
    /// Longer than any resource's name.
    #[error("a resource URI has at most {MAX_URI} bytes, a pattern at most 255 characters")]
    TooLong,
    /// No scheme and colon at the start.
    #[error("a resource URI starts with a scheme, as in `weather://`")]
    NoScheme,
    /// White space, a backslash, a control character or a stray brace.
    #[error("it holds a character that no URI holds")]
    Character,
    /// An escape that is not two hexadecimal digits, or does not decode to UTF-8.
    #[error("it holds a percent escape that does not decode")]
    Escape,
    /// A slash or another delimiter that only decoding shows.
    #[error("it holds an encoded delimiter")]
    EncodedDelimiter,
    /// `.` or `..` between slashes.
    #[error("it holds a dot segment")]
    DotSegment,
    /// Two slashes in the path.
    #[error("it holds an empty segment")]
    EmptySegment,
    /// A `#`, which servers cut off.
    #[error("it holds a fragment")]
    Fragment,
}

/// Beyond this, matching would cost a caller nothing and the gateway much.
const MAX_URI: usize = 2048;

/// The form in which a URI is compared.
pub(crate) fn canonical(uri: &str) -> Result<String, UriError> {
    check_length(uri)?;
    if uri.contains(['{', '}']) {
        return Err(UriError::Character);
    }
    let decoded = decode(uri)?;
    check_segments(&decoded)?;
    Ok(fold_authority(&decoded))
}

/// What a server may take for the same resource as a canonical URI: the URI without its query, and without a slash at
/// its end.
pub(crate) fn shortened(uri: &str) -> impl Iterator<Item = &str> {
    let path = uri.split_once('?').map_or(uri, |(path, _)| path);
    let bare = path.strip_suffix('/').filter(|bare| !bare.ends_with('/'));
    [Some(path), bare].into_iter().flatten().filter(move |short| *short != uri)
}

/// A template's literal characters, and its variables as wildcards.
///
/// A plain `{name}` expands within its segment; any other expression may expand to anything.
pub(crate) fn template(uri_template: &str) -> Result<Vec<Step>, UriError> {
    const STAND_IN: char = '\u{e000}';
    check_length(uri_template)?;
    if uri_template.contains(STAND_IN) {
        return Err(UriError::Character);
    }
    let mut variables = Vec::new();
    let mut text = String::new();
    let mut rest = uri_template;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').ok_or(UriError::Character)?;
        variables.push(variable_step(variable)?);
        text.push_str(before);
        text.push(STAND_IN);
        rest = after;
    }
    text.push_str(rest);
    let mut variables = variables.into_iter();
    let step = |character| match character {
        STAND_IN => variables.next().unwrap_or(Step::Across),
        other => Step::Literal(other),
    };
    Ok(canonical(&text)?.chars().map(step).collect())
}

fn variable_step(expression: &str) -> Result<Step, UriError> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
    if expression.is_empty() || expression.contains('{') {
        return Err(UriError::Character);
    }
    Ok(if expression.chars().all(plain) { Step::Segment } else { Step::Across })
}

/// A pattern of the `resources` section: one resource, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// The resource with this canonical URI.
    Exact(String),
    /// Whatever the glob matches.
    Glob(UriGlob),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, UriError> {
        const STAR: char = '\u{e000}';
        if text.contains(['{', '}', STAR]) {
            return Err(UriError::Character);
        }
        if !text.contains('*') {
            return canonical(text).map(Self::Exact);
        }
        // A pattern like `**` has no scheme of its own.
        let decoded = decode_loosely(&text.replace('*', STAR.encode_utf8(&mut [0; 4])))?;
        check_segments(&decoded)?;
        let mut steps: Vec<Step> = Vec::new();
        for character in fold_authority(&decoded).chars() {
            match (character, steps.last_mut()) {
                (STAR, Some(last @ (Step::Segment | Step::Across))) => *last = Step::Across,
                (STAR, _) => steps.push(Step::Segment),
                (other, _) => steps.push(Step::Literal(other)),
            }
        }
        UriGlob::new(steps).map(Self::Glob).ok_or(UriError::TooLong)
    }
}

fn decode(uri: &str) -> Result<String, UriError> {
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme).ok_or(UriError::NoScheme)?;
    let follows = |character: char| character.is_ascii_alphanumeric() || matches!(character, '+' | '-' | '.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.chars().all(follows) {
        return Err(UriError::NoScheme);
    }
    decode_loosely(uri)
}

/// First of all checks: what follows reads every byte.
fn check_length(uri: &str) -> Result<(), UriError> {
    if uri.len() > MAX_URI { Err(UriError::TooLong) } else { Ok(()) }
}

fn decode_loosely(uri: &str) -> Result<String, UriError> {
    check_length(uri)?;
    if uri.chars().any(|character| character.is_whitespace() || character.is_control() || character == '\\') {
        return Err(UriError::Character);
    }
    if uri.contains('#') {
        return Err(UriError::Fragment);
    }
    let mut bytes = Vec::with_capacity(uri.len());
    let mut rest = uri.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { escaped(&mut rest)? } else { byte });
    }
    let decoded = String::from_utf8(bytes).map_err(|_error| UriError::Escape)?;
    // A second decoding, somewhere behind us, would find another URI.
    let twice = decoded.split('%').skip(1).any(|after| {
        let mut digits = after.bytes().take(2);
        digits.next().is_some_and(|byte| byte.is_ascii_hexdigit())
            && digits.next().is_some_and(|b| b.is_ascii_hexdigit())
    });
    if twice { Err(UriError::EncodedDelimiter) } else { Ok(decoded) }
}

fn escaped(rest: &mut std::str::Bytes<'_>) -> Result<u8, UriError> {
    let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(UriError::Escape);
    let byte = u8::try_from(digit()? * 16 + digit()?).map_err(|_error| UriError::Escape)?;
    match byte {
        b'/' | b'\\' | b'?' | b'#' | b'{' | b'}' | 0..=0x1f | 0x7f => Err(UriError::EncodedDelimiter),
        other => Ok(other),
    }
}

fn check_segments(decoded: &str) -> Result<(), UriError> {
    if decoded.split(['/', '?', ';', ':']).any(|segment| matches!(segment, "." | "..")) {
        return Err(UriError::DotSegment);
    }
    let after_scheme = decoded.split_once(':').map_or(decoded, |(_, rest)| rest);
    let path = after_scheme.strip_prefix("//").unwrap_or(after_scheme);
    if path.contains("//") { Err(UriError::EmptySegment) } else { Ok(()) }
}

/// Scheme and authority in lower case (RFC 3986 section 6.2.2.1).
fn fold_authority(decoded: &str) -> String {
    let mut slashes = 0;
    let mut folded = String::with_capacity(decoded.len());
    for character in decoded.chars() {
        slashes += u32::from(character == '/');
        let fold = slashes < 3 && character != '?';
        if character == '?' {
            slashes = 3;
        }
        folded.push(if fold { character.to_ascii_lowercase() } else { character });
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_resource_are_compared_alike() {
        for (spelling, form) in [
            ("weather://stations/home", "weather://stations/home"),
            ("WEATHER://Stations/home", "weather://stations/home"),
            ("weather://stations/hom%65", "weather://stations/home"),
            ("weather://stations/k%c3%b6ln", "weather://stations/köln"),
            ("weather://stations/köln", "weather://stations/köln"),
            ("file:///etc/Hosts", "file:///etc/Hosts"),
            ("urn:isbn:1", "urn:isbn:1"),
            ("w://s/a?b=C", "w://s/a?b=C"),
            ("w://s/100%25", "w://s/100%"),
        ] {
            assert_eq!(canonical(spelling).as_deref(), Ok(form), "{spelling}");
        }
    }

    #[test]
    fn what_a_server_could_read_as_another_resource_is_refused() {
        use UriError::{Character, DotSegment, EmptySegment, EncodedDelimiter, Escape, Fragment, NoScheme, TooLong};
        for (uri, error) in [
            ("weather://stations/../secrets", DotSegment),
            ("weather://stations/%2e%2E/secrets", DotSegment),
            ("weather://stations/..;/secrets", DotSegment),
            ("weather://stations/..?x", DotSegment),
            ("weather://stations/.", DotSegment),
            ("weather://stations/a%2Fb", EncodedDelimiter),
            ("weather://stations/a%5cb", EncodedDelimiter),
            ("weather://stations/a%252Fb", EncodedDelimiter),
            ("weather://stations/a%00", EncodedDelimiter),
            ("weather://stations//home", EmptySegment),
            ("weather://stations/home#x", Fragment),
            ("weather://stations/ho\tme", Character),
            ("weather://stations/a\\b", Character),
            ("weather://stations/{id}", Character),
            ("weather://stations/%zz", Escape),
            ("weather://stations/%c3", Escape),
            ("stations/home", NoScheme),
            ("", NoScheme),
            ("1x://a", NoScheme),
        ] {
            assert_eq!(canonical(uri), Err(error), "{uri}");
        }
        assert_eq!(canonical(&format!("w://{}", "a".repeat(3000))), Err(TooLong));
    }

    #[test]
    fn what_a_server_may_take_for_the_same_is_shorter() {
        for (uri, shorter) in [
            ("w://s/a", &[][..]),
            ("w://s/a?b=c/", &["w://s/a"]),
            ("w://s/a/", &["w://s/a"]),
            ("w://s/a/?b", &["w://s/a/", "w://s/a"]),
            ("w://", &[]),
            ("w://?x", &["w://"]),
        ] {
            assert_eq!(shortened(uri).collect::<Vec<_>>(), shorter, "{uri}");
        }
    }

    fn opens(pattern: &str, uri_template: &str) -> bool {
        let Ok(Pattern::Glob(glob)) = Pattern::parse(pattern) else { return false };
        glob.matches(template(uri_template).unwrap().into_iter())
    }

    #[test]
    fn a_template_matches_only_when_every_expansion_would() {
        assert!(opens("weather://stations/**", "weather://stations/{id}"));
        assert!(opens("weather://stations/*", "weather://stations/{id}"));
        assert!(opens("weather://stations/*/now", "weather://stations/{id}/now"));
        assert!(opens("weather://**", "weather://{+path}"));
        assert!(!opens("weather://stations/h*", "weather://stations/{id}"));
        assert!(!opens("weather://stations/*", "weather://stations/{+path}"));
        assert!(!opens("weather://stations/*", "weather://stations/{path*}"));
        assert!(!opens("weather://stations/*", "weather://{kind}/home"));
        assert!(template("weather://stations/{id").is_err() && template("weather://stations/../{id}").is_err());
    }

    #[test]
    fn a_pattern_that_could_never_match_is_refused() {
        for text in ["weather://a/../**", "weather://a//*", " w://*", "", "w://a%2F*", "no-scheme", "w://*#x"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse("**").is_ok() && Pattern::parse("*://x/**").is_ok());
    }
}
