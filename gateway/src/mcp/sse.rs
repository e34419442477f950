//! Server-sent events (WHATWG HTML section 9.2), cut out of a byte stream in any chunking and with any line ending.
//!
//! Events whose data is not rewritten pass as they came, if all readers find the same in them; the last one is dropped
//! when the stream ends inside it. An event is bounded, so that a stream cannot fill the memory.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

/// An event that is this one message of JSON-RPC, which has no line breaks.
#[must_use]
pub fn message(json: &[u8]) -> Bytes {
    [b"data: ".as_slice(), json, b"\n\n"].concat().into()
}

/// Cuts a stream into events.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    /// Bytes of the buffer that have been looked at.
    scanned: usize,
    /// Whether the line being read has nothing in it yet.
    line_empty: bool,
    /// Whether the last byte was a carriage return, whose line feed may follow.
    after_cr: bool,
    /// Whether a byte order mark may still come; anywhere but here it is text.
    at_start: bool,
    limit: usize,
}

/// An event is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the backend's stream is larger than `limits.answer_body`")]
pub struct TooLarge;

impl Splitter {
    /// A splitter for events of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, line_empty: true, after_cr: false, at_start: true, limit }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event, blank line included.
    ///
    /// # Errors
    ///
    /// Returns [`TooLarge`] when the event that is being read has outgrown the limit.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        if self.at_start && !self.skip_mark() {
            return Ok(None);
        }
        while let Some(ending) = self.next_ending() {
            let was_cr = std::mem::replace(&mut self.after_cr, ending == b'\r');
            if ending == b'\n' && was_cr {
                // The second half of a line ending; when it ended the last event, it goes with the next one.
                continue;
            }
            if std::mem::replace(&mut self.line_empty, true) {
                let follows = self.buffer.get(self.scanned) == Some(&b'\n');
                if ending == b'\r' && follows {
                    self.scanned += 1;
                    self.after_cr = false;
                }
                let event = self.buffer.split_to(self.scanned).freeze();
                self.scanned = 0;
                return Ok(Some(Event(event)));
            }
        }
        if self.buffer.len() > self.limit { Err(TooLarge) } else { Ok(None) }
    }

    /// Bytes of an event that has not ended.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Moves behind the next CR or LF and returns it; to the end of the buffer when there is none.
    fn next_ending(&mut self) -> Option<u8> {
        let rest = self.buffer.get(self.scanned..).unwrap_or_default();
        let ending = memchr::memchr2(b'\r', b'\n', rest);
        let text = ending.unwrap_or(rest.len());
        if text > 0 {
            self.line_empty = false;
            self.after_cr = false;
        }
        let byte = ending.and_then(|at| rest.get(at)).copied();
        self.scanned += text + usize::from(byte.is_some());
        byte
    }

    /// Drops the mark that a stream may begin with; whether it is known by now that there is none (any more).
    fn skip_mark(&mut self) -> bool {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
            return false;
        }
        if self.buffer.starts_with(MARK) {
            self.buffer.advance(MARK.len());
        }
        self.at_start = false;
        true
    }
}

/// One event as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(Bytes);

impl Event {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its data: the `data` fields joined by line feeds; `None` when it has none, or is not UTF-8.
    #[must_use]
    pub fn data(&self) -> Option<String> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let mut data: Option<String> = None;
        for line in lines(text) {
            if let Some(value) = field(line, "data") {
                match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                }
            }
        }
        data
    }

    /// Whether it is not UTF-8, so that readers would see different texts.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        std::str::from_utf8(&self.0).is_err()
    }

    /// Its id: what a client would show as `Last-Event-ID`; `None` when it has none.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        lines(text).filter_map(|line| field(line, "id")).last()
    }

    /// Whether every reader finds the same lines and fields in it, and nothing beside: there are some that end lines at
    /// other characters than the standard's.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let Ok(text) = std::str::from_utf8(&self.0) else { return false };
        let known = |line| line == ":" || field(line, "data").is_some() || kept(line).is_some() || line.is_empty();
        !text.contains(SEPARATORS) && lines(text).all(known)
    }

    /// The same event with other data, another id or none. What a comment says, and fields that the standard does not
    /// have, are left out.
    #[must_use]
    pub fn with(&self, data: Option<&[u8]>, id: Option<&str>) -> Bytes {
        let mut out = BytesMut::with_capacity(self.0.len() + id.map_or(0, str::len) + 16);
        let mut put = |name: &str, value: &str| {
            for part in [name, value, "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        };
        if let Some(id) = id {
            put("id: ", id);
        }
        for line in lines(std::str::from_utf8(&self.0).unwrap_or_default()) {
            if line.starts_with(':') {
                put(":", "");
            } else if let Some((name, value)) = kept(line) {
                put(name, value);
            } else if let Some(value) = field(line, "data").filter(|_| data.is_none()) {
                put("data: ", &escaped(value));
            }
        }
        let data = data.map(|data| std::str::from_utf8(data).unwrap_or_default());
        for line in data.into_iter().flat_map(|data| data.split('\n')) {
            put("data: ", &escaped(line));
        }
        put("", "");
        out.freeze()
    }
}

/// What ends a line for some readers, beside CR and LF: the separators of Unicode (python's `str.splitlines`).
const SEPARATORS: [char; 8] = ['\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];

/// A line of a field that passes beside data and id, as its name and value.
fn kept(line: &str) -> Option<(&'static str, &str)> {
    let event = field(line, "event").filter(|name| name.bytes().all(|b| b.is_ascii_graphic()));
    let retry = field(line, "retry").filter(|time| !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit()));
    event.map(|name| ("event: ", name)).or(retry.map(|time| ("retry: ", time)))
}

/// A line of JSON without separators, which stand in strings only.
fn escaped(line: &str) -> Cow<'_, str> {
    use std::fmt::Write as _;
    if !line.contains(SEPARATORS) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if SEPARATORS.contains(&c) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Lines by CR LF, LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\r', b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.strip_prefix("\r\n").or_else(|| tail.get(1..)).unwrap_or("");
        Some(line)
    })
}

/// The value of a field when the line is one of that name.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some("");
    }
    let value = rest.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<Event> {
        let mut splitter = Splitter::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(event) = splitter.next_event().unwrap() {
                events.push(event);
            }
        }
        events
    }

    fn datas(stream: &str) -> Vec<Option<String>> {
        events(&[stream.as_bytes()]).iter().map(Event::data).collect()
    }

    #[test]
    fn every_line_ending_ends_a_line() {
        for stream in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\rdata: b\r\r",
            "data: a\r\n\ndata: b\n\r\n",
        ] {
            let data: Vec<String> = datas(stream).into_iter().flatten().collect();
            assert_eq!(data, ["a", "b"], "{stream:?}");
        }
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        assert_eq!(
            datas("\u{feff}data:a\ndata: b\ndata\ndata:  c\n: comment\nid: 1\n\n"),
            [Some("a\nb\n\n c".to_owned())]
        );
        assert_eq!(datas("id: 1\nretry: 5\n\n"), [None]);
        assert_eq!(datas("data:\n\n"), [Some(String::new())]);
        assert_eq!(datas("dataset: x\n\n"), [None]);
        assert_eq!(datas("data: never ended"), []);
    }

    #[test]
    fn only_the_stream_itself_begins_with_a_byte_order_mark() {
        assert_eq!(
            datas("\u{feff}data: a\n\n\u{feff}data: b\ndata: c\n\n"),
            [Some("a".to_owned()), Some("c".to_owned())]
        );
        assert_eq!(datas("\u{feff}\u{feff}data: a\n\n"), [None]);
        let split: [&[u8]; 4] = [b"\xef", b"\xbb", b"\xbfdata: a\n", b"\n"];
        assert_eq!(events(&split).iter().map(Event::data).collect::<Vec<_>>(), [Some("a".to_owned())]);
        assert_eq!(events(&[b"\xef", b"\xbb"]), []);
    }

    #[test]
    fn other_lines_stay_when_the_data_changes() {
        let event = events(&[b"event: message\nid: 9\ndata: {\ndata: }\n\n"]).remove(0);
        assert_eq!(event.id(), Some("9"));
        assert_eq!(event.with(Some(b"[]"), Some("s")), "id: s\nevent: message\ndata: []\n\n");
        assert_eq!(event.with(None, None), "event: message\ndata: {\ndata: }\n\n");
    }

    #[test]
    fn what_some_readers_take_for_another_line_is_none() {
        let event = |text: &str| events(&[text.as_bytes()]).remove(0);
        let separated = ["\u{85}", "\u{2028}", "\u{2029}", "\u{b}", "\u{c}", "\u{1c}"];
        for separator in separated {
            for text in [
                format!(": note{separator}data: x{separator}{separator}\ndata: {{}}\n\n"),
                format!("event: e{separator}data: x\ndata: {{}}\n\n"),
                format!("novel: e{separator}data: x\ndata: {{}}\n\n"),
                format!("retry: 1{separator}data: x\ndata: {{}}\n\n"),
            ] {
                let event = event(&text);
                assert!(!event.is_plain(), "{text:?}");
                let passed = String::from_utf8(event.with(None, None).to_vec()).unwrap();
                assert!(!passed.contains(separator) && !passed.contains('x'), "{passed:?}");
                assert_eq!(passed.trim_start_matches(":\n"), "data: {}\n\n");
            }
        }
        let said = event("data: {\"a\":\"b\u{2028}\u{2028}data: x\u{85}\"}\n\n");
        assert!(!said.is_plain());
        assert_eq!(said.with(None, None), "data: {\"a\":\"b\\u2028\\u2028data: x\\u0085\"}\n\n");
        assert_eq!(said.with(Some("\u{2029}".as_bytes()), None), "data: \\u2029\n\n");
        for plain in ["data: {\"ä\":\"\u{2027}\"}\n\n", "event: message\r\nretry: 10\r\ndata: {}\r\n\r\n", ":\n\n"] {
            assert!(event(plain).is_plain(), "{plain:?}");
        }
        assert!(!event(": told\n\n").is_plain() && !event("novel: 1\n\n").is_plain());
    }

    #[test]
    fn an_event_that_never_ends_is_refused() {
        let mut splitter = Splitter::new(10);
        splitter.push(b"data: 1234567890");
        assert_eq!(splitter.next_event(), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(
            parts in proptest::collection::vec("(\u{feff})?(data|id|:|event)?:? ?[a-zä]{0,4}(\r|\n|\r\n){0,3}", 0..12),
            cuts in proptest::collection::vec(0usize..64, 0..8),
        ) {
            let stream = parts.concat();
            let whole: Vec<_> = datas(&stream);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= stream.len()).collect();
            cuts.extend(0..stream.len().min(7));
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]).collect();
            let cut: Vec<_> = events(&chunks).iter().map(Event::data).collect();
            prop_assert_eq!(cut, whole);
        }
    }
}
