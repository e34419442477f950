//! Resource URIs (RFC 3986) and URI templates (RFC 6570), as patterns see them.
//!
//! A tag is a lock, so two spellings of one resource must carry the same tags: URIs are compared with percent escapes
//! decoded and with scheme and authority in lower case. What a server could read as another resource is refused first:
//! dot segments, encoded slashes, empty segments, fragments, double encoding, and all that the URL parser of the WHATWG
//! writes as another URI (servers bring URIs into its form before they look them up). Reads nothing and resolves nothing.

mod readings;

use url::Url;

pub(crate) use self::readings::readings;
use crate::glob::{Step, UriGlob};
use crate::spelling::{is_literal, is_plain};

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
    /// A URL parser writes it as another URI, or takes it for none.
    #[error(
        "URL parsers read it as another, or as none; leave out an empty user, an empty or default port, a dot behind the host and `localhost` of a file, write `//`, a host in small letters that can be seen, and one of the web in plain ASCII"
    )]
    Unsettled,
}

/// Beyond this, matching would cost a caller nothing and the gateway much.
const MAX_URI: usize = 2048;

/// Stand in a text for what is not known of it: characters within a segment, and any characters.
pub(crate) const WITHIN: char = '\u{e000}';
const ACROSS: char = '\u{e001}';

/// The form in which a URI is compared.
///
/// INVARIANT: a URI has one only where a URL parser (<https://url.spec.whatwg.org>) finds the same URI in it. Servers look
/// up what their parser writes, so that in `weather://keys:/x` they see `weather://keys/x`.
pub(crate) fn canonical(uri: &str) -> Result<String, UriError> {
    check_length(uri)?;
    if uri.contains(['{', '}']) {
        return Err(UriError::Character);
    }
    let form = form(uri)?;
    if is_settled(uri, &form) && has_plain_host(&form) { Ok(form) } else { Err(UriError::Unsettled) }
}

/// The same for a text in which [`WITHIN`] and the like stand for what is not known.
pub(crate) fn canonical_with_marks(text: &str) -> Result<String, UriError> {
    check_length(text)?;
    if text.contains(['{', '}']) {
        return Err(UriError::Character);
    }
    // An expansion that a parser takes: a port is a number, and anything else may be a letter.
    let mut expansion = String::with_capacity(text.len());
    for character in text.chars() {
        let digits = expansion.trim_end_matches(|last: char| last.is_ascii_digit());
        let in_port = digits.ends_with(':');
        match character {
            // What is behind a port is no more of it.
            ACROSS if in_port && digits.len() < expansion.len() => expansion.push_str("/a"),
            WITHIN | ACROSS => expansion.push(if in_port { '1' } else { 'a' }),
            _ => expansion.push(character),
        }
    }
    canonical(&expansion)?;
    form(text)
}

fn form(uri: &str) -> Result<String, UriError> {
    let decoded = decode(uri)?;
    check_segments(&decoded)?;
    Ok(fold_authority(&decoded))
}

/// Whether a URL parser takes a URI for what its form says: at most a slash comes behind an authority.
fn is_settled(uri: &str, form: &str) -> bool {
    let Ok(parsed) = Url::parse(uri) else { return false };
    // Other parsers read `c|` at the beginning of a file's path as the drive `c:`.
    if parsed.scheme() == "file" && form.contains('|') {
        return false;
    }
    self::form(parsed.as_str())
        .is_ok_and(|read| read == form || readings::with_slash(form).is_some_and(|form| read == form))
}

/// Whether every server that folds a host in its own way finds this very host, and no other that is locked.
fn has_plain_host(form: &str) -> bool {
    let Some((_, rest)) = form.split_once("://") else { return true };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = readings::without_port(readings::without_user(authority));
    let lower = authority.is_ascii() || authority.to_lowercase() == authority;
    lower && is_plain(authority) && is_literal(authority) && !host.ends_with('.')
}

/// A template in the form in which URIs are compared, its variables as marks.
///
/// A plain `{name}` expands within its segment; any other expression may expand to anything.
pub(crate) fn template(uri_template: &str) -> Result<String, UriError> {
    check_length(uri_template)?;
    if uri_template.contains([WITHIN, ACROSS]) {
        return Err(UriError::Character);
    }
    let mut text = String::new();
    let mut rest = uri_template;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').ok_or(UriError::Character)?;
        text.push_str(before);
        text.push(mark_of(variable)?);
        rest = after;
    }
    text.push_str(rest);
    canonical_with_marks(&text)
}

/// A text with marks as patterns see it.
pub(crate) fn steps(text: &str) -> impl Iterator<Item = Step> {
    text.chars().map(|character| match character {
        WITHIN => Step::Segment,
        ACROSS => Step::Across,
        other => Step::Literal(other),
    })
}

fn mark_of(expression: &str) -> Result<char, UriError> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
    if expression.is_empty() || expression.contains('{') {
        return Err(UriError::Character);
    }
    Ok(if expression.chars().all(plain) { WITHIN } else { ACROSS })
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
        const STAR: char = WITHIN;
        check_length(text)?;
        if text.contains(['{', '}', STAR]) {
            return Err(UriError::Character);
        }
        if !text.contains('*') {
            return canonical(text).map(Self::Exact);
        }
        // What begins with it is settled when it is.
        if let Some(authority) = whole_authority(text) {
            canonical(authority)?;
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

/// A pattern up to the slash behind its authority, if no star stands before that.
fn whole_authority(pattern: &str) -> Option<&str> {
    let (fixed, _) = pattern.split_once('*')?;
    let (scheme, rest) = fixed.split_once("://")?;
    let (authority, _) = rest.split_once('/')?;
    fixed.split_at_checked(scheme.len() + "://".len() + authority.len() + "/".len()).map(|(begin, _)| begin)
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
    let is_escape = |after: &str| after.len() > 1 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let twice = decoded.split('%').skip(1).any(is_escape);
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
            ("w://S", "w://s"),
            ("w://", "w://"),
            ("w:///a", "w:///a"),
            ("w:a", "w:a"),
            ("w://u@H:8/a", "w://u@h:8/a"),
            ("w://h%C3%A9/A%20b", "w://h\u{e9}/A b"),
            ("w://s/a\"<>`^|'b", "w://s/a\"<>`^|'b"),
            ("w://s/a?b=<c>'d'", "w://s/a?b=<c>'d'"),
            ("w://[::1]:8/a", "w://[::1]:8/a"),
            ("file:///c:/A%20b", "file:///c:/A b"),
            ("file://share/a", "file://share/a"),
            ("HTTPS://Example.com", "https://example.com"),
            ("https://example.com?a", "https://example.com?a"),
            ("https://example.com:8443/%C3%A9", "https://example.com:8443/\u{e9}"),
            ("https://xn--kln-sna.example/", "https://xn--kln-sna.example/"),
            ("http://127.0.0.1/", "http://127.0.0.1/"),
            ("data:text/plain,a", "data:text/plain,a"),
        ] {
            assert_eq!(canonical(spelling).as_deref(), Ok(form), "{spelling}");
        }
    }

    #[test]
    fn what_a_server_could_read_as_another_resource_is_refused() {
        use UriError::{
            Character, DotSegment, EmptySegment, EncodedDelimiter, Escape, Fragment, NoScheme, TooLong, Unsettled,
        };
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
            ("weather://keys:/a", Unsettled),
            ("weather://@keys/a", Unsettled),
            ("weather://:@keys/a", Unsettled),
            ("weather://u:@keys/a", Unsettled),
            ("weather://keys:007/a", Unsettled),
            ("weather://keys:a/a", Unsettled),
            ("weather://[::01]/a", Unsettled),
            ("weather://a|b/a", Unsettled),
            ("file://localhost/a", Unsettled),
            ("file://LOCALHOST/a", Unsettled),
            ("file:/a", Unsettled),
            ("file:a", Unsettled),
            ("file:///c|/a", Unsettled),
            ("https://h:443/a", Unsettled),
            ("https://h:0443/a", Unsettled),
            ("ws://h:80/a", Unsettled),
            ("ftp://h:21/a", Unsettled),
            ("https:h/a", Unsettled),
            ("https:/h/a", Unsettled),
            ("https:///h/a", Unsettled),
            ("https://@h/a", Unsettled),
            ("https://\u{ff48}/a", Unsettled),
            ("https://a\u{3002}b/a", Unsettled),
            ("https://a\u{ad}b/a", Unsettled),
            ("https://k\u{f6}ln.example/a", Unsettled),
            ("http://127.1/a", Unsettled),
            ("http://0x7f.0.0.1/a", Unsettled),
            ("http://2130706433/a", Unsettled),
            ("https:///", Unsettled),
        ] {
            assert_eq!(canonical(uri), Err(error), "{uri}");
        }
        assert_eq!(canonical(&format!("w://{}", "a".repeat(3000))), Err(TooLong));
    }

    #[test]
    fn a_host_that_a_server_could_fold_into_another_is_refused() {
        for uri in [
            "weather://\u{212a}eys/a",
            "weather://%E2%84%AAeys/a",
            "weather://\u{ff4b}eys/a",
            "weather://H%C3%89/a",
            "weather://ke\u{200b}ys/a",
            "weather://keys%20/a",
            "weather://keys./a",
            "https://u@keys.example.:8/a",
        ] {
            assert_eq!(canonical(uri), Err(UriError::Unsettled), "{uri}");
        }
        for uri in ["weather://keys/\u{212a}", "weather://h%C3%A9/a.", "https://keys.example:8/A"] {
            assert!(canonical(uri).is_ok(), "the control: {uri}");
        }
    }

    fn opens(pattern: &str, uri_template: &str) -> bool {
        let Ok(Pattern::Glob(glob)) = Pattern::parse(pattern) else { return false };
        glob.matches(steps(&template(uri_template).unwrap()))
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
        for uri_template in
            ["{h}:{port}/{page}", "{h}:{port}{/page}", "h:{port}{?q}", "h:8{/p*}", "{h}:{+rest}", "h{/p}"]
        {
            assert!(opens("https://**", &format!("https://{uri_template}")), "{uri_template}");
        }
        for bad in ["weather://stations/{id", "weather://stations/../{id}", "weather://stations:/{id}", "https:{id}"] {
            assert!(template(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_that_could_never_match_is_refused() {
        for text in [
            "weather://a/../**",
            "weather://a//*",
            " w://*",
            "",
            "w://a%2F*",
            "no-scheme",
            "w://*#x",
            "https://h:443/**",
            "https://h:443/a",
            "w://a:/**",
            "file://localhost/**",
            "https://k\u{f6}ln.example/**",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        for text in ["**", "*://x/**", "https://**", "https://*.example.com/**", "https:**", "file:**", "w://a:*/**"] {
            assert!(Pattern::parse(text).is_ok(), "{text}");
        }
    }
}
