//! Where a request belongs: the trace, and the span it was sent from (W3C Trace Context, level 1).

use std::fmt;

use serde::{Serialize, Serializer};

/// More than that no vendor may rely on (W3C Trace Context section 3.3.1.5).
const MAX_STATE: usize = 512;

/// A trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// A span of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

/// Where a request was sent from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its trace.
    pub trace_id: TraceId,
    /// The span that sent it.
    pub span_id: SpanId,
    /// Whether the sender records it.
    pub sampled: bool,
    /// What vendors keep beside it (`tracestate`), passed on and never looked at.
    pub state: Option<String>,
}

impl TraceId {
    /// A new trace.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is among this share of all traces; the same for whoever asks.
    #[must_use]
    pub fn is_within(&self, ratio: f64) -> bool {
        let [.., a, b, c, d] = self.0;
        let place = f64::from(u32::from_be_bytes([a, b, c, d]));
        place < ratio * (f64::from(u32::MAX) + 1.0)
    }
}

impl SpanId {
    /// A new span.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Context {
    /// Reads `traceparent` and `tracestate`; `None` when the former is not one, and without the latter when it could
    /// not stand in a field.
    #[must_use]
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.trim_matches([' ', '\t']).splitn(5, '-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let (trace, span): ([u8; 16], [u8; 8]) = (hex(parts.next()?)?, hex(parts.next()?)?);
        let [flags]: [u8; 1] = hex(parts.next()?)?;
        let more = parts.next().is_some();
        // A later version may say more; ff is none.
        if version == [0xff] || (version == [0] && more) || trace == [0; 16] || span == [0; 8] {
            return None;
        }
        let fits = |state: &&str| state.len() <= MAX_STATE && state.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
        let state = state.filter(fits).filter(|state| !state.is_empty()).map(str::to_owned);
        Some(Self { trace_id: TraceId(trace), span_id: SpanId(span), sampled: flags & 1 == 1, state })
    }

    /// As `traceparent`.
    #[must_use]
    pub fn parent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Lower-case hexadecimal of exactly so many bytes.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Bytes in lower-case hexadecimal.
pub(crate) struct Hex<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0)
    }
}

fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_context_survives_its_header() {
        for (flags, sampled) in [("00", false), ("01", true), ("03", true), ("02", false)] {
            let sent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            let context = Context::parse(&sent, Some("a=b")).unwrap();
            assert_eq!((context.trace_id.to_string().as_str(), context.sampled), (TRACE, sampled));
            assert_eq!(context.parent(), format!("00-{TRACE}-00f067aa0ba902b7-0{}", u8::from(sampled)));
            assert_eq!(context.state.as_deref(), Some("a=b"));
        }
    }

    #[test]
    fn what_is_no_context_is_none() {
        let span = "00f067aa0ba902b7";
        for bad in [
            String::new(),
            format!("00-{TRACE}-{span}"),
            format!("00-{TRACE}-{span}-01-more"),
            format!("ff-{TRACE}-{span}-01"),
            format!("0-{TRACE}-{span}-01"),
            format!("00-{}-{span}-01", TRACE.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}0-{span}-01"),
            format!("00-{TRACE}-{span}-0g"),
            format!("00-{TRACE}-{span}-01\r\nx: y"),
            "é".repeat(55),
        ] {
            assert_eq!(Context::parse(&bad, None), None, "{bad}");
        }
        assert!(Context::parse(&format!("cc-{TRACE}-{span}-01-what-comes-later"), None).is_some());
        for state in ["", "a=b\r\nx: y", &"a".repeat(513)] {
            assert_eq!(Context::parse(&format!("00-{TRACE}-{span}-01"), Some(state)).unwrap().state, None);
        }
    }

    #[test]
    fn a_share_of_traces_is_that_share() {
        let within = |ratio: f64| (0..10_000).filter(|_| TraceId::random().is_within(ratio)).count();
        assert_eq!((within(0.0), within(1.0)), (0, 10_000));
        let tenth = within(0.1);
        assert!((700..1300).contains(&tenth), "{tenth}");
    }
}
