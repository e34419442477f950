//! What a Redis must be to be trusted with grants, and what whoever can write to it cannot do.

use super::servers::{ask, guarded, single, start, watched, words};
use super::*;

const SEALER: [u8; 32] = [7; 32];

async fn open(settings: &RedisSettings) -> Result<RedisStore, StoreError> {
    RedisStore::open(settings, Sealer::new(SEALER)).await
}

fn client(id: &str) -> Client {
    Client {
        client_id: id.to_owned(),
        client_name: None,
        redirect_uris: vec!["http://127.0.0.1/cb".to_owned()],
        application_type: "native".to_owned(),
        may_refresh: true,
        device: false,
        registered_at: NOW.as_secs(),
        keys: None,
    }
}

fn redis(settings: &RedisSettings, command: &[&str]) -> String {
    let port = settings.urls[0].expose().rsplit_once(':').unwrap().1.parse().unwrap();
    ask(port, command)
}

#[tokio::test]
async fn a_store_that_is_not_ours_or_may_drop_grants_is_refused() {
    let settings = single().settings();
    assert!(open(&settings).await.is_ok() && open(&settings).await.is_ok(), "the control");
    let mark = format!("{{{}}}:schema", settings.prefix);
    for (value, says) in [
        ("portcullis 2 x", "another version"),
        ("portcullis 1", "another version"),
        ("something", "another program"),
        ("", "another program"),
    ] {
        redis(&settings, &["set", &mark, value]);
        let error = open(&settings).await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("127.0.0.1"), "{error}");
    }
    let lossy = start(RedisKind::Single, 1, |_port| words("--maxmemory 50mb --maxmemory-policy allkeys-lru"));
    let error = open(&lossy.settings()).await.unwrap_err().to_string();
    assert!(error.contains("noeviction"), "{error}");
    let nobody = RedisSettings { urls: vec![crate::config::Secret::new("redis://127.0.0.1:1")], ..settings.clone() };
    assert!(matches!(open(&nobody).await.unwrap_err(), StoreError::Redis(_)));
    let fresh = single().settings();
    let error = RedisStore::existing(&fresh, Sealer::new(SEALER)).await.unwrap_err().to_string();
    assert!(error.contains("holds no store"), "{error}");
}

#[tokio::test]
async fn a_fleet_counts_as_one_and_by_the_clock_of_the_store() {
    for servers in [single(), super::servers::cluster()] {
        let settings = servers.settings();
        let fleet = [Arc::new(open(&settings).await.unwrap()), Arc::new(open(&settings).await.unwrap())];
        let (of, other) = (Digest256::of("one"), Digest256::of("other"));
        let racers: Vec<_> = (0..40)
            .map(|number| {
                let store = Arc::clone(&fleet[number % 2]);
                tokio::spawn(async move { store.count(of, Duration::from_secs(60), 5).await.unwrap() })
            })
            .collect();
        let mut good = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Counted::Good => good += 1,
                Counted::TooOften(wait) => assert!(wait > Duration::from_secs(30) && wait <= Duration::from_secs(60)),
                Counted::Elsewhere => panic!("Redis is a fleet's"),
            }
        }
        assert_eq!(good, 5);
        assert_eq!(
            fleet[0].count(other, Duration::from_secs(60), 1).await.unwrap(),
            Counted::Good,
            "another is another"
        );
        let quick = Digest256::of("quick");
        for _ in 0..3 {
            let mut last = fleet[1].count(quick, Duration::from_millis(20), 1).await.unwrap();
            while let Counted::TooOften(wait) = last {
                assert!(wait <= Duration::from_millis(20), "{wait:?}");
                tokio::time::sleep(wait).await;
                last = fleet[1].count(quick, Duration::from_millis(20), 1).await.unwrap();
            }
            assert_eq!(last, Counted::Good, "once its time has come");
        }
    }
    let (_directory, alone) = Make::Sqlite.store().await;
    let counted = alone.count(Digest256::of("one"), Duration::from_secs(60), 1).await.unwrap();
    assert_eq!(counted, Counted::Elsewhere);
}

#[tokio::test]
async fn a_store_that_was_emptied_is_no_empty_store() {
    let settings = single().settings();
    let store: Arc<dyn Store> = Arc::new(open(&settings).await.unwrap());
    with_code(&store).await;
    assert!(store.grant("g").await.unwrap().is_some(), "the control");
    redis(&settings, &["del", &format!("{{{}}}:schema", settings.prefix)]);
    for error in [
        store.grant("g").await.unwrap_err(),
        store.begin_login(Digest256::of("l"), &login(), later(60)).await.unwrap_err(),
        store.revocations(0).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("was emptied"), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_was_begun_anew_is_another_and_not_gone_on_with() {
    let settings = single().settings();
    let before: Arc<dyn Store> = Arc::new(open(&settings).await.unwrap());
    with_code(&before).await;
    let same: Arc<dyn Store> = Arc::new(open(&settings).await.unwrap());
    assert!(same.grant("g").await.unwrap().is_some() && before.grant("g").await.unwrap().is_some(), "the control");
    let mark = format!("{{{}}}:schema", settings.prefix);
    let kept = redis(&settings, &["get", &mark]);
    redis(&settings, &["del", &mark]);
    let anew: Arc<dyn Store> = Arc::new(open(&settings).await.unwrap());
    anew.register_client(&client("new")).await.unwrap();
    for error in [
        before.client("new").await.unwrap_err(),
        same.begin_login(Digest256::of("l"), &login(), later(60)).await.unwrap_err(),
        same.revocations(0).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, StoreError::Replaced { what, .. } if what.contains("restart this gateway")),
            "{error}"
        );
    }
    assert!(anew.client("new").await.unwrap().is_some());
    // What was there is put back.
    redis(&settings, &["set", &mark, kept.trim()]);
    assert!(before.grant("g").await.unwrap().is_some());
    assert!(matches!(anew.client("new").await.unwrap_err(), StoreError::Replaced { .. }));
}

#[tokio::test]
async fn who_can_write_to_redis_can_neither_read_a_grant_nor_change_one_nor_take_anothers() {
    let settings = single().settings();
    let store: Arc<dyn Store> = Arc::new(open(&settings).await.unwrap());
    let key = |name: &str| format!("{{{}}}:{name}", settings.prefix);
    let token_key = |token: &str| key(&format!("refresh:{}", URL_SAFE_NO_PAD.encode(Digest256::of(token).as_bytes())));
    for id in ["mine", "theirs"] {
        store.issue_code(Digest256::of(&format!("code {id}")), &record(), &grant(id), later(60)).await.unwrap();
        store.begin_refresh(Digest256::of(id), id, later(100)).await.unwrap();
    }
    let present = async |token: &str| store.present_refresh_token(Digest256::of(token), "client", NOW).await;
    assert!(matches!(present("mine").await.unwrap(), Presentation::Current(_)), "the control");
    let sealed = redis(&settings, &["hget", &key("grant:mine"), "record"]);
    assert!(sealed.len() > 100 && !sealed.contains("Task.Read"), "{sealed}");
    // Another's grant for my token.
    redis(&settings, &["hset", &token_key("mine"), "grant", "theirs"]);
    assert!(matches!(present("mine").await.unwrap_err(), StoreError::Seal(_)));
    redis(&settings, &["hset", &token_key("mine"), "grant", "mine"]);
    assert!(matches!(present("mine").await.unwrap(), Presentation::Current(_)));
    // Another's record at my grant's place, and one that is damaged.
    let theirs = redis(&settings, &["hget", &key("grant:theirs"), "record"]);
    for record in [theirs.trim(), "", "x", "{}"] {
        redis(&settings, &["hset", &key("grant:mine"), "record", record]);
        assert!(matches!(present("mine").await.unwrap_err(), StoreError::Seal(_)), "{record}");
        assert!(store.grant("mine").await.is_err());
    }
    // A code that leads to another's grant.
    let code = Digest256::of("code mine");
    let code_key = key(&format!("code:{}", URL_SAFE_NO_PAD.encode(code.as_bytes())));
    redis(&settings, &["hset", &code_key, "grant", "theirs"]);
    assert!(matches!(store.redeem_code(code, &presented(), NOW).await.unwrap_err(), StoreError::Seal(_)));
    // Keys of other types are errors as well.
    redis(&settings, &["del", &key("clients:unused")]);
    redis(&settings, &["set", &key("revocation"), "x"]);
    assert!(store.revocations(0).await.is_err());
    assert!(matches!(present("theirs").await.unwrap(), Presentation::Current(_)), "the rest is whole");
}

#[tokio::test]
async fn a_registration_that_is_used_outlives_the_key_that_sealed_it() {
    let settings = single().settings();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, byte: u8| super::super::key_file(&directory, name, byte);
    let (old, new) = (file("old", 1), file("new", 2));
    let with = async |files: &[std::path::PathBuf]| {
        RedisStore::open(&settings, Sealer::from_files(files).unwrap()).await.unwrap()
    };
    let before = with(std::slice::from_ref(&old)).await;
    for id in ["used", "idle"] {
        before.register_client(&client(id)).await.unwrap();
    }
    let both = with(&[new.clone(), old.clone()]).await;
    assert_eq!(both.client("used").await.unwrap(), Some(client("used")));
    assert_eq!(before.client("used").await.unwrap(), None, "the newest key has sealed it now");
    let alone = with(&[new]).await;
    assert_eq!(alone.client("used").await.unwrap(), Some(client("used")));
    assert_eq!(alone.client("idle").await.unwrap(), None, "it registers anew");
    assert_eq!(before.client("idle").await.unwrap(), Some(client("idle")), "the control: it is there");
}

#[tokio::test]
async fn a_user_with_a_password_is_let_in_over_tls_and_nobody_else() {
    let good = guarded().settings();
    open(&good).await.unwrap();
    let wrong = RedisSettings { password: Some(crate::config::Secret::new("guess")), ..good.clone() };
    let error = open(&wrong).await.unwrap_err().to_string();
    assert!(!error.contains("guess"), "{error}");
    let unknown_authority = RedisSettings { ca_file: None, ..good.clone() };
    assert!(open(&unknown_authority).await.is_err());
    let plain = crate::config::Secret::new(format!("redis://127.0.0.1:{}", guarded().ports[0]));
    assert!(open(&RedisSettings { urls: vec![plain], ca_file: None, ..good }).await.is_err());
}

#[tokio::test]
async fn a_failover_loses_nothing_that_a_replica_acknowledged() {
    let mut data = watched();
    let settings = RedisSettings { wait_replicas: 1, ..data.settings() };
    let store: Arc<dyn Store> = Arc::new(open(&settings).await.unwrap());
    let code = with_code(&store).await;
    assert!(matches!(store.redeem_code(code, &presented(), NOW).await.unwrap(), Redemption::Spent(_)));
    data.running[0].kill();
    let mut outage = 0;
    let replayed = loop {
        match store.redeem_code(code, &presented(), NOW).await {
            // The one that is left has no replica to acknowledge the end of the grant: that is said, not hidden.
            Err(StoreError::Unreachable(what)) if what.contains("0 of 1 replicas") => break true,
            Ok(Redemption::Replayed) => break true,
            Ok(other) => panic!("the code came back: {other:?}"),
            Err(_) => outage += 1,
        }
        assert!(outage < 600, "no failover");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(replayed);
    assert_eq!(store.grant("g").await.unwrap(), None, "and its replay ended the grant");
}
