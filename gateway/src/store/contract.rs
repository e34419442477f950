//! What every store must do, whatever it is made of. Longer than other files here because it is one list of tests, and each
//! runs with every store.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

mod servers;
mod trust;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-one-of-them";

/// A kind of store, and a fresh one of it.
#[derive(Clone, Copy)]
enum Make {
    Sqlite,
    Redis,
    Guarded,
    Sentinel,
    Cluster,
}

impl Make {
    async fn store(self) -> (tempfile::TempDir, Arc<dyn Store>) {
        self.bounded(MAX_LOGINS, MAX_UNUSED_CLIENTS).await
    }

    /// One with room for so many logins and unused clients.
    async fn bounded(self, logins: i64, clients: i64) -> (tempfile::TempDir, Arc<dyn Store>) {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = match self {
            Self::Sqlite => {
                let store = SqliteStore::open(&directory.path().join("portcullis.db")).await.unwrap();
                Arc::new(store.with_bounds(logins, clients))
            }
            Self::Redis => Self::on(servers::single(), logins, clients).await,
            Self::Guarded => Self::on(servers::guarded(), logins, clients).await,
            Self::Sentinel => Self::on(servers::sentinel(), logins, clients).await,
            Self::Cluster => Self::on(servers::cluster(), logins, clients).await,
        };
        (directory, store)
    }

    async fn on(servers: &servers::Servers, logins: i64, clients: i64) -> Arc<dyn Store> {
        let store = RedisStore::open(&servers.settings(), Sealer::new([7; 32])).await.unwrap();
        Arc::new(store.with_bounds(logins, clients))
    }
}

/// A sealing key of this byte, in a file that nobody else may read.
pub(crate) fn key_file(directory: &tempfile::TempDir, name: &str, byte: u8) -> std::path::PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, [byte; 32]).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// A store in Redis, and what takes its mark away: from then on it fails at everything.
pub(crate) async fn fresh_redis() -> (Arc<dyn Store>, impl FnOnce()) {
    let settings = servers::single().settings();
    let store: Arc<dyn Store> = Arc::new(RedisStore::open(&settings, Sealer::new([7; 32])).await.unwrap());
    let port = servers::single().ports[0];
    (store, move || drop(servers::ask(port, &["del", &format!("{{{}}}:schema", settings.prefix)])))
}

/// Every test of the contract with every store.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite { use super::Make; $(#[tokio::test] async fn $name() { super::$name(Make::Sqlite).await; })* }
        mod redis { use super::Make; $(#[tokio::test] async fn $name() { super::$name(Make::Redis).await; })* }
        /// With TLS, and a user with a password.
        mod guarded { use super::Make; $(#[tokio::test] async fn $name() { super::$name(Make::Guarded).await; })* }
        mod sentinel { use super::Make; $(#[tokio::test] async fn $name() { super::$name(Make::Sentinel).await; })* }
        mod cluster { use super::Make; $(#[tokio::test] async fn $name() { super::$name(Make::Cluster).await; })* }
    };
}

fn grant(id: &str) -> Grant {
    Grant {
        id: id.to_owned(),
        client_id: "client".to_owned(),
        resource: "https://r".to_owned(),
        scopes: vec!["read".to_owned()],
        tid: "t".to_owned(),
        oid: "o".to_owned(),
        roles: vec!["Task.Read".to_owned()],
        groups: Vec::new(),
        auth_time: None,
        acrs: Vec::new(),
        guest: false,
        claims: std::collections::BTreeMap::new(),
        upstream: None,
        may_refresh: true,
    }
}

fn record() -> CodeRecord {
    CodeRecord {
        client_id: "client".to_owned(),
        redirect_uri: "http://127.0.0.1/cb".to_owned(),
        code_challenge: Some(URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))),
        resource: "https://r".to_owned(),
    }
}

fn presented() -> Presented<'static> {
    Presented {
        client_id: "client",
        redirect_uri: Some("http://127.0.0.1/cb"),
        code_verifier: Some(VERIFIER),
        resource: None,
    }
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn login() -> Login {
    Login {
        client_id: "c".to_owned(),
        document: None,
        redirect_uri: "r".to_owned(),
        state: None,
        code_challenge: Some("x".to_owned()),
        resource: "https://r".to_owned(),
        scopes: vec![],
        hints: vec![],
        csrf: "t".to_owned(),
        binding: None,
        nonce: None,
        verifier: None,
        remember: false,
        remembered_of: None,
        way: Way::Redirect,
    }
}

fn successor(name: &str) -> Successor {
    Successor { token: Digest256::of(name), sealed: format!("sealed {name}"), expires: later(200) }
}

async fn with_code(store: &Arc<dyn Store>) -> Digest256 {
    let code = Digest256::of("code");
    store.issue_code(code, &record(), &grant("g"), later(60)).await.unwrap();
    code
}

async fn a_code_is_redeemed_once_and_its_replay_ends_the_grant(make: Make) {
    let (_directory, store) = make.store().await;
    let code = with_code(&store).await;
    let Redemption::Spent(spent) = store.redeem_code(code, &presented(), NOW).await.unwrap() else {
        panic!("not spent")
    };
    assert_eq!(spent.into_grant(), grant("g"));
    let token = Digest256::of("refresh");
    store.begin_refresh(token, "g", later(100)).await.unwrap();
    assert!(matches!(store.redeem_code(code, &presented(), NOW).await.unwrap(), Redemption::Replayed));
    let presentation = store.present_refresh_token(token, "client", NOW).await.unwrap();
    assert!(matches!(presentation, Presentation::Unknown));
}

async fn a_hundred_racers_redeem_a_code_once(make: Make) {
    let (_directory, store) = make.store().await;
    let code = with_code(&store).await;
    let racers: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                matches!(store.redeem_code(code, &presented(), NOW).await.unwrap(), Redemption::Spent(_))
            })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

async fn what_a_code_was_not_issued_for_leaves_it_as_it_was(make: Make) {
    let (_directory, store) = make.store().await;
    let code = with_code(&store).await;
    for wrong in [
        Presented { client_id: "other", ..presented() },
        Presented { redirect_uri: Some("http://127.0.0.1/other"), ..presented() },
        Presented { redirect_uri: Some(""), ..presented() },
        Presented { code_verifier: Some("another-verifier-that-is-long-enough-to-be-one"), ..presented() },
        Presented { code_verifier: Some(""), ..presented() },
        Presented { code_verifier: None, ..presented() },
    ] {
        assert!(matches!(store.redeem_code(code, &wrong, NOW).await.unwrap(), Redemption::Refused(Refused::Grant)));
    }
    let other = Presented { resource: Some("https://other"), ..presented() };
    assert!(matches!(store.redeem_code(code, &other, NOW).await.unwrap(), Redemption::Refused(Refused::Target)));
    assert!(matches!(store.redeem_code(Digest256::of("no"), &presented(), NOW).await.unwrap(), Redemption::Unknown));
    assert!(matches!(store.redeem_code(code, &presented(), NOW).await.unwrap(), Redemption::Spent(_)));
}

async fn a_code_without_a_challenge_is_good_without_a_verifier_only(make: Make) {
    let (_directory, store) = make.store().await;
    let code = Digest256::of("code");
    let record = CodeRecord { code_challenge: None, ..record() };
    store.issue_code(code, &record, &grant("g"), later(60)).await.unwrap();
    for verifier in [VERIFIER, ""] {
        let wrong = Presented { code_verifier: Some(verifier), ..presented() };
        assert!(matches!(store.redeem_code(code, &wrong, NOW).await.unwrap(), Redemption::Refused(Refused::Grant)));
    }
    let right = Presented { code_verifier: None, ..presented() };
    assert!(matches!(store.redeem_code(code, &right, NOW).await.unwrap(), Redemption::Spent(_)));
}

async fn a_code_dies_after_its_time(make: Make) {
    let (_directory, store) = make.store().await;
    let code = with_code(&store).await;
    assert!(matches!(store.redeem_code(code, &presented(), later(60)).await.unwrap(), Redemption::Unknown));
}

async fn a_refresh_token_has_one_successor_and_its_reuse_ends_the_grant(make: Make) {
    let (_directory, store) = make.store().await;
    with_code(&store).await;
    let (first, second) = (Digest256::of("1"), Digest256::of("2"));
    let after_grace = NOW.plus(GRACE);
    store.begin_refresh(first, "g", later(100)).await.unwrap();
    let other = store.present_refresh_token(first, "other", NOW).await.unwrap();
    assert!(matches!(other, Presentation::Unknown));
    assert!(matches!(store.present_refresh_token(first, "client", NOW).await.unwrap(), Presentation::Current(_)));
    let changed = Grant { roles: vec![], ..grant("g") };
    assert_eq!(store.rotate_refresh_token(first, &successor("2"), &changed, NOW).await.unwrap(), Rotation::Done);
    let Presentation::Current(found) = store.present_refresh_token(second, "client", NOW).await.unwrap() else {
        panic!("the successor is not current")
    };
    assert_eq!(*found, changed);
    assert!(matches!(store.present_refresh_token(first, "client", after_grace).await.unwrap(), Presentation::Reused));
    assert!(matches!(store.present_refresh_token(second, "client", NOW).await.unwrap(), Presentation::Unknown));
}

async fn a_lost_answer_can_be_asked_for_again_until_its_token_is_used(make: Make) {
    let (_directory, store) = make.store().await;
    with_code(&store).await;
    let (first, second) = (Digest256::of("1"), Digest256::of("2"));
    store.begin_refresh(first, "g", later(100)).await.unwrap();
    store.rotate_refresh_token(first, &successor("2"), &grant("g"), NOW).await.unwrap();
    let Presentation::Superseded { successor: sealed, .. } =
        store.present_refresh_token(first, "client", later(9)).await.unwrap()
    else {
        panic!("the answer is not given again")
    };
    assert_eq!(sealed, "sealed 2");
    assert_eq!(
        store.rotate_refresh_token(second, &successor("3"), &grant("g"), later(9)).await.unwrap(),
        Rotation::Done
    );
    assert!(matches!(store.present_refresh_token(first, "client", later(9)).await.unwrap(), Presentation::Reused));
    assert!(matches!(
        store.present_refresh_token(Digest256::of("3"), "client", later(9)).await.unwrap(),
        Presentation::Unknown
    ));
}

async fn a_revoked_grant_cannot_be_rotated_back_to_life(make: Make) {
    let (_directory, store) = make.store().await;
    with_code(&store).await;
    let first = Digest256::of("1");
    store.begin_refresh(first, "g", later(100)).await.unwrap();
    store.revoke(&Whose::Grant("g".to_owned()), NOW).await.unwrap();
    assert_eq!(
        store.rotate_refresh_token(first, &successor("2"), &grant("g"), NOW).await.unwrap(),
        Rotation::Superseded
    );
    let presentation = store.present_refresh_token(Digest256::of("2"), "client", NOW).await.unwrap();
    assert!(matches!(presentation, Presentation::Unknown));
}

async fn whoever_is_named_loses_their_grants_and_nobody_else(make: Make) {
    let named = [
        (Whose::Grant("1".to_owned()), 1),
        (Whose::User { tid: "t".to_owned(), oid: "o".to_owned() }, 2),
        (Whose::Client("client".to_owned()), 2),
        (Whose::Tenant("t".to_owned()), 3),
        (Whose::Everybody, 4),
    ];
    for (whose, count) in named {
        let (_directory, store) = make.store().await;
        let grants = [("1", "client", "t", "o"), ("2", "client", "u", "o"), ("3", "c", "t", "o"), ("4", "c", "t", "p")];
        let grants = grants.map(|(id, client, tid, oid)| Grant {
            client_id: client.to_owned(),
            tid: tid.to_owned(),
            oid: oid.to_owned(),
            ..grant(id)
        });
        for grant in &grants {
            store.issue_code(Digest256::of(&grant.id), &record(), grant, later(60)).await.unwrap();
            store.begin_refresh(Digest256::of(&format!("r{}", grant.id)), &grant.id, later(100)).await.unwrap();
        }
        assert_eq!(store.revoke(&whose, NOW).await.unwrap(), count, "{whose:?}");
        for grant in &grants {
            let token = Digest256::of(&format!("r{}", grant.id));
            let presentation = store.present_refresh_token(token, &grant.client_id, NOW).await.unwrap();
            let is_over = matches!(presentation, Presentation::Unknown);
            assert_eq!(is_over, whose.covers(grant), "{whose:?}: {}", grant.id);
        }
        let log = store.revocations(0).await.unwrap();
        assert!(log.lines.iter().any(|line| line.key == whose.key() && line.issued_before > NOW));
        assert!(log.lines.is_sorted_by(|one, next| one.sequence < next.sequence));
        assert_eq!(store.revocations(log.newest).await.unwrap(), Revocations { newest: log.newest, lines: vec![] });
    }
}

async fn every_end_of_a_grant_is_in_the_log_until_its_tokens_have_ended(make: Make) {
    let (_directory, store) = make.store().await;
    assert_eq!(store.revocations(0).await.unwrap(), Revocations::default());
    let code = with_code(&store).await;
    store.redeem_code(code, &presented(), NOW).await.unwrap();
    store.begin_refresh(Digest256::of("1"), "g", later(100)).await.unwrap();
    store.end_access_tokens("g", NOW).await.unwrap();
    store.redeem_code(code, &presented(), NOW).await.unwrap();
    let log = store.revocations(0).await.unwrap();
    assert_eq!(log.lines.iter().map(|line| line.key.as_str()).collect::<Vec<_>>(), ["grant:g", "grant:g"]);
    assert_eq!(log.lines[0].issued_before, NOW, "the grant went on");
    assert!(log.lines[1].issued_before > later(3_600), "and was over");
    store.purge(later(3_600)).await.unwrap();
    assert_eq!(store.revocations(0).await.unwrap(), log);
    store.purge(later(4_000)).await.unwrap();
    let empty = Revocations { newest: log.newest, lines: vec![] };
    assert_eq!(store.revocations(0).await.unwrap(), empty, "numbers are never given twice");
    store.end_access_tokens("h", later(4_000)).await.unwrap();
    assert!(store.revocations(log.newest).await.unwrap().newest > log.newest);
}

async fn what_an_operator_ended_is_in_the_log_for_as_long_as_a_consent_is_remembered(make: Make) {
    let (_directory, store) = make.store().await;
    let user = Whose::User { tid: "t".to_owned(), oid: "o".to_owned() };
    let all = [user, Whose::Client("client".to_owned()), Whose::Tenant("t".to_owned()), Whose::Everybody];
    for whose in &all {
        store.revoke(whose, NOW).await.unwrap();
    }
    // Afterwards, so that it stands behind them.
    store.end_access_tokens("h", NOW).await.unwrap();
    let keys = async || {
        let log = store.revocations(0).await.unwrap();
        log.lines.into_iter().map(|line| line.key).collect::<Vec<_>>()
    };
    assert_eq!(keys().await.len(), all.len() + 1, "the control");
    store.purge(later(90 * 24 * 3_600)).await.unwrap();
    assert_eq!(keys().await, all.iter().map(Whose::key).collect::<Vec<_>>());
    store.purge(later(91 * 24 * 3_600)).await.unwrap();
    assert!(keys().await.is_empty());
}

async fn a_refresh_token_that_is_given_back_ends_the_grant_of_its_client_only(make: Make) {
    let (_directory, store) = make.store().await;
    with_code(&store).await;
    let (first, second) = (Digest256::of("1"), Digest256::of("2"));
    store.begin_refresh(first, "g", later(100)).await.unwrap();
    store.rotate_refresh_token(first, &successor("2"), &grant("g"), NOW).await.unwrap();
    assert_eq!(store.revoke_refresh_token(second, "other", NOW).await.unwrap(), None);
    assert_eq!(store.revoke_refresh_token(Digest256::of("3"), "client", NOW).await.unwrap(), None);
    assert!(store.revocations(0).await.unwrap().lines.is_empty());
    assert_eq!(store.revoke_refresh_token(first, "client", NOW).await.unwrap(), Some(grant("g")), "a spent one too");
    let presentation = store.present_refresh_token(second, "client", NOW).await.unwrap();
    assert!(matches!(presentation, Presentation::Unknown));
    assert_eq!(store.revocations(0).await.unwrap().lines.len(), 1);
}

async fn a_flood_of_registrations_pushes_out_unused_ones_only(make: Make) {
    let (_directory, store) = make.bounded(3, 3).await;
    let client = |id: &str| Client {
        client_id: id.to_owned(),
        client_name: None,
        redirect_uris: vec![],
        application_type: "native".to_owned(),
        may_refresh: true,
        device: false,
        registered_at: NOW.as_secs(),
        keys: None,
    };
    store.register_client(&client("client")).await.unwrap();
    with_code(&store).await;
    for number in 0..10 {
        store.register_client(&client(&format!("flood {number}"))).await.unwrap();
    }
    let is_there = async |id: &str| store.client(id).await.unwrap().is_some();
    assert!(is_there("client").await && is_there("flood 9").await && is_there("flood 7").await);
    assert!(!is_there("flood 6").await && !is_there("flood 0").await);
}

async fn a_flood_of_logins_pushes_out_the_oldest(make: Make) {
    let (_directory, store) = make.bounded(3, 3).await;
    for number in 0..10_u64 {
        let id = Digest256::of(&number.to_string());
        store.begin_login(id, &login(), later(600 + number)).await.unwrap();
    }
    assert!(store.login(Digest256::of("9"), NOW).await.unwrap().is_some());
    assert!(store.login(Digest256::of("6"), NOW).await.unwrap().is_none());
}

async fn a_hundred_racers_rotate_once(make: Make) {
    let (_directory, store) = make.store().await;
    with_code(&store).await;
    let token = Digest256::of("1");
    store.begin_refresh(token, "g", later(100)).await.unwrap();
    let racers: Vec<_> = (0..100)
        .map(|number| {
            let store = Arc::clone(&store);
            let successor = successor(&format!("next {number}"));
            tokio::spawn(async move { store.rotate_refresh_token(token, &successor, &grant("g"), NOW).await.unwrap() })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap() == Rotation::Done);
    }
    assert_eq!(winners, 1);
}

async fn a_login_is_taken_once_and_in_time(make: Make) {
    let (_directory, store) = make.store().await;
    let login = login();
    let id = Digest256::of("login");
    store.begin_login(id, &login, later(10)).await.unwrap();
    assert_eq!(store.login(id, NOW).await.unwrap().as_ref(), Some(&login));
    assert_eq!(store.login(id, later(10)).await.unwrap(), None);
    assert_eq!(store.take_login(id, NOW).await.unwrap(), Some(login.clone()));
    assert_eq!(store.take_login(id, NOW).await.unwrap(), None);
    store.begin_login(id, &login, later(10)).await.unwrap();
    assert_eq!(store.take_login(id, later(10)).await.unwrap(), None);
}

async fn what_is_over_is_forgotten_and_a_used_client_is_not(make: Make) {
    let (_directory, store) = make.store().await;
    let client = |id: &str| Client {
        client_id: id.to_owned(),
        client_name: None,
        redirect_uris: vec![],
        application_type: "native".to_owned(),
        may_refresh: true,
        device: false,
        registered_at: NOW.as_secs(),
        keys: None,
    };
    store.register_client(&client("client")).await.unwrap();
    store.register_client(&client("unused")).await.unwrap();
    with_code(&store).await;
    assert!(store.purge(later(25 * 3600)).await.unwrap() >= 3);
    assert!(store.client("client").await.unwrap().is_some());
    assert!(store.client("unused").await.unwrap().is_none());
    store.purge(later(366 * 24 * 3600)).await.unwrap();
    assert!(store.client("client").await.unwrap().is_none(), "nobody signed in through it for a year");
}

async fn what_a_document_says_now_is_kept_in_place_of_what_it_said(make: Make) {
    let (_directory, store) = make.store().await;
    let client = |name: &str| Client {
        client_id: "client".to_owned(),
        client_name: Some(name.to_owned()),
        redirect_uris: vec![],
        application_type: "native".to_owned(),
        may_refresh: true,
        device: false,
        registered_at: NOW.as_secs(),
        keys: Some(ClientKeys::Remote { uri: "https://c.example/keys".to_owned(), last: None }),
    };
    store.keep_client(&client("before")).await.unwrap();
    with_code(&store).await;
    store.keep_client(&client("after")).await.unwrap();
    assert_eq!(store.client("client").await.unwrap(), Some(client("after")));
    store.purge(later(25 * 3600)).await.unwrap();
    assert!(store.client("client").await.unwrap().is_some(), "it stays a used one");
}

async fn an_assertion_is_spent_once_until_it_expires(make: Make) {
    let (_directory, store) = make.store().await;
    let (one, other) = (Digest256::of("one"), Digest256::of("other"));
    let racers: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.spend_assertion(one, later(300)).await.unwrap() })
        })
        .collect();
    let mut first = 0;
    for racer in racers {
        first += u32::from(racer.await.unwrap());
    }
    assert_eq!(first, 1);
    assert!(store.spend_assertion(other, later(300)).await.unwrap());
    store.purge(later(299)).await.unwrap();
    assert!(!store.spend_assertion(one, later(300)).await.unwrap());
    store.purge(later(300)).await.unwrap();
    assert!(store.spend_assertion(one, later(600)).await.unwrap(), "it could not be presented any more anyway");
}

async fn a_key_is_replaced_by_who_saw_it_last(make: Make) {
    let (_directory, store) = make.store().await;
    assert_eq!(store.known_key("a").await.unwrap(), None);
    assert_eq!(store.key("a", vec![1]).await.unwrap(), [1]);
    assert_eq!(store.key("a", vec![2]).await.unwrap(), [1], "the first one stays");
    assert!(!store.replace_key("a", &[2], vec![3]).await.unwrap(), "another was seen");
    assert!(!store.replace_key("b", &[1], vec![3]).await.unwrap(), "there is none");
    assert!(store.replace_key("a", &[1], vec![3, 0, 255]).await.unwrap());
    assert_eq!(store.key("a", vec![4]).await.unwrap(), [3, 0, 255]);
    assert_eq!(store.known_key("a").await.unwrap(), Some(vec![3, 0, 255]));
}

async fn a_lease_is_one_holders_until_it_is_given_back_or_over(make: Make) {
    let (_directory, store) = make.store().await;
    let (one, other) = (Digest256::of("one"), Digest256::of("other"));
    assert!(store.lease("refresh", one, NOW, later(15)).await.unwrap());
    assert!(!store.lease("refresh", other, NOW, later(15)).await.unwrap());
    assert!(store.lease("something else", other, NOW, later(15)).await.unwrap());
    assert!(store.lease("refresh", one, later(1), later(16)).await.unwrap(), "its holder may prolong it");
    store.release("refresh", other).await.unwrap();
    assert!(!store.lease("refresh", other, later(15), later(30)).await.unwrap(), "nobody gives back another's");
    store.release("refresh", one).await.unwrap();
    assert!(store.lease("refresh", other, later(1), later(16)).await.unwrap());
    assert!(store.lease("refresh", one, later(16), later(30)).await.unwrap(), "a holder that died is not waited for");
}

contract!(
    a_code_is_redeemed_once_and_its_replay_ends_the_grant,
    a_hundred_racers_redeem_a_code_once,
    what_a_code_was_not_issued_for_leaves_it_as_it_was,
    a_code_without_a_challenge_is_good_without_a_verifier_only,
    a_code_dies_after_its_time,
    a_refresh_token_has_one_successor_and_its_reuse_ends_the_grant,
    a_lost_answer_can_be_asked_for_again_until_its_token_is_used,
    a_revoked_grant_cannot_be_rotated_back_to_life,
    whoever_is_named_loses_their_grants_and_nobody_else,
    every_end_of_a_grant_is_in_the_log_until_its_tokens_have_ended,
    a_refresh_token_that_is_given_back_ends_the_grant_of_its_client_only,
    a_flood_of_registrations_pushes_out_unused_ones_only,
    a_flood_of_logins_pushes_out_the_oldest,
    a_hundred_racers_rotate_once,
    a_login_is_taken_once_and_in_time,
    what_is_over_is_forgotten_and_a_used_client_is_not,
    what_a_document_says_now_is_kept_in_place_of_what_it_said,
    what_an_operator_ended_is_in_the_log_for_as_long_as_a_consent_is_remembered,
    an_assertion_is_spent_once_until_it_expires,
    a_key_is_replaced_by_who_saw_it_last,
    a_lease_is_one_holders_until_it_is_given_back_or_over,
);

#[tokio::test]
async fn the_first_signing_key_stays() {
    let (directory, store) = Make::Sqlite.store().await;
    assert_eq!(store.key("a", vec![1]).await.unwrap(), [1]);
    assert_eq!(store.key("a", vec![2]).await.unwrap(), [1]);
    drop(store);
    let again = SqliteStore::open(&directory.path().join("portcullis.db")).await.unwrap();
    assert_eq!(again.key("a", vec![3]).await.unwrap(), [1]);
}

#[tokio::test]
async fn a_lease_of_a_gateway_that_died_is_not_waited_for() {
    let (directory, store) = Make::Sqlite.store().await;
    let (one, other) = (Digest256::of("one"), Digest256::of("other"));
    assert!(store.lease("refresh", one, NOW, later(15)).await.unwrap());
    assert!(!store.lease("refresh", other, NOW, later(15)).await.unwrap(), "the control");
    drop(store);
    let again = SqliteStore::open(&directory.path().join("portcullis.db")).await.unwrap();
    assert!(again.lease("refresh", other, NOW, later(15)).await.unwrap());
}

#[tokio::test]
async fn a_file_that_is_not_ours_or_damaged_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let refused = async |name: &str| {
        let error = SqliteStore::open(&path(name)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
        error.to_string()
    };
    let ours = SqliteStore::open(&path("ours")).await.unwrap();
    for number in 0..100 {
        ours.begin_login(Digest256::of(&number.to_string()), &login(), later(600)).await.unwrap();
    }
    ours.close().await;
    assert!(SqliteStore::open(&path("ours")).await.is_ok(), "the control");
    let good = std::fs::read(path("ours")).unwrap();
    let half = good.len() / 2;
    let damaged: Vec<u8> = good[..half].iter().copied().chain(std::iter::repeat_n(0xa5, half)).collect();
    let foreign = sqlx::sqlite::SqliteConnectOptions::new().filename(path("foreign")).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(foreign).await.unwrap();
    sqlx::raw_sql("CREATE TABLE other (x)").execute(&pool).await.unwrap();
    pool.close().await;
    for (name, content) in [
        ("text", b"this is not a database, and it is long enough to be looked at".as_slice()),
        ("empty", b""),
        ("damaged", &damaged),
        ("cut", &good[..half]),
    ] {
        std::fs::write(path(name), content).unwrap();
    }
    for (name, says) in [
        ("text", "not a database"),
        ("empty", "is empty"),
        ("foreign", "another program"),
        ("damaged", "restore it"),
        ("cut", "restore it"),
    ] {
        let error = refused(name).await;
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_file_of_the_version_before_becomes_one_of_this() {
    let (directory, store) = Make::Sqlite.store().await;
    with_code(&store).await;
    drop(store);
    let path = directory.path().join("portcullis.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::raw_sql("DROP TABLE lease; PRAGMA user_version = 4").execute(&pool).await.unwrap();
    let both = tokio::join!(SqliteStore::open(&path), SqliteStore::open(&path));
    let (one, other) = (both.0.unwrap(), both.1.unwrap());
    assert!(one.lease("x", Digest256::of("one"), NOW, later(9)).await.unwrap());
    assert!(!other.lease("x", Digest256::of("other"), NOW, later(9)).await.unwrap());
    assert_eq!(other.grant("g").await.unwrap(), Some(grant("g")), "and what was in it is there");
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&pool).await.unwrap();
    assert!(SqliteStore::open(&path).await.unwrap_err().to_string().contains("another version"));
}
