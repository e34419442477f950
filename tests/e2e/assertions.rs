//! Identity assertions (ID-JAG) as clients, operators and backends see them: an issuer says who a person is, and nobody sees a page.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::process::{file, free_port, node, tool};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};
use tokio::process::Command;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The file of the identity provider's secret serves the clients too.
const SECRET: &str = "a-secret-for-a-laptop-only";

/// Two issuers and two clients, of which the second issuer has one.
const OAUTH: &str = "oauth:
  clients:
    - { id: portal, secret_file: secret, grant_types: ['urn:ietf:params:oauth:grant-type:jwt-bearer'] }
    - { id: partners, secret_file: secret, grant_types: ['urn:ietf:params:oauth:grant-type:jwt-bearer'] }
  identity_assertions:
    - issuer: '{identity}/assertions/staff'
      claim: groups
      roles: { readers: [Task.Read], Task.Read: [Task.Read], keepers: [Task.All] }
    - issuer: '{identity}/assertions/partner'
      jwks_uri: '{identity}/assertions/partner/keys'
      claim: teams
      roles: { blue: [Task.Read] }
      clients: [partners]
";

async fn world(backend: &Backend) -> World {
    WorldBuilder::new(backend).own_tokens_only().more(OAUTH).backend_more("identity: { headers: true }").start().await
}

/// What an honest assertion says beside what its issuer always says.
fn honest(world: &World) -> Value {
    json!({ "sub": "alice", "aud": world.url(), "client_id": "portal", "resource": world.mcp(), "scope": "read write",
        "groups": ["readers"] })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

async fn present(world: &World, client: &str, assertion: &str) -> (u16, Value) {
    let pairs = [("grant_type", GRANT), ("assertion", assertion)];
    let request = world.http().post(format!("{}/token", world.url())).basic_auth(client, Some(SECRET)).form(&pairs);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status().as_u16(), response.json().await.unwrap())
}

/// The access token that follows from an assertion of this issuer.
async fn token(world: &World, issuer: &str, client: &str, claims: &Value) -> String {
    let assertion = world.identity.assertion(issuer, claims).unwrap();
    let (status, body) = present(world, client, &assertion).await;
    assert_eq!((status, body.get("refresh_token")), (200, None), "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

async fn status(world: &World, token: &str) -> u16 {
    world.post(token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).await.status().as_u16()
}

async fn until_status(world: &World, token: &str, wanted: u16) {
    for _ in 0..400 {
        if status(world, token).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the token does not get to {wanted}");
}

#[tokio::test]
async fn a_person_comes_by_an_assertion_and_gets_what_the_mapped_roles_open() {
    let backend = Backend::plain().await;
    let world = world(&backend).await;
    let issuer = world.identity.assertion_issuer("staff");
    let reader = token(&world, "staff", "portal", &honest(&world)).await;
    let keeper = with(with(honest(&world), "groups", json!("keepers")), "sub", json!("kim"));
    let keeper = token(&world, "staff", "portal", &keeper).await;
    let stranger = token(&world, "staff", "portal", &with(honest(&world), "groups", json!(["others"]))).await;
    let (listed, all) =
        (world.ask(&reader, "tools/list", json!({})).await, world.ask(&keeper, "tools/list", json!({})).await);
    assert!(names(&listed).contains(&"get_forecast") && !names(&listed).contains(&"delete_station"), "{listed}");
    assert!(names(&all).contains(&"delete_station"), "{all}");
    assert!(names(&world.ask(&stranger, "tools/list", json!({})).await).is_empty(), "no role, nothing");
    let called = world.ask(&reader, "tools/call", json!({ "name": "get_forecast", "arguments": {} })).await;
    assert!(called["result"].is_object(), "{called}");
    let before = backend.requests().len();
    let refused = world.ask(&reader, "tools/call", json!({ "name": "delete_station", "arguments": {} })).await;
    assert_eq!((&refused["error"]["code"], backend.requests().len()), (&json!(-32602), before), "{refused}");
    // The scopes are a ceiling: all roles of a keeper do not delete what nobody asked for.
    let beyond = world.ask(&keeper, "tools/call", json!({ "name": "delete_station", "arguments": {} })).await;
    assert!(beyond["result"].is_null(), "{beyond}");
    let seen = backend.requests().into_iter().find(|request| request.json()["method"] == "tools/call").unwrap();
    assert_eq!(seen.header("x-portcullis-tenant").as_deref(), Some(issuer.as_str()));
    assert_eq!(
        (seen.header("x-portcullis-subject").as_deref(), seen.header("x-portcullis-roles").as_deref()),
        (Some("alice"), Some("Task.Read"))
    );
    let audited = world.audit(8).await;
    let issued = audited.iter().find(|line| line["event"] == "tokens_issued").unwrap();
    assert_eq!((&issued["reason"], &issued["tenant"]), (&json!("identity_assertion"), &json!(issuer)));
    assert_eq!((&issued["subject"], &issued["client"]), (&json!("alice"), &json!("portal")));
    let actor = &audited.iter().find(|line| line["type"] == "mcp.decision").unwrap()["actor"];
    assert_eq!(
        (&actor["kind"], &actor["tenant"], &actor["subject"]),
        (&json!("user"), &json!(issuer), &json!("alice"))
    );
}

#[tokio::test]
async fn an_assertion_is_good_once_also_after_a_restart() {
    let backend = Backend::plain().await;
    let mut world = world(&backend).await;
    let assertion = world.identity.assertion("staff", &honest(&world)).unwrap();
    let (status, first) = present(&world, "portal", &assertion).await;
    assert_eq!(status, 200, "{first}");
    for _ in 0..2 {
        let (status, body) = present(&world, "portal", &assertion).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")), "{body}");
        world.restart().await;
    }
    let fresh = world.identity.assertion("staff", &honest(&world)).unwrap();
    assert_eq!(present(&world, "portal", &fresh).await.0, 200, "the control");
}

/// What is no assertion for this gateway from the client `portal`: the error, and what the operator is told.
fn refused(world: &World) -> Vec<(&'static str, String, &'static str, &'static str)> {
    let fine = honest(world);
    let of = |claims: Value| world.identity.assertion("staff", &claims).unwrap();
    let of_type = |typ: &str| world.identity.assertion_of_type("staff", typ, &fine).unwrap();
    let (_, rest) = of(fine.clone()).split_once('.').map(|(head, rest)| (head.to_owned(), rest.to_owned())).unwrap();
    let unsigned = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"oauth-id-jag+jwt","kid":"x"}"#));
    let now = claims(&of(fine.clone()))["iat"].as_u64().unwrap();
    vec![
        (
            "another server",
            of(with(fine.clone(), "aud", json!("https://other.example"))),
            "invalid_grant",
            "for another resource",
        ),
        ("a type", of_type("JWT"), "invalid_grant", "of another type"),
        (
            "another client",
            of(with(fine.clone(), "client_id", json!("partners"))),
            "invalid_grant",
            "for another client",
        ),
        (
            "another resource",
            of(with(fine.clone(), "resource", json!("https://other.example/mcp"))),
            "invalid_target",
            "for no resource of this gateway",
        ),
        ("no algorithm", unsigned, "invalid_grant", "does not verify"),
        (
            "over",
            of(with(with(fine.clone(), "iat", json!(now - 600)), "exp", json!(now - 1))),
            "invalid_grant",
            "has expired",
        ),
        ("for a day", of(with(fine.clone(), "exp", json!(now + 86_400))), "invalid_grant", "lives longer"),
        (
            "another issuer",
            world.identity.assertion("strangers", &fine).unwrap(),
            "invalid_grant",
            "not one of `oauth.identity_assertions`",
        ),
        (
            "an issuer for others",
            world.identity.assertion("partner", &fine).unwrap(),
            "invalid_grant",
            "not taken from this client",
        ),
        ("nothing to grant", of(with(fine.clone(), "scope", json!("root"))), "invalid_scope", "none of the scopes"),
        ("an Entra token", world.identity.mint("rita", &Value::Null), "invalid_grant", "not one of"),
    ]
}

#[tokio::test]
async fn an_assertion_that_is_not_for_this_is_refused_and_only_the_operator_learns_why() {
    let backend = Backend::plain().await;
    let world = world(&backend).await;
    for (number, (what, assertion, error, why)) in refused(&world).into_iter().enumerate() {
        let (status, body) = present(&world, "portal", &assertion).await;
        assert_eq!((status, &body["error"]), (400, &json!(error)), "{what}: {body}");
        assert!(!body.to_string().contains(why), "{what}: {body}");
        assert!(world.gateway.said().contains(why), "{what}: the log does not say `{why}`");
        let audited = world.audit(number + 1).await;
        let last = &audited[number];
        assert_eq!((&last["event"], &last["client"]), (&json!("sign_in_failed"), &json!("portal")), "{what}: {last}");
        assert!(last["reason"].as_str().unwrap().contains(why), "{what}: {last}");
    }
    let fine = world.identity.assertion("staff", &honest(&world)).unwrap();
    assert_eq!(present(&world, "portal", &fine).await.0, 200, "the control");
}

#[tokio::test]
async fn an_operator_ends_the_sessions_of_one_issuers_people_and_of_nobody_else() {
    let backend = Backend::plain().await;
    let world = world(&backend).await;
    let (staff, partner) = (world.identity.assertion_issuer("staff"), world.identity.assertion_issuer("partner"));
    let theirs = json!({ "client_id": "partners", "teams": ["blue"], "groups": null });
    let theirs =
        theirs.as_object().unwrap().iter().fold(honest(&world), |all, (name, value)| with(all, name, value.clone()));
    let one = token(&world, "staff", "portal", &honest(&world)).await;
    let other = token(&world, "partner", "partners", &theirs).await;
    let entras = world.sign_in("rita").await.access;
    for token in [&one, &other, &entras] {
        assert_eq!(status(&world, token).await, 200, "the control");
    }
    assert_ne!(claims(&one)["sub"], claims(&other)["sub"], "both are called alice");
    let revoke = async |kind: &str, whose: &str| {
        let ended = world.command(&["sessions", "revoke", kind, whose]).await;
        assert!(ended.status.success(), "{ended:?}");
    };
    revoke("--user", &format!("{staff}#alice")).await;
    until_status(&world, &one, 401).await;
    assert_eq!((status(&world, &other).await, status(&world, &entras).await), (200, 200));
    revoke("--tenant", &partner).await;
    until_status(&world, &other, 401).await;
    assert_eq!(status(&world, &entras).await, 200);
    for (tenant, subject) in [(&staff, json!("alice")), (&partner, Value::Null)] {
        let is_it =
            |line: &Value| line["event"] == "grant_revoked" && line["tenant"] == **tenant && line["subject"] == subject;
        for tries in 0.. {
            if world.audit(1).await.iter().any(is_it) {
                break;
            }
            assert!(tries < 100, "{tenant} is not in the trail");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    for bad in [staff.as_str(), "https://idp.example#", "alice"] {
        assert_eq!(world.command(&["sessions", "revoke", "--user", bad]).await.status.code(), Some(2), "{bad}");
    }
}

#[tokio::test]
async fn a_tenant_of_the_policy_can_be_an_issuer() {
    let backend = Backend::plain().await;
    let policy = "
  tenants: { 11111111-2222-4333-8444-555555555555: {}, '{identity}/assertions/staff': { roles: [Task.Read] } }
  roles: { Task.Read: { opens: [read] }, Task.All: { opens: [read, delete] } }
  tools: { weather: { read: ['get_*'], delete: ['delete_*'] } }
";
    let world = WorldBuilder::new(&backend).policy(policy).more(OAUTH).start().await;
    let keeper = token(
        &world,
        "staff",
        "portal",
        &with(with(honest(&world), "groups", json!(["keepers"])), "scope", json!("read delete")),
    )
    .await;
    assert_eq!(names(&world.ask(&keeper, "tools/list", json!({})).await), ["get_forecast"], "the ceiling");
    let theirs = with(with(honest(&world), "client_id", json!("partners")), "teams", json!("blue"));
    let unlisted = token(&world, "partner", "partners", &theirs).await;
    let nothing = world.ask(&unlisted, "tools/list", json!({})).await;
    assert_eq!(nothing["error"]["code"], -32602, "{nothing}");
}

#[tokio::test]
async fn what_is_made_of_an_assertion_is_reloaded_and_an_issuer_wants_a_restart() {
    let backend = Backend::plain().await;
    let world = world(&backend).await;
    world.configure(|text| text.replace("readers: [Task.Read]", "readers: [Task.All]"));
    for tries in 0.. {
        let now = claims(&token(&world, "staff", "portal", &honest(&world)).await);
        if now["roles"] == json!(["Task.All"]) {
            break;
        }
        assert!(tries < 200, "the roles stay {}", now["roles"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.configure(|text| text.replace("assertions/partner'", "assertions/others'"));
    for tries in 0.. {
        if world.gateway.said().contains("`oauth.identity_assertions (issuer, jwks_uri)` cannot change") {
            break;
        }
        assert!(tries < 200, "nothing is said");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_issuer_that_is_out_of_reach_holds_up_nobody_else() {
    let backend = Backend::plain().await;
    let keys = format!("jwks_uri: 'http://127.0.0.1:{}/keys'", free_port());
    let oauth = OAUTH.replace("jwks_uri: '{identity}/assertions/partner/keys'", &keys);
    let world = WorldBuilder::new(&backend).own_tokens_only().more(&oauth).start().await;
    let theirs = with(with(honest(&world), "client_id", json!("partners")), "teams", json!("blue"));
    let (status, body) = present(&world, "partners", &world.identity.assertion("partner", &theirs).unwrap()).await;
    assert_eq!((status, &body["error"]), (503, &json!("temporarily_unavailable")), "{body}");
    let ready = world.probe("/readyz").await;
    assert!(ready.contains(&world.identity.assertion_issuer("partner")), "{ready}");
    assert!(!ready.contains(&world.identity.assertion_issuer("staff")), "{ready}");
    let _ = token(&world, "staff", "portal", &honest(&world)).await;
    // A key that is new is found when somebody brings it.
    assert!(world.probe("/metrics").await.contains("portcullis_jwks_age_seconds{issuer=\"assertions-1\"}"));
}

#[tokio::test]
async fn the_official_sdk_comes_by_an_assertion_of_its_own_identity_provider() {
    let backend = Backend::plain().await;
    let world = world(&backend).await;
    let id_token = world.identity.mint("rita", &json!({ "scp": null, "azp": null }));
    assert!(tool("interop/node_modules").exists());
    let mut command = Command::new(node());
    let issuer = world.identity.assertion_issuer("staff");
    command.arg(file("interop/assertion.mjs")).args([&world.mcp(), &issuer, &id_token, "portal", SECRET]);
    let output = command.args(["get_forecast", "delete_station"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((&found["refresh"], &found["asked"]), (&Value::Null, &json!(1)), "{found}");
    let tools = found["tools"].as_array().unwrap();
    assert!(tools.contains(&json!("get_forecast")) && !tools.contains(&json!("delete_station")), "{found}");
    assert!(
        found["called"].to_string().contains("content") && found["denied"].to_string().contains("-32602"),
        "{found}"
    );
}
