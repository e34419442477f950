use std::sync::Mutex as Lock;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, DecodingKey};

use super::*;
use crate::clock::{ManualClock, Timestamp};

mod documents;
mod over_http;

/// What the source does next.
#[derive(Clone, Debug)]
enum Next {
    Keys(Vec<&'static str>),
    Fail,
    Panic,
    Stall,
}

#[derive(Debug, Clone)]
struct Double {
    next: Arc<Lock<Next>>,
    fetches: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl KeySource for Double {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let next = self.next.lock().unwrap().clone();
        match next {
            Next::Keys(kids) => Ok(kids.iter().map(|kid| ((*kid).to_owned(), key())).collect()),
            Next::Fail => Err(FetchError::Discovery { url: "https://idp".to_owned(), what: "is down" }),
            Next::Panic => panic!("a bug"),
            Next::Stall => {
                let _open = self.gate.acquire().await;
                Ok(Keys::from([("late".to_owned(), key())]))
            }
        }
    }
}

fn key() -> Key {
    Key::new(DecodingKey::from_secret(b"x"), Algorithm::RS256, None)
}

struct World {
    set: Arc<KeySet>,
    source: Double,
    clock: ManualClock,
}

impl World {
    fn new(next: Next) -> Self {
        let clock = ManualClock::new(Timestamp::from_secs(1_000_000));
        let gate = Arc::new(Semaphore::new(0));
        let source = Double { next: Arc::new(Lock::new(next)), fetches: Arc::default(), gate };
        let set = Arc::new(KeySet::new(Box::new(source.clone()), Arc::new(clock.clone())));
        Self { set, source, clock }
    }

    fn then(&self, next: Next) {
        *self.source.next.lock().unwrap() = next;
    }

    fn fetches(&self) -> usize {
        self.source.fetches.load(Ordering::SeqCst)
    }

    async fn finds(&self, kid: &str) -> &'static str {
        match self.set.find(kid).await {
            Lookup::Found(_) => "found",
            Lookup::Unknown => "unknown",
            Lookup::Unavailable => "unavailable",
        }
    }

    /// Somebody asks for a key that nobody knows, and waits for the fetch.
    fn ask(&self, kid: &'static str) -> tokio::task::JoinHandle<bool> {
        let set = Arc::clone(&self.set);
        tokio::spawn(async move { matches!(set.find(kid).await, Lookup::Found(_)) })
    }

    async fn until_fetches(&self, count: usize) {
        while self.fetches() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_known_key_is_found_and_fetched_once() {
    let world = World::new(Next::Keys(vec!["a"]));
    assert_eq!(world.finds("a").await, "found");
    assert_eq!(world.finds("a").await, "found");
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn unknown_names_cause_one_fetch_in_a_while() {
    let world = World::new(Next::Keys(vec!["a"]));
    world.set.refresh().await;
    for number in 0..1000 {
        assert_eq!(world.finds(&format!("x{number}")).await, "unknown");
    }
    assert_eq!(world.fetches(), 1);
    world.clock.advance(COOL_DOWN);
    for number in 0..1000 {
        assert_eq!(world.finds(&format!("x{number}")).await, "unknown");
    }
    assert_eq!(world.fetches(), 2);
}

#[tokio::test]
async fn a_rolled_key_is_found_after_exactly_one_fetch() {
    let world = World::new(Next::Keys(vec!["a"]));
    world.set.refresh().await;
    world.then(Next::Keys(vec!["a", "b"]));
    world.clock.advance(COOL_DOWN);
    assert_eq!(world.finds("b").await, "found");
    assert_eq!(world.fetches(), 2);
}

#[tokio::test]
async fn those_who_wait_share_one_fetch() {
    let world = World::new(Next::Keys(vec!["a"]));
    let waiting: Vec<_> = (0..50).map(|_| world.ask("a")).collect();
    for waiter in waiting {
        assert!(waiter.await.unwrap());
    }
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn a_stalled_fetch_holds_up_nobody_whose_key_is_known() {
    let world = World::new(Next::Keys(vec!["a"]));
    world.set.refresh().await;
    world.clock.advance(COOL_DOWN);
    world.then(Next::Stall);
    let waiting = world.ask("late");
    world.until_fetches(2).await;
    // No await in between can wait for the fetch: it does not end before the gate opens.
    assert_eq!(world.finds("a").await, "found");
    world.source.gate.add_permits(1);
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn whoever_hangs_up_does_not_end_the_fetch_of_the_others() {
    let world = World::new(Next::Stall);
    let gone = world.ask("late");
    world.until_fetches(1).await;
    gone.abort();
    assert!(gone.await.is_err());
    let waiting = world.ask("late");
    tokio::task::yield_now().await;
    world.source.gate.add_permits(1);
    assert!(waiting.await.unwrap());
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn only_so_many_wait_for_one_fetch() {
    let world = World::new(Next::Keys(vec!["a"]));
    world.set.refresh().await;
    world.clock.advance(COOL_DOWN);
    world.then(Next::Stall);
    let waiting: Vec<_> = (0..MAX_WAITING).map(|_| world.ask("late")).collect();
    world.until_fetches(2).await;
    assert_eq!(world.finds("one too many").await, "unknown");
    world.source.gate.add_permits(1);
    for waiter in waiting {
        assert!(waiter.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_never_ends_is_given_up() {
    let world = World::new(Next::Stall);
    assert_eq!(world.finds("late").await, "unavailable");
    assert!(world.set.status().last_error.unwrap().contains("did not arrive in time"));
}

#[tokio::test]
async fn a_failed_fetch_keeps_the_last_good_set_for_a_day() {
    for failure in [Next::Fail, Next::Panic, Next::Keys(Vec::new())] {
        let world = World::new(Next::Keys(vec!["a"]));
        assert!(world.set.refresh().await);
        world.then(failure);
        world.clock.advance(Duration::from_hours(23));
        assert!(!world.set.refresh().await);
        assert_eq!(world.finds("a").await, "found");
        assert!(world.set.is_ready());
        world.clock.advance(Duration::from_hours(2));
        assert_eq!(world.finds("a").await, "unavailable");
        assert!(!world.set.is_ready());
        world.then(Next::Keys(vec!["a"]));
        world.clock.advance(COOL_DOWN);
        assert_eq!(world.finds("a").await, "found");
    }
}

#[tokio::test]
async fn a_removed_key_is_dead_after_a_fetch() {
    let world = World::new(Next::Keys(vec!["a", "b"]));
    world.set.refresh().await;
    assert_eq!(world.finds("a").await, "found");
    world.then(Next::Keys(vec!["b"]));
    world.set.refresh().await;
    assert_eq!(world.finds("a").await, "unknown");
    assert_eq!(world.finds("b").await, "found");
}

#[tokio::test]
async fn nothing_verifies_before_the_first_set() {
    let world = World::new(Next::Fail);
    assert_eq!(world.finds("a").await, "unavailable");
    assert_eq!(world.finds("a").await, "unavailable");
    assert_eq!(world.fetches(), 1);
    assert!(!world.set.is_ready());
}

#[tokio::test]
async fn the_status_tells_age_size_and_the_last_failure() {
    let world = World::new(Next::Keys(vec!["a", "b"]));
    assert_eq!(world.set.status(), Status { age: None, keys: 0, last_error: None });
    world.set.refresh().await;
    world.clock.advance(Duration::from_secs(7));
    assert_eq!(world.set.status(), Status { age: Some(Duration::from_secs(7)), keys: 2, last_error: None });
    world.then(Next::Fail);
    world.set.refresh().await;
    let status = world.set.status();
    assert_eq!((status.age, status.keys), (Some(Duration::from_secs(7)), 2));
    assert!(status.last_error.unwrap().contains("is down"));
}

#[tokio::test(start_paused = true)]
async fn one_issuer_of_several_is_asked_less_and_less_often_while_it_has_no_keys() {
    let world = World::new(Next::Fail);
    let further = KeySet::new(Box::new(world.source.clone()), Arc::new(world.clock.clone())).of("https://i").further();
    let background = tokio::spawn(async move { further.refresh_forever().await });
    // After 0, 2, 6, 14, 30 and 62 seconds, and then once a minute.
    let mut now = 0;
    for (until, fetches) in [(1, 1), (3, 2), (7, 3), (15, 4), (31, 5), (63, 6), (121, 6), (123, 7), (183, 8)] {
        time::sleep(Duration::from_secs(until - now)).await;
        now = until;
        assert_eq!(world.fetches(), fetches, "after {until} s");
    }
    background.abort();
}

#[tokio::test(start_paused = true)]
async fn the_background_fetches_hourly_and_sooner_after_a_failure() {
    let world = World::new(Next::Fail);
    let set = Arc::clone(&world.set);
    let background = tokio::spawn(async move { set.refresh_forever().await });
    // Without a set nobody is let in, and it is tried at once again.
    time::sleep(RETRY_COLD + Duration::from_secs(1)).await;
    assert_eq!(world.fetches(), 2);
    world.then(Next::Keys(vec!["a"]));
    time::sleep(RETRY_COLD).await;
    assert_eq!(world.fetches(), 3);
    world.then(Next::Fail);
    time::sleep(REFRESH).await;
    assert_eq!(world.fetches(), 4);
    // The last good one is in use.
    time::sleep(RETRY).await;
    assert_eq!(world.fetches(), 5);
    background.abort();
}
