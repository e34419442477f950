//! The head of an HTTP/1.1 message as it was sent, before any parser was kind to it (RFC 9112 sections 2 and 5).
//!
//! Pingora's parser accepts a bare LF as a line end, drops a `Content-Length` that stands beside a
//! `Transfer-Encoding`, and unfolds folded lines. What it was kind about is still in the bytes, and is refused here:
//! another parser on the way may read them differently. Serves both directions; knows no session and no status.

/// Why a head is not sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsound {
    /// A CR or LF that is not part of a CRLF.
    #[error("a line does not end in CRLF")]
    LineEnd,
    /// A control byte other than a tab.
    #[error("a control character")]
    Control,
    /// A line that continues the one before.
    #[error("a folded line")]
    Folded,
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("Content-Length and Transfer-Encoding together")]
    TwoFramings,
    /// A framing field twice.
    #[error("a framing field is repeated")]
    Repeated,
    /// A length that is not digits only.
    #[error("Content-Length is not a number")]
    Length,
    /// A transfer coding other than exactly `chunked`.
    #[error("a transfer coding other than chunked")]
    Coding,
    /// A transfer coding in an HTTP/1.0 message.
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingOfOldVersion,
}

/// Checks a head, from the first line to the empty one.
///
/// # Errors
///
/// Returns the first thing found that two parsers could read in two ways.
pub(super) fn check(raw: &[u8], http_1_0: bool) -> Result<(), Unsound> {
    bytes(raw)?;
    let (mut length, mut coding) = (None, None);
    for line in raw.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Unsound::Folded);
        }
        if let Some(value) = value_of(line, b"content-length") {
            repeated(length.replace(value))?;
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            repeated(coding.replace(value))?;
        }
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err(Unsound::TwoFramings),
        (Some(length), None) if length.is_empty() || !length.iter().all(u8::is_ascii_digit) => Err(Unsound::Length),
        (None, Some(_)) if http_1_0 => Err(Unsound::CodingOfOldVersion),
        (None, Some(coding)) if !coding.eq_ignore_ascii_case(b"chunked") => Err(Unsound::Coding),
        _ => Ok(()),
    }
}

/// The request target as it was sent, of a head that is sound; parsers drop a fragment from it.
pub(super) fn target(raw: &[u8]) -> &[u8] {
    let line = raw.trim_ascii_start().split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

/// Every CR is followed by an LF, every LF preceded by a CR, and nothing else below 0x20 but tabs.
fn bytes(raw: &[u8]) -> Result<(), Unsound> {
    // Without a branch in it, so that it runs over many bytes at once: this is done for every request and answer.
    let control = |byte: u8| (byte < 0x20 && byte != b'\t' && byte != b'\r' && byte != b'\n') || byte == 0x7f;
    if raw.iter().fold(false, |found, byte| found | control(*byte)) {
        return Err(Unsound::Control);
    }
    let (mut pairs, mut rest) = (0, raw);
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at_checked(end + 1).unwrap_or((rest, &[]));
        if !line.ends_with(b"\r\n") {
            return Err(Unsound::LineEnd);
        }
        (pairs, rest) = (pairs + 1, after);
    }
    if memchr::memchr_iter(b'\r', raw).count() == pairs { Ok(()) } else { Err(Unsound::LineEnd) }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn repeated(earlier: Option<&[u8]>) -> Result<(), Unsound> {
    if earlier.is_some() { Err(Unsound::Repeated) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_one_framing_is_sound() {
        for head in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 12\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-ENCODING:  Chunked \r\nx-content-length: b\tc \xff\r\n\r\n",
        ] {
            assert_eq!(check(head, false), Ok(()), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_target_is_found_as_it_was_sent() {
        assert_eq!(target(b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"), b"/a#b");
        assert_eq!(target(b"\r\nGET / HTTP/1.1\r\n\r\n"), b"/");
        assert_eq!(target(b"\r\n"), b"");
    }

    #[test]
    fn what_two_parsers_could_read_in_two_ways_is_not() {
        let cases: [(&[u8], Unsound); 16] = [
            (b"GET / HTTP/1.1\nhost: a\r\n\r\n", Unsound::LineEnd),
            (b"GET / HTTP/1.1\r\nhost: a\n\r\n", Unsound::LineEnd),
            (b"GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n", Unsound::LineEnd),
            (b"GET / HTTP/1.1\r\nhost: a\r\r\n\r\n", Unsound::LineEnd),
            (b"GET / HTTP/1.1\r", Unsound::LineEnd),
            (b"GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n", Unsound::Control),
            (b"GET / HTTP/1.1\r\nhost: a\x7f\r\n\r\n", Unsound::Control),
            (b"GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n", Unsound::Folded),
            (b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", Unsound::TwoFramings),
            (b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 1\r\n\r\n", Unsound::TwoFramings),
            (b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", Unsound::Repeated),
            (b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n", Unsound::Repeated),
            (b"GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", Unsound::Length),
            (b"GET / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n", Unsound::Length),
            (b"GET / HTTP/1.1\r\ncontent-length:\r\n\r\n", Unsound::Length),
            (b"GET / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Unsound::Coding),
        ];
        for (head, fault) in cases {
            assert_eq!(check(head, false), Err(fault), "{}", head.escape_ascii());
        }
        let old = b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(check(old, true), Err(Unsound::CodingOfOldVersion));
    }
}
