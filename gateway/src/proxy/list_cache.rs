//! Lists that were filtered before: the same bytes under the same keys give the same list, whatever the request's id.
//!
//! An entry keeps the whole answer it was made from, and is used for an answer that equals it byte for byte beside the
//! id, so that nothing hangs on a hash. Its key is all that the filter's outcome depends on: the policy, the caller's
//! keys on the backend, the tools that exist there, the kind of list and the era.

use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use moka::sync::Cache;
use portcullis_policy::Mask;

use crate::mcp::list_filter::{Filtered, ListKind};
use crate::mcp::{Era, RequestId};

/// How far from an end of an answer its id is looked for: servers write it first or last.
const WINDOW: usize = 64;
const NAME: &[u8] = br#""id":"#;

/// What the outcome depends on beside the answer.
pub(super) type Terms = (Mask, u64, ListKind, Era);

/// Filtered lists, by what they were made from.
#[derive(Debug)]
pub(super) struct ListCache {
    entries: Cache<Key, Arc<Entry>, RandomState>,
    hasher: RandomState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    terms: Terms,
    /// Of the answer without its id.
    hash: u64,
    length: usize,
}

/// An answer, and what became of it; both without the id, as what stands before and behind it.
#[derive(Debug)]
struct Entry {
    came: (Bytes, Bytes),
    went: (Bytes, Bytes),
    shown: usize,
    hidden: usize,
}

/// An answer as the cache looks at it.
#[derive(Debug)]
pub(super) struct Sight<'i> {
    key: Key,
    came: (Bytes, Bytes),
    id: &'i RequestId,
}

impl ListCache {
    /// A cache of at most `bytes` bytes of lists.
    pub(super) fn new(bytes: usize) -> Self {
        let weigh = |_: &Key, entry: &Arc<Entry>| {
            let parts = [&entry.came.0, &entry.came.1, &entry.went.0, &entry.went.1];
            u32::try_from(parts.into_iter().map(Bytes::len).sum::<usize>() + 256).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(bytes as u64).weigher(weigh);
        Self { entries: cache.build_with_hasher(RandomState::default()), hasher: RandomState::default() }
    }

    /// What the cache needs to know of an answer to `id`; `None` when the id is not where servers write it.
    pub(super) fn sight<'i>(&self, body: &Bytes, id: &'i RequestId, terms: Terms) -> Option<Sight<'i>> {
        let at = find_id(body, id.as_json().as_bytes())?;
        let came = split(body, at, id)?;
        let hash = self.hasher.hash_one((&*came.0, &*came.1));
        Some(Sight { key: Key { terms, hash, length: body.len() - id.as_json().len() }, came, id })
    }

    /// The list that this answer gave before, for this request.
    pub(super) fn get(&self, sight: &Sight<'_>) -> Option<Filtered> {
        let entry = self.entries.get(&sight.key).filter(|entry| entry.came == sight.came)?;
        let id = sight.id.as_json().as_bytes();
        let mut body = BytesMut::with_capacity(entry.went.0.len() + id.len() + entry.went.1.len());
        for part in [&entry.went.0, id, &entry.went.1] {
            body.extend_from_slice(part);
        }
        Some(Filtered { body: body.freeze(), shown: entry.shown, hidden: entry.hidden, id_at: None })
    }

    /// Keeps what became of an answer, if the filter found the id where it was looked for.
    pub(super) fn insert(&self, sight: Sight<'_>, id: &RequestId, filtered: &Filtered) {
        let Some((came_at, went_at)) = filtered.id_at else { return };
        let Some(went) = split(&filtered.body, went_at, id).filter(|_| came_at == sight.came.0.len()) else { return };
        let entry = Entry { came: sight.came, went, shown: filtered.shown, hidden: filtered.hidden };
        self.entries.insert(sight.key, Arc::new(entry));
    }
}

/// Where the id stands, if it is near one of the ends; the filter has the last word.
fn find_id(body: &[u8], id: &[u8]) -> Option<usize> {
    let needle = [NAME, id].concat();
    let window = WINDOW + needle.len();
    let head = body.get(..window.min(body.len()))?;
    let found = memchr::memmem::find(head, &needle);
    let found = found.or_else(|| {
        let start = body.len().saturating_sub(window);
        memchr::memmem::rfind(body.get(start..)?, &needle).map(|at| start + at)
    });
    found.map(|at| at + NAME.len())
}

fn split(body: &Bytes, at: usize, id: &RequestId) -> Option<(Bytes, Bytes)> {
    let end = at.checked_add(id.as_json().len())?;
    (body.get(at..end)? == id.as_json().as_bytes()).then(|| (body.slice(..at), body.slice(end..)))
}

#[cfg(test)]
mod tests {
    use portcullis_policy::{BackendName, Kind, Policy, Subject};

    use super::*;
    use crate::mcp::list_filter::filter;

    /// The masks of two callers under one policy.
    fn masks() -> [Mask; 2] {
        let backend = BackendName::try_from("weather").unwrap();
        let document = "roles: { A: { opens: [a] }, B: { opens: [b] } }\ntools: { weather: { a: [x], b: [y] } }\n";
        let policy = Policy::from_yaml(document, std::slice::from_ref(&backend)).unwrap();
        ["A", "B"].map(|role| {
            let subject = Subject::new(Kind::User, "t", "o").with_roles(vec![role.to_owned()]);
            policy.view(&subject, &backend).mask().unwrap()
        })
    }

    fn id(json: &str) -> RequestId {
        RequestId::from_json(json).unwrap()
    }

    fn terms() -> Terms {
        let [mask, _] = masks();
        (mask, 0, ListKind::Tools, Era::Modern)
    }

    /// Filters as a request would: through the cache; the answer, and whether it was known.
    fn through(cache: &ListCache, body: &str, asked: &str, terms: &Terms) -> (String, bool) {
        let (body, id) = (Bytes::copy_from_slice(body.as_bytes()), id(asked));
        let sight = cache.sight(&body, &id, terms.clone());
        if let Some(filtered) = sight.as_ref().and_then(|sight| cache.get(sight)) {
            return (String::from_utf8(filtered.body.to_vec()).unwrap(), true);
        }
        let filtered = filter(&body, terms.2, &id, terms.3, &mut |name| name == "x").unwrap();
        if let Some(sight) = sight {
            cache.insert(sight, &id, &filtered);
        }
        (String::from_utf8(filtered.body.to_vec()).unwrap(), false)
    }

    const TOOLS: &str = r#""tools":[{"name":"x","about":"\"id\":1"},{"name":"y"}]"#;

    #[test]
    fn a_list_seen_before_is_the_same_list_under_another_id() {
        let (cache, terms) = (ListCache::new(1 << 20), terms());
        let first: fn(&str) -> String = |id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{TOOLS}}}}}"#);
        let last: fn(&str) -> String = |id| format!(r#"{{"result":{{{TOOLS}}},"jsonrpc":"2.0","id":{id}}}"#);
        for shape in [first, last] {
            let (fresh, known) = through(&cache, &shape("1"), "1", &terms);
            assert!(!known && !fresh.contains("\"y\"") && fresh.contains("private"), "{fresh}");
            for asked in ["1", "12", "\"1\"", "\"a-longer-id\""] {
                let (again, known) = through(&cache, &shape(asked), asked, &terms);
                assert!(known, "{asked}");
                let uncached = ListCache::new(0);
                assert_eq!(again, through(&uncached, &shape(asked), asked, &terms).0);
            }
        }
    }

    #[test]
    fn other_bytes_keys_kinds_or_eras_are_another_list() {
        let cache = ListCache::new(1 << 20);
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{TOOLS}}}}}"#);
        let [mask, other] = masks();
        let (kind, era) = (ListKind::Tools, Era::Modern);
        let known = |body: &str, terms: Terms| through(&cache, body, "1", &terms).1;
        assert!(!known(&body, (mask.clone(), 0, kind, era)));
        assert!(known(&body, (mask.clone(), 0, kind, era)));
        assert!(!known(&body.replace("\"y\"", "\"z\""), (mask.clone(), 0, kind, era)));
        assert!(!known(&body, (other, 0, kind, era)));
        assert!(!known(&body, (mask.clone(), 1, kind, era)));
        assert!(!known(&body, (mask, 0, kind, Era::Legacy)));
    }

    #[test]
    fn an_id_in_another_place_is_not_taken_for_the_answers() {
        let (cache, terms) = (ListCache::new(1 << 20), terms());
        let decoy = r#"{"result":{"_meta":{"id":1},"tools":[{"name":"x"}]},"pad":"0123456789012345678901234567890123456789","id":1}"#;
        let (answer, _) = through(&cache, decoy, "1", &terms);
        assert!(answer.contains(r#""id":1}"#));
        let (answer, known) = through(&cache, &decoy.replace(r#""id":1}"#, r#""id":2}"#), "2", &terms);
        assert!(!known && answer.ends_with(r#""id":2}"#));
    }
}
