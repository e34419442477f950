//! Identity assertions: what follows from the word of an issuer, and for whom nothing does.

use std::collections::BTreeSet;

use super::*;
use crate::entra::StepUp;
use crate::jose::claims::AssertionExpectations;
use crate::jose::fixture::{Published, Rsa};
use crate::jose::identity_assertion::{TYPE, Verifier};

const IDP: &str = "https://idp.example";
const PARTNER: &str = "https://partner.example";
const SECRET: &str = "a-secret-of-the-portal";

/// A gateway that takes the word of two issuers, and their keys.
struct Trust {
    world: World,
    idp: SigningKey,
    partner: SigningKey,
}

/// A client of the configuration that people sign in at.
pub(super) fn configured(id: &str, credential: Credential, assertion: bool) -> Configured {
    Configured {
        id: id.to_owned(),
        name: None,
        tenant: identity::TENANT.to_owned(),
        redirect_uris: vec![REDIRECT.to_owned()],
        credential,
        grants: Grants { code: true, assertion, ..Grants::default() },
        roles: Vec::new(),
    }
}

fn clients() -> Clients {
    let secret = || Credential::Secret(crate::store::Digest256::of(SECRET));
    let portal = configured("portal", secret(), true);
    let other = configured("other", secret(), true);
    Clients::any().with_configured([portal, other, configured("reader", secret(), false)])
}

fn trusted(issuer: &str, keys: &[&Value], clock: &ManualClock) -> Trusted {
    let expectations = AssertionExpectations { issuer: issuer.to_owned(), tenant: None, claim: "groups".to_owned() };
    let source = Box::new(Published(json!({ "keys": keys })));
    let map = [("readers", vec!["Task.Read"]), ("staff", vec!["Task.Read", "Task.Write"]), ("guests", vec![])];
    let map = map.map(|(value, roles)| (value.to_owned(), roles.into_iter().map(str::to_owned).collect()));
    let keys = KeySet::new(source, Arc::new(clock.clone()));
    Trusted { verifier: Verifier::new(expectations, Arc::new(keys)), roles: map.into(), clients: None }
}

impl Trust {
    async fn new() -> Self {
        let (idp, partner) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let clock = ManualClock::new(NOW);
        let of_idp = trusted(IDP, &[idp.public_jwk()], &clock);
        let mut of_partner = trusted(PARTNER, &[partner.public_jwk()], &clock);
        of_partner.clients = Some(["other".to_owned()].into());
        let world = World::trusting(vec![strict(), crm()], clients(), vec![of_idp, of_partner]).await;
        Self { world, idp, partner }
    }

    fn assertion(&self, claims: &Value) -> String {
        self.idp.sign(TYPE, claims).unwrap()
    }

    async fn present(&self, assertion: &str, more: &[(&str, &str)]) -> Answer {
        self.present_as("portal", assertion, more).await
    }

    async fn present_as(&self, client: &str, assertion: &str, more: &[(&str, &str)]) -> Answer {
        let own = [("grant_type", ASSERTION_GRANT), ("client_id", client), ("client_secret", SECRET)];
        let all: Vec<_> = own.into_iter().chain([("assertion", assertion)]).chain(more.iter().copied()).collect();
        self.world.post("/token", &all).await
    }

    /// The claims of the token that follows from an assertion with these claims.
    async fn token(&self, claims: &Value, more: &[(&str, &str)]) -> Value {
        let answer = self.present(&self.assertion(claims), more).await;
        assert_eq!(answer.status, 200, "{claims} {more:?}: {}", answer.body);
        self.world.claims(&answer.json())
    }
}

/// The weather, where deleting wants a stronger sign-in.
fn strict() -> Resource {
    let mut resource = weather();
    let wanted = StepUp { acrs: BTreeSet::from(["c1".to_owned()]), max_age: None };
    for scope in resource.scopes.iter_mut().filter(|scope| scope.name == "delete") {
        scope.step_up = Some(wanted.clone());
    }
    resource
}

/// The claims of an honest assertion of this name.
fn claims(jti: &str) -> Value {
    let now = NOW.as_secs();
    json!({ "iss": IDP, "sub": "alice", "aud": ISSUER, "client_id": "portal", "jti": jti, "iat": now, "exp": now + 300,
        "resource": RESOURCE, "scope": "read write", "groups": ["readers"] })
}

fn changed(jti: &str, name: &str, value: Value) -> Value {
    let mut claims = claims(jti);
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
    };
    claims
}

#[tokio::test]
async fn an_assertion_becomes_a_token_for_its_resource_with_mapped_roles_and_nothing_to_refresh_with() {
    let trust = Trust::new().await;
    let answer = trust.present(&trust.assertion(&claims("1")), &[]).await;
    assert_eq!((answer.status, answer.header(header::CACHE_CONTROL)), (200, "no-store"), "{}", answer.body);
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["scope"], body.get("refresh_token")),
        (&json!("Bearer"), &json!("read write"), None)
    );
    let token = trust.world.claims(&body);
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("aud", json!(RESOURCE)),
        ("sub", json!("https://idp.example#alice")),
        ("tid", json!(IDP)),
        ("oid", json!("alice")),
        ("client_id", json!("portal")),
        ("idtyp", json!("user")),
        ("roles", json!(["Task.Read"])),
        ("guest", json!(true)),
    ] {
        assert_eq!(token[name], value, "{name}: {token}");
    }
    for absent in ["groups", "acrs", "auth_time", "claims"] {
        assert!(token.get(absent).is_none(), "{absent}: {token}");
    }
}

#[tokio::test]
async fn an_assertion_is_good_once_however_many_race_with_it() {
    let trust = Arc::new(Trust::new().await);
    let assertion = trust.assertion(&claims("raced"));
    let race = (0..20).map(|_| {
        let (trust, assertion) = (Arc::clone(&trust), assertion.clone());
        tokio::spawn(async move { trust.present(&assertion, &[]).await })
    });
    let mut taken = 0;
    for racer in race.collect::<Vec<_>>() {
        let answer = racer.await.unwrap();
        match answer.status {
            200 => taken += 1,
            _ => assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant")),
        }
    }
    assert_eq!(taken, 1);
    // The same name of another issuer is another assertion.
    let mut of_partner = changed("raced", "iss", json!(PARTNER));
    of_partner["client_id"] = json!("other");
    let of_partner = trust.partner.sign(TYPE, &of_partner).unwrap();
    assert_eq!(trust.present_as("other", &of_partner, &[]).await.status, 200);
}

/// What is no assertion from the client `portal`, each with one thing wrong.
fn refused(trust: &Trust) -> Vec<(&'static str, String)> {
    let honest = claims("1");
    let own = |claims: Value| trust.assertion(&claims);
    let stranger = SigningKey::generate().unwrap();
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"none","typ":"{TYPE}","kid":"x"}}"#)),
        URL_SAFE_NO_PAD.encode(honest.to_string())
    );
    let hmac = Rsa::provider()
        .sign(&format!(r#"{{"alg":"HS256","typ":"{TYPE}","kid":"{}"}}"#, trust.idp.kid()), &honest.to_string());
    vec![
        ("no token", "x.y.z".to_owned()),
        ("no signature", none),
        ("another algorithm", hmac),
        ("another type", trust.idp.sign("JWT", &honest).unwrap()),
        ("an access token's type", trust.idp.sign("at+jwt", &honest).unwrap()),
        ("a stranger's key", stranger.sign(TYPE, &honest).unwrap()),
        ("the key of another issuer", trust.partner.sign(TYPE, &honest).unwrap()),
        ("the gateway's own key", trust.world.state.signing_keys.signer().sign(TYPE, &honest).unwrap()),
        ("an issuer that nobody knows", own(changed("1", "iss", json!("https://evil.example")))),
        ("the issuer with a slash", own(changed("1", "iss", json!("https://idp.example/")))),
        (
            "the gateway as the issuer",
            trust.world.state.signing_keys.signer().sign(TYPE, &changed("1", "iss", json!(ISSUER))).unwrap(),
        ),
        ("another server", own(changed("1", "aud", json!("https://other.example")))),
        ("the token endpoint", own(changed("1", "aud", json!(format!("{ISSUER}/token"))))),
        ("our name with two slashes", own(changed("1", "aud", json!(format!("{ISSUER}//"))))),
        ("our name twice", own(changed("1", "aud", json!([ISSUER, format!("{ISSUER}/")])))),
        ("two servers", own(changed("1", "aud", json!([ISSUER, "https://other.example"])))),
        ("another client", own(changed("1", "client_id", json!("other")))),
        ("no client", own(changed("1", "client_id", Value::Null))),
        ("no name", own(changed("1", "jti", Value::Null))),
        ("nobody", own(changed("1", "sub", Value::Null))),
        ("no resource", own(changed("1", "resource", Value::Null))),
        ("over", own(changed("1", "exp", json!(NOW.as_secs())))),
        ("not begun", own(changed("1", "nbf", json!(NOW.as_secs() + 120)))),
        ("of tomorrow", own(changed("1", "iat", json!(NOW.as_secs() + 86_400)))),
        ("good for a day", own(changed("1", "exp", json!(NOW.as_secs() + 86_400)))),
        ("bound to a key", own(changed("1", "cnf", json!({ "jkt": "x" })))),
    ]
}

#[tokio::test]
async fn what_is_no_assertion_for_this_client_is_refused_in_one_way_and_spends_nothing() {
    let trust = Trust::new().await;
    let honest = claims("1");
    let own = |claims: Value| trust.assertion(&claims);
    let mut answers = BTreeSet::new();
    for (what, assertion) in refused(&trust) {
        let answer = trust.present(&assertion, &[]).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{what}");
        answers.insert(answer.body);
    }
    // An issuer that is known, for another client; and the assertion of a client in another's hands.
    let of_partner = trust.partner.sign(TYPE, &changed("1", "iss", json!(PARTNER))).unwrap();
    answers.insert(trust.present(&of_partner, &[]).await.body);
    answers.insert(trust.present_as("other", &own(honest.clone()), &[]).await.body);
    assert_eq!(answers.len(), 1, "nobody learns which: {answers:?}");
    for (what, claims, more) in [
        ("a resource of nobody", changed("1", "resource", json!("https://evil.example/mcp")), None),
        ("another resource than the request's", honest.clone(), Some(("resource", OTHER_RESOURCE))),
        ("a request for nobody's resource", honest.clone(), Some(("resource", "https://evil.example/mcp"))),
        ("several resources and none named", changed("1", "resource", json!([RESOURCE, OTHER_RESOURCE])), None),
    ] {
        let answer = trust.present(&own(claims), more.as_slice()).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_target"), "{what}");
    }
    assert_eq!(trust.present(&own(honest), &[]).await.status, 200, "the control: none of it has spent the name");
}

#[tokio::test]
async fn a_token_has_no_more_scopes_than_the_assertion_and_the_request_ask_for() {
    let trust = Trust::new().await;
    for (number, (claim, asked, granted)) in [
        (json!("read write"), None, "read write"),
        (json!("write"), None, "write"),
        (json!("read"), Some("read write"), "read"),
        (json!("read write"), Some("write"), "write"),
        (json!("read write"), Some("write root offline_access"), "write"),
        (json!("read root openid"), None, "read"),
        (json!("read"), Some("openid offline_access"), "read"),
        (Value::Null, None, "read write"),
        (Value::Null, Some("read"), "read"),
        // What wants a stronger sign-in is not for another issuer to vouch for.
        (json!("read delete"), None, "read"),
    ]
    .into_iter()
    .enumerate()
    {
        let asked: Vec<(&str, &str)> = asked.map(|scope| ("scope", scope)).into_iter().collect();
        let token = trust.token(&changed(&number.to_string(), "scope", claim.clone()), &asked).await;
        assert_eq!(token["scope"], granted, "{claim} {asked:?}");
    }
    for (claim, asked) in [
        (json!("root"), None),
        (json!("openid"), None),
        (json!("READ"), None),
        (json!("delete"), None),
        (json!("pii"), None),
        (json!("read"), Some("write")),
        (Value::Null, Some("root")),
    ] {
        let asked: Vec<(&str, &str)> = asked.map(|scope| ("scope", scope)).into_iter().collect();
        let answer = trust.present(&trust.assertion(&changed("none", "scope", claim.clone())), &asked).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_scope"), "{claim} {asked:?}");
    }
    assert_eq!(trust.present(&trust.assertion(&claims("none")), &[]).await.status, 200, "none of it was spent");
}

#[tokio::test]
async fn roles_follow_from_the_configuration_and_from_nothing_else() {
    let trust = Trust::new().await;
    for (number, (groups, roles)) in [
        (json!(["readers"]), json!(["Task.Read"])),
        (json!("staff"), json!(["Task.Read", "Task.Write"])),
        (json!(["staff", "readers", "staff"]), json!(["Task.Read", "Task.Write"])),
        (json!(["guests"]), json!([])),
        (json!(["Task.Read", "MCPServer.Admin"]), json!([])),
        (json!(["READERS", " readers"]), json!([])),
        (json!({ "readers": 1 }), json!([])),
        (Value::Null, json!([])),
    ]
    .into_iter()
    .enumerate()
    {
        let mut claims = changed(&number.to_string(), "groups", groups.clone());
        claims["roles"] = json!(["Task.Delete"]);
        assert_eq!(trust.token(&claims, &[]).await["roles"], roles, "{groups}");
    }
}

#[tokio::test]
async fn people_of_two_issuers_are_two_whatever_they_are_called() {
    let trust = Trust::new().await;
    let mut of_partner = changed("1", "iss", json!(PARTNER));
    of_partner["client_id"] = json!("other");
    let answer = trust.present_as("other", &trust.partner.sign(TYPE, &of_partner).unwrap(), &[]).await;
    let (one, other) = (trust.token(&claims("1"), &[]).await, trust.world.claims(&answer.json()));
    assert_eq!((&one["oid"], &other["oid"]), (&json!("alice"), &json!("alice")), "the control");
    assert_ne!(one["sub"], other["sub"]);
    assert_ne!(one["tid"], other["tid"]);
    // Nor is anybody who is called like somebody at Entra that somebody.
    let oid = "0a11ce00-0000-4000-8000-000000000001";
    let borrowed = trust.token(&changed("2", "sub", json!(format!("{}:{oid}", identity::TENANT))), &[]).await;
    assert_eq!(borrowed["tid"], IDP);
    let resources = json!([RESOURCE, OTHER_RESOURCE]);
    let named = trust.token(&changed("3", "resource", resources), &[("resource", OTHER_RESOURCE)]).await;
    assert_eq!(named["aud"], OTHER_RESOURCE);
}

#[tokio::test]
async fn only_a_client_that_the_operator_let_brings_assertions_and_only_where_there_are_issuers() {
    let trust = Trust::new().await;
    let assertion = trust.assertion(&claims("1"));
    let registered = trust.world.register(REDIRECT).await;
    let own = [("grant_type", ASSERTION_GRANT), ("assertion", assertion.as_str())];
    let answer = trust.world.post("/token", &[own[0], own[1], ("client_id", &registered)]).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "unauthorized_client"));
    let answer = trust.present_as("reader", &assertion, &[]).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "unauthorized_client"));
    for pairs in [
        vec![own[0], own[1]],
        vec![own[0], own[1], ("client_id", "portal")],
        vec![own[0], own[1], ("client_id", "portal"), ("client_secret", "x")],
    ] {
        let answer = trust.world.post("/token", &pairs).await;
        let known = pairs.len() > 2;
        let expected = if known { (401, "invalid_client") } else { (400, "invalid_request") };
        assert_eq!((answer.status, answer.error().as_str()), expected, "{pairs:?}");
    }
    let nothing = trust.world.post("/token", &[own[0], ("client_id", "portal"), ("client_secret", SECRET)]).await;
    assert_eq!((nothing.status, nothing.error().as_str()), (400, "invalid_request"));
    assert_eq!(trust.present(&assertion, &[]).await.status, 200, "the control");
    let off = World::trusting(vec![weather()], clients(), Vec::new()).await;
    let pairs = [own[0], own[1], ("client_id", "portal"), ("client_secret", SECRET)];
    let answer = off.post("/token", &pairs).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "unsupported_grant_type"));
}

#[tokio::test]
async fn metadata_says_that_assertions_are_taken_and_not_whose() {
    let trust = Trust::new().await;
    let on = trust.world.get("/.well-known/oauth-authorization-server").await;
    let document = on.json();
    assert!(document["grant_types_supported"].as_array().unwrap().contains(&json!(ASSERTION_GRANT)));
    let profiles = json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
    assert_eq!(document["authorization_grant_profiles_supported"], profiles);
    assert!(!on.body.contains("idp.example") && !on.body.contains("partner.example"));
    let off = World::new().await.get("/.well-known/oauth-authorization-server").await.json();
    assert!(off.get("authorization_grant_profiles_supported").is_none());
    assert!(!off["grant_types_supported"].as_array().unwrap().contains(&json!(ASSERTION_GRANT)));
}

#[tokio::test]
async fn while_the_keys_of_an_issuer_are_not_there_nothing_is_said_of_its_assertions() {
    let (idp, clock) = (SigningKey::generate().unwrap(), ManualClock::new(NOW));
    let world = World::trusting(vec![weather()], clients(), vec![trusted(IDP, &[], &clock)]).await;
    let assertion = idp.sign(TYPE, &claims("1")).unwrap();
    let own = [("grant_type", ASSERTION_GRANT), ("client_id", "portal"), ("client_secret", SECRET)];
    let all: Vec<_> = own.into_iter().chain([("assertion", assertion.as_str())]).collect();
    let answer = world.post("/token", &all).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"));
}

#[tokio::test]
async fn what_follows_from_an_assertion_ends_like_any_other_grant() {
    let trust = Trust::new().await;
    let answer = trust.present(&trust.assertion(&claims("1")), &[]).await.json();
    let token = trust.world.claims(&answer);
    let pairs =
        [("client_id", "portal"), ("client_secret", SECRET), ("token", answer["access_token"].as_str().unwrap())];
    assert_eq!(trust.world.post("/revoke", &pairs).await.status, 200);
    let ends = |key: String| {
        let store = Arc::clone(&trust.world.state.store);
        async move { store.revocations(0).await.unwrap().lines.iter().any(|line| line.key == key) }
    };
    assert!(ends(format!("grant:{}", token["grant_id"].as_str().unwrap())).await);
    let person = crate::store::Whose::User { tid: IDP.to_owned(), oid: "alice".to_owned() };
    assert!(!ends("user:https://idp.example#alice".to_owned()).await, "the control");
    trust.world.state.store.revoke(&person, NOW).await.unwrap();
    assert!(ends("user:https://idp.example#alice".to_owned()).await);
}
