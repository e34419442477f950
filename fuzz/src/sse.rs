//! Event streams: cut the same in any chunking, nothing lost but a mark at the start and an unfinished end, and new data is
//! read back as it was given.

use portcullis::mcp::sse::{Event, Splitter};

const LIMIT: usize = 1 << 16;

/// The first byte seeds the chunking; the rest is the stream.
pub fn check(data: &[u8]) -> bool {
    let Some((seed, stream)) = data.split_first() else { return false };
    let whole = events(&[stream]);
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    let (mut rest, mut odd, mut step) = (stream, Vec::new(), usize::from(*seed));
    while !rest.is_empty() {
        step = step.wrapping_mul(31).wrapping_add(7) % 13;
        let (piece, after) = rest.split_at(step.min(rest.len()));
        odd.push(piece);
        rest = after;
    }
    for chunks in [single, odd] {
        let cut = events(&chunks);
        let told = |events: &[Event]| {
            events.iter().map(|event| (event.data(), event.id().map(str::to_owned))).collect::<Vec<_>>()
        };
        assert_eq!(told(&cut), told(&whole), "chunking matters");
    }
    let passed: Vec<u8> = whole.iter().flat_map(|event| event.bytes().iter().copied()).collect();
    let unmarked = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream);
    assert!(unmarked.starts_with(&passed), "an event is not what came");
    for event in &whole {
        rewritten(event);
    }
    !whole.is_empty()
}

fn rewritten(event: &Event) {
    if event.is_malformed() {
        return;
    }
    let changed = event.with(Some(b"{\"a\":1}"), Some("sealed"));
    let read = events(&[&changed]);
    assert_eq!(read.len(), 1, "one event stays one");
    assert_eq!((read[0].data().as_deref(), read[0].id()), (Some("{\"a\":1}"), Some("sealed")));
}

fn events(chunks: &[&[u8]]) -> Vec<Event> {
    let mut splitter = Splitter::new(LIMIT);
    let mut events = Vec::new();
    for chunk in chunks {
        splitter.push(chunk);
        while let Ok(Some(event)) = splitter.next_event() {
            events.push(event);
        }
    }
    events
}
