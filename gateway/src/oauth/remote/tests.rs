//! What is known of a document after each answer of its server, by a clock that the tests move.

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn read(body: &[u8]) -> Option<String> {
    String::from_utf8(body.to_vec()).ok().filter(|text| text != "broken")
}

fn says(text: &'static str, etag: Option<&'static str>, fresh_for: Option<u64>) -> Fetched {
    let (etag, fresh_for) = (etag.map(HeaderValue::from_static), fresh_for.map(Duration::from_secs));
    Fetched::Document { body: text.into(), etag, fresh_for }
}

fn unchanged(fresh_for: u64) -> Fetched {
    Fetched::Unchanged { fresh_for: Some(Duration::from_secs(fresh_for)) }
}

fn after(known: Option<Known<String>>, fetched: Result<Fetched, GuardedError>, now: Timestamp) -> Entry<String> {
    Entry::after(known, fetched, &read, now).expect("an entry")
}

fn good() -> Entry<String> {
    after(None, Ok(says("a document", Some("\"1\""), Some(60))), NOW)
}

#[test]
fn a_document_lives_as_long_as_its_server_says_within_bounds() {
    for (said, lives) in [(None, 3600), (Some(0), 30), (Some(60), 60), (Some(7 * 24 * 3600), 24 * 3600)] {
        let entry = after(None, Ok(says("a document", None, said)), NOW);
        assert_eq!(entry.document().as_deref(), Ok("a document"));
        assert_eq!((entry.asked, entry.until), (NOW, NOW.plus(Duration::from_secs(lives))), "{said:?}");
        // One that is confirmed, likewise.
        let Some(said) = said else { continue };
        let later = NOW.plus(Duration::from_secs(500));
        let entry = after(good().known, Ok(unchanged(said)), later);
        assert_eq!(entry.document().as_deref(), Ok("a document"));
        assert_eq!((entry.asked, entry.until), (later, later.plus(Duration::from_secs(lives))), "{said:?}");
        assert_eq!(entry.known.unwrap().etag, Some(HeaderValue::from_static("\"1\"")), "and keeps its name");
    }
}

#[test]
fn a_server_that_is_out_takes_nothing_away_for_a_day() {
    for out in [GuardedError::Slow, GuardedError::Status(503), GuardedError::Status(429)] {
        let name = out.to_string();
        let later = NOW.plus(LONGEST);
        let entry = after(good().known, Err(out), later);
        assert_eq!(entry.document().as_deref(), Ok("a document"), "{name}");
        assert_eq!((entry.asked, entry.until), (later, later.plus(BACK_OFF)), "{name}: asked again soon");
        let known = entry.known.unwrap();
        assert_eq!((known.confirmed, known.etag.is_some()), (NOW, true), "{name}: no younger for it");
        let past = later.plus(Duration::from_secs(1));
        let entry = after(Some(known), Err(GuardedError::Slow), past);
        assert_eq!(entry.document(), Err(NotAvailable), "{name}: a day is over");
    }
    assert_eq!(after(None, Err(GuardedError::Slow), NOW).document(), Err(NotAvailable), "what was never there");
}

#[test]
fn what_a_server_withdraws_or_spoils_is_gone_at_once() {
    for (what, answer) in [
        ("not found", Err(GuardedError::Status(404))),
        ("gone", Err(GuardedError::Status(410))),
        ("moved", Err(GuardedError::Status(301))),
        ("another type", Err(GuardedError::NotJson)),
        ("spoilt", Ok(says("broken", Some("\"2\""), Some(60)))),
    ] {
        let entry = after(good().known, answer, NOW);
        assert_eq!((entry.document(), entry.until), (Err(NotAvailable), NOW.plus(BACK_OFF)), "{what}");
    }
    assert_eq!(after(None, Ok(unchanged(60)), NOW).document(), Err(NotAvailable), "the same as what?");
}

#[test]
fn that_there_was_no_turn_says_nothing_of_a_document() {
    assert_eq!(Entry::after(None, Err(GuardedError::Busy), &read, NOW), Err(None));
    let known = good().known;
    assert_eq!(Entry::after(known.clone(), Err(GuardedError::Busy), &read, NOW), Err(known.clone()));
    assert_eq!(Entry::after(known, Err(GuardedError::Busy), &read, NOW.plus(LONGEST * 2)), Err(None), "after its day");
}
