//! How clients show that they are themselves at the token endpoint: by keys, and in no other way than their own.

use std::collections::BTreeSet;

use super::*;
use crate::entra::StepUp;
use crate::jose::client_assertion::ClientKeys;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A world with two clients of the configuration that act on their own behalf, and the keys of both.
async fn world() -> (World, SigningKey, SigningKey) {
    before(weather()).await
}

/// As [`world`], before this resource.
async fn before(resource: Resource) -> (World, SigningKey, SigningKey) {
    let (one, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let client = |id: &str, key: &SigningKey| Configured {
        id: id.to_owned(),
        name: None,
        tenant: identity::TENANT.to_owned(),
        redirect_uris: Vec::new(),
        credential: Credential::Keys(ClientKeys::parse(&json!({ "keys": [key.public_jwk()] })).unwrap()),
        grants: Grants { own: true, ..Grants::default() },
        roles: vec!["Report.Run".to_owned()],
    };
    let clients = Clients::any().with_configured([client("one", &one), client("other", &other)]);
    (World::with_all(ISSUER, vec![resource], None, clients).await, one, other)
}

fn assertion(key: &SigningKey, client: &str, jti: &str, audience: &str, lifetime: u64) -> String {
    let exp = NOW.as_secs() + lifetime;
    key.sign("JWT", &json!({ "iss": client, "sub": client, "aud": audience, "exp": exp, "jti": jti })).unwrap()
}

async fn ask(world: &World, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let own = [("grant_type", "client_credentials"), ("client_assertion", assertion)];
    let kind = [("client_assertion_type", JWT_BEARER)];
    let all: Vec<_> = own.into_iter().chain(kind).chain(more.iter().copied()).collect();
    world.post("/token", &all).await
}

#[tokio::test]
async fn a_client_with_keys_gets_a_token_of_its_own_for_each_assertion_once() {
    let (world, one, _) = world().await;
    let (token_endpoint, with_slash) = (format!("{ISSUER}/token"), format!("{ISSUER}/"));
    for (jti, audience) in [("1", ISSUER), ("2", &token_endpoint), ("3", &with_slash)] {
        let assertion = assertion(&one, "one", jti, audience, 300);
        let answer = ask(&world, &assertion, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let claims = world.claims(&answer.json());
        assert_eq!((&claims["idtyp"], &claims["client_id"]), (&json!("app"), &json!("one")));
        assert_eq!((&claims["roles"], &claims["aud"]), (&json!(["Report.Run"]), &json!(RESOURCE)));
        assert!(answer.json().get("refresh_token").is_none());
        let again = ask(&world, &assertion, &[]).await;
        assert_eq!((again.status, again.error().as_str()), (401, "invalid_client"), "it is spent");
    }
}

#[tokio::test]
async fn an_assertion_that_is_not_the_clients_own_for_this_server_gets_nothing() {
    let (world, one, other) = world().await;
    for (what, assertion) in [
        ("the key of another client", assertion(&other, "one", "a", ISSUER, 300)),
        ("the name of another client", assertion(&one, "other", "b", ISSUER, 300)),
        ("nobody's name", assertion(&one, "nobody", "c", ISSUER, 300)),
        ("two slashes", assertion(&one, "one", "h", &format!("{ISSUER}//"), 300)),
        ("a slash too many", assertion(&one, "one", "d", &format!("{ISSUER}//token"), 300)),
        ("another server", assertion(&one, "one", "e", "https://other.example", 300)),
        ("too long", assertion(&one, "one", "f", ISSUER, 3600)),
        ("over", assertion(&one, "one", "g", ISSUER, 0)),
        ("no JWT", "x.y.z".to_owned()),
    ] {
        let answer = ask(&world, &assertion, &[]).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{what}");
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    }
    // What was refused spent nothing of the client's own.
    assert_eq!(ask(&world, &assertion(&one, "one", "a", ISSUER, 300), &[]).await.status, 200);
}

#[tokio::test]
async fn a_client_authenticates_in_its_own_way_and_in_no_other() {
    let (world, one, _) = world().await;
    let fresh = |jti: &str| assertion(&one, "one", jti, ISSUER, 300);
    assert_eq!(ask(&world, &fresh("control"), &[("client_id", "one")]).await.status, 200);
    let with_secret = ask(&world, &fresh("a"), &[("client_secret", "x")]).await;
    assert_eq!((with_secret.status, with_secret.error().as_str()), (400, "invalid_request"));
    let of_another = ask(&world, &fresh("b"), &[("client_id", "other")]).await;
    assert_eq!((of_another.status, of_another.error().as_str()), (401, "invalid_client"));
    let own = ("grant_type", "client_credentials");
    for pairs in [
        vec![own, ("client_id", "one")],
        vec![own, ("client_id", "one"), ("client_secret", "x")],
        vec![own, ("client_id", "one"), ("client_assertion_type", JWT_BEARER)],
        vec![own, ("client_id", "one"), ("client_assertion", &fresh("c"))],
        vec![own, ("client_assertion", &fresh("d")), ("client_assertion_type", "urn:other")],
    ] {
        let answer = world.post("/token", &pairs).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{pairs:?}");
    }
    let registered = world.register(REDIRECT).await;
    let answer = world.post("/token", &[own, ("client_id", &registered)]).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "unauthorized_client"), "who registers acts for people");
}

#[tokio::test]
async fn a_program_gets_no_scope_that_wants_a_sign_in_and_no_token_without_one() {
    let mut resource = weather();
    for scope in resource.scopes.iter_mut().filter(|scope| scope.name == "delete") {
        scope.step_up = Some(StepUp { acrs: BTreeSet::from(["c1".to_owned()]), max_age: None });
    }
    let (world, one, _) = before(resource).await;
    for (jti, scope, expected) in [
        ("a", Some("delete"), Err("invalid_scope")),
        ("b", Some("read delete"), Ok("read")),
        ("c", Some("read"), Ok("read")),
        ("d", None, Ok("read write")),
    ] {
        let pairs: Vec<_> = scope.into_iter().map(|scope| ("scope", scope)).collect();
        let answer = ask(&world, &assertion(&one, "one", jti, ISSUER, 300), &pairs).await;
        let body = answer.json();
        let told = body["scope"].as_str().ok_or_else(|| body["error"].as_str().unwrap_or_default());
        assert_eq!((answer.status, told), (if expected.is_ok() { 200 } else { 400 }, expected), "{scope:?}");
    }
}
