use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::clock::ManualClock;

#[derive(Debug, Clone)]
struct Double {
    keys: Arc<Mutex<Option<Vec<&'static str>>>>,
    fetches: Arc<AtomicUsize>,
}

#[async_trait]
impl KeySource for Double {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        match &*self.keys.lock().unwrap() {
            Some(kids) => Ok(kids.iter().map(|kid| ((*kid).to_owned(), DecodingKey::from_secret(b"x"))).collect()),
            None => Err(FetchError::Discovery { url: String::new(), what: "down" }),
        }
    }
}

fn world(kids: Option<Vec<&'static str>>) -> (KeySet, Double, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_secs(1_000_000));
    let source = Double { keys: Arc::new(Mutex::new(kids)), fetches: Arc::default() };
    (KeySet::new(Box::new(source.clone()), Arc::new(clock.clone())), source, clock)
}

fn fetches(source: &Double) -> usize {
    source.fetches.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_known_key_is_found_and_fetched_once() {
    let (set, source, _) = world(Some(vec!["a"]));
    assert!(matches!(set.find("a").await, Lookup::Found(_)));
    assert!(matches!(set.find("a").await, Lookup::Found(_)));
    assert_eq!(fetches(&source), 1);
}

#[tokio::test]
async fn unknown_names_cause_one_fetch_in_a_while() {
    let (set, source, clock) = world(Some(vec!["a"]));
    set.refresh().await;
    for number in 0..1000 {
        assert!(matches!(set.find(&format!("x{number}")).await, Lookup::Unknown));
    }
    assert_eq!(fetches(&source), 1);
    clock.advance(COOL_DOWN);
    *source.keys.lock().unwrap() = Some(vec!["a", "b"]);
    assert!(matches!(set.find("b").await, Lookup::Found(_)));
    assert_eq!(fetches(&source), 2);
}

#[tokio::test]
async fn those_who_wait_share_one_fetch() {
    let (set, source, _) = world(Some(vec!["a"]));
    let set = Arc::new(set);
    let waiting: Vec<_> = (0..50).map(|_| { let set = Arc::clone(&set); tokio::spawn(async move { set.find("a").await }) }).collect();
    for waiter in waiting {
        assert!(matches!(waiter.await.unwrap(), Lookup::Found(_)));
    }
    assert_eq!(fetches(&source), 1);
}

#[tokio::test]
async fn a_failed_fetch_keeps_the_last_good_set_for_a_day() {
    let (set, source, clock) = world(Some(vec!["a"]));
    set.refresh().await;
    *source.keys.lock().unwrap() = None;
    clock.advance(Duration::from_secs(23 * 3600));
    set.refresh().await;
    assert!(matches!(set.find("a").await, Lookup::Found(_)));
    clock.advance(Duration::from_secs(2 * 3600));
    assert!(matches!(set.find("a").await, Lookup::Unavailable));
    assert!(!set.is_ready());
}

#[tokio::test]
async fn a_removed_key_is_dead_after_a_fetch() {
    let (set, source, _) = world(Some(vec!["a", "b"]));
    set.refresh().await;
    *source.keys.lock().unwrap() = Some(vec!["b"]);
    set.refresh().await;
    assert!(matches!(set.find("a").await, Lookup::Unknown));
    assert!(matches!(set.find("b").await, Lookup::Found(_)));
}

#[tokio::test]
async fn nothing_verifies_before_the_first_set() {
    let (set, _, _) = world(None);
    assert!(matches!(set.find("a").await, Lookup::Unavailable));
    assert!(!set.is_ready());
}

mod documents {
    use super::super::*;

    const N: &str = "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyehkd3qqGElvW_VDL5AaWTg0nLVkjRo9z-40RQzuVaE8AkAFmxZzow3x-VJYKdjykkJ0iT9wCS0DRTXu269V264Vf_3jvredZiKRkgwlL9xNAwxXFg0x_XFw005UWVRIkdgcKWTjpBP2dPwVZ4WWC-9aGVd-Gyn1o0CLelf4rEjGoXbAAEgAqeGUxrcIlbjXfbcmw";

    fn parse(keys: &str) -> Result<Vec<String>, KeySetError> {
        let document = format!(r#"{{"keys":[{keys}]}}"#);
        super::super::parse(document.as_bytes(), "https://idp/t/v2.0", "t").map(|keys| {
            let mut kids: Vec<String> = keys.into_keys().collect();
            kids.sort();
            kids
        })
    }

    fn key(kid: &str, more: &str) -> String {
        format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{N}","e":"AQAB"{more}}}"#)
    }

    #[test]
    fn good_keys_are_taken_and_bad_ones_left_out() {
        let good = key("good", r#","use":"sig","issuer":"https://idp/{tenantid}/v2.0","x5c":["x"],"cloud_instance_name":"m""#);
        assert_eq!(parse(&good), Ok(vec!["good".to_owned()]));
        for bad in [
            key("bad", r#","use":"enc""#),
            key("bad", r#","alg":"RS512""#),
            key("bad", r#","key_ops":["encrypt"]"#),
            key("bad", r#","d":"AQAB""#),
            key("bad", r#","issuer":"https://idp/other/v2.0""#),
            key("", ""),
            key("bad", "").replace("AQAB", "AQ"),
            key("bad", "").replace("AQAB", "AQAA"),
            key("bad", "").replace(N, "AQAB"),
            key("bad", "").replace("RSA", "oct"),
            r#"{"kty":"EC","crv":"P-256","kid":"bad","x":"AQ","y":"AQ"}"#.to_owned(),
            r#""text""#.to_owned(),
        ] {
            assert_eq!(parse(&format!("{bad},{good}")), Ok(vec!["good".to_owned()]), "{bad}");
            assert_eq!(parse(&bad), Err(KeySetError::Empty), "{bad}");
        }
    }

    #[test]
    fn one_name_for_two_keys_is_no_name() {
        let other = key("a", "").replace("u1SU", "v1SU");
        assert_eq!(parse(&format!("{},{other},{}", key("a", ""), key("b", ""))), Ok(vec!["b".to_owned()]));
        assert_eq!(parse(&format!("{},{}", key("a", ""), key("a", ""))), Ok(vec!["a".to_owned()]));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in ["", "{}", r#"{"keys":null}"#, r#"{"keys":{}}"#, r#"{"keys":[{"kty":"RSA","#, "<html>"] {
            assert_eq!(super::super::parse(bad.as_bytes(), "i", "t").err(), Some(KeySetError::Malformed), "{bad}");
        }
        assert_eq!(super::super::parse(br#"{"keys":[]}"#, "i", "t").err(), Some(KeySetError::Empty));
    }
}
