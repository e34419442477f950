//! A corpus of hostile tokens: each is a good token with one thing wrong, and the good one is the control.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::jose::key_set::{FetchError, KeySource, Keys};

const ISSUER: &str = "https://mcp.example.com";
const RESOURCE: &str = "https://mcp.example.com/mcp";
const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const CLIENT: &str = "aaaaaaaa-0000-4000-8000-00000000c1d1";
const OID: &str = "0a11ce00-0000-4000-8000-000000000001";
const NOW: u64 = 1_800_000_000;
const RSA: &[u8] = include_bytes!("testdata/rsa.pem");
const OTHER: &[u8] = include_bytes!("testdata/other.pem");

#[derive(Debug)]
struct Fixed;

#[async_trait]
impl KeySource for Fixed {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(
            &EncodingKey::from_rsa_pem(RSA).unwrap(),
            jsonwebtoken::Algorithm::RS256,
        )
        .unwrap();
        Ok(Keys::from([("entra".to_owned(), DecodingKey::from_jwk(&jwk).unwrap())]))
    }
}

struct World {
    authenticator: Authenticator,
    key: SigningKey,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_secs(NOW));
        let key = SigningKey::generate().unwrap();
        let entra = EntraExpectations {
            issuer: format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
            tenant_id: TENANT.to_owned(),
            client_id: CLIENT.to_owned(),
            scopes: vec!["access_as_user".to_owned()],
            clock_skew: Duration::from_secs(60),
        };
        let keys = Arc::new(KeySet::new(Box::new(Fixed), Arc::new(clock.clone())));
        let authenticator = Authenticator::new(ISSUER.to_owned(), key.clone(), entra, keys, Arc::new(clock.clone()));
        Self { authenticator, key, clock }
    }

    async fn own(&self, token: &str) -> Result<Arc<VerifiedIdentity>, AuthnError> {
        self.present(token, false).await
    }

    async fn entra(&self, token: &str) -> Result<Arc<VerifiedIdentity>, AuthnError> {
        self.present(token, true).await
    }

    async fn present(&self, token: &str, accept_entra_tokens: bool) -> Result<Arc<VerifiedIdentity>, AuthnError> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        let audience = Audience { resource: RESOURCE.to_owned(), accept_entra_tokens };
        self.authenticator.authenticate(&headers, &audience).await
    }
}

fn own_claims() -> Value {
    json!({ "iss": ISSUER, "aud": RESOURCE, "sub": format!("{TENANT}:{OID}"), "client_id": "c1", "jti": "j1", "iat": NOW,
        "exp": NOW + 900, "scope": "read write", "tid": TENANT, "oid": OID, "roles": ["Task.Read"] })
}

fn entra_claims() -> Value {
    json!({ "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "aud": CLIENT, "iat": NOW, "nbf": NOW,
        "exp": NOW + 3600, "ver": "2.0", "tid": TENANT, "oid": OID, "sub": "pairwise", "azp": "client", "azpacr": "1",
        "scp": "access_as_user", "roles": ["Task.Read"], "uti": "u", "aio": "x" })
}

fn set(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Signs any header and any payload with the RSA key.
fn rs256(header: &str, payload: &str, pem: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_rsa_pem(pem).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS256).unwrap();
    format!("{message}.{signature}")
}

const HEADER: &str = r#"{"typ":"JWT","alg":"RS256","kid":"entra"}"#;

fn entra_token(claims: &Value) -> String {
    rs256(HEADER, &claims.to_string(), RSA)
}

#[tokio::test]
async fn a_token_of_ours_is_believed_where_it_belongs_and_only_there() {
    let world = World::new();
    let token = world.key.sign("at+jwt", &own_claims()).unwrap();
    let identity = world.own(&token).await.unwrap();
    assert_eq!(identity.subject().roles(), ["Task.Read"]);
    assert_eq!((identity.subject().tenant(), identity.subject().object()), (TENANT, OID));
    assert_eq!(identity.subject().client(), Some("c1"));
    for aud in ["https://mcp.example.com/other/mcp", "https://mcp.example.com/mcp/", "https://mcp.example.com", "HTTPS://mcp.example.com/mcp"] {
        let token = world.key.sign("at+jwt", &set(own_claims(), "aud", json!(aud))).unwrap();
        assert_eq!(world.own(&token).await.unwrap_err(), ClaimsError::Audience.into(), "{aud}");
        assert_eq!(world.own(&token).await.unwrap_err(), ClaimsError::Audience.into(), "{aud} from the cache");
    }
}

#[tokio::test]
async fn a_token_of_ours_with_one_thing_wrong_is_refused() {
    let world = World::new();
    let sign = |typ: &str, claims: Value| world.key.sign(typ, &claims).unwrap();
    assert!(world.own(&sign("at+jwt", own_claims())).await.is_ok());
    let mut bad = vec![
        sign("JWT", own_claims()),
        sign("rt+jwt", own_claims()),
        sign("at+jwt", set(own_claims(), "iss", json!("https://evil.example"))),
        sign("at+jwt", set(own_claims(), "aud", json!([RESOURCE]))),
        sign("at+jwt", set(own_claims(), "exp", json!(NOW))),
        sign("at+jwt", set(own_claims(), "exp", json!((NOW + 900).to_string()))),
        sign("at+jwt", set(own_claims(), "exp", json!(-1))),
        sign("at+jwt", set(own_claims(), "roles", json!("Task.Read"))),
        sign("at+jwt", set(own_claims(), "roles", json!([["Task.Read"]]))),
        sign("at+jwt", set(own_claims(), "extra", json!(1))),
        sign("at+jwt", set(own_claims(), "tid", json!(null))),
        sign("at+jwt", set(own_claims(), "oid", json!(""))),
        SigningKey::generate().unwrap().sign("at+jwt", &own_claims()).unwrap(),
    ];
    for claim in own_claims().as_object().unwrap().keys() {
        bad.push(sign("at+jwt", without(own_claims(), claim)));
    }
    for token in bad {
        assert!(world.own(&token).await.is_err(), "{token}");
    }
}

#[tokio::test]
async fn a_token_is_not_believed_past_its_end_even_from_the_cache() {
    let world = World::new();
    let token = world.key.sign("at+jwt", &own_claims()).unwrap();
    assert!(world.own(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(899));
    assert!(world.own(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.own(&token).await.unwrap_err(), ClaimsError::Expired.into());
}

#[tokio::test]
async fn an_entra_token_is_believed_only_where_the_backend_opts_in() {
    let world = World::new();
    let token = entra_token(&entra_claims());
    assert_eq!(world.entra(&token).await.unwrap().subject().kind(), Kind::User);
    assert!(world.own(&token).await.is_err());
    let app = without(set(entra_claims(), "idtyp", json!("app")), "scp");
    assert_eq!(world.entra(&entra_token(&app)).await.unwrap().subject().kind(), Kind::App);
}

#[tokio::test]
async fn an_entra_token_with_one_claim_wrong_is_refused() {
    let world = World::new();
    assert!(world.entra(&entra_token(&entra_claims())).await.is_ok());
    let wrong: Vec<(&str, Vec<Value>)> = vec![
        ("aud", vec![json!("00000003-0000-0000-c000-000000000000"), json!("https://graph.microsoft.com"), json!(format!("api://{CLIENT}")), json!(CLIENT.to_uppercase()), json!(""), json!(null), json!(7), json!([CLIENT]), json!([CLIENT, "other"])]),
        ("iss", vec![json!(format!("https://sts.windows.net/{TENANT}/")), json!("https://login.microsoftonline.com/common/v2.0"), json!(format!("https://login.microsoftonline.com/{TENANT}/v2.0/")), json!(["x"]), json!("https://login.microsoftonline.com/{tenantid}/v2.0")]),
        ("tid", vec![json!("99999999-8888-4777-8666-555555555555"), json!("9188040d-6c67-4c5b-b112-36a304b66dad"), json!(null), json!([TENANT]), json!("common"), json!(TENANT.replace('-', ""))]),
        ("oid", vec![json!(null), json!([OID]), json!(""), json!("x\r\ny"), json!("a".repeat(1000))]),
        ("exp", vec![json!(NOW - 61), json!(0), json!(-1), json!("x"), json!(true), json!([NOW + 60]), json!(1e300)]),
        ("nbf", vec![json!(NOW + 61), json!("x"), json!([0]), json!({})]),
        ("iat", vec![json!(NOW + 3600), json!("x")]),
        ("ver", vec![json!("1.0"), json!("3.0"), json!(2)]),
        ("scp", vec![json!("other.scope"), json!(""), json!(["access_as_user"]), json!("access_as_user_not")]),
        ("idtyp", vec![json!("app"), json!("other"), json!(7)]),
        ("nonce", vec![json!("n")]),
        ("sub", vec![json!(null), json!(["s"]), json!("a".repeat(1_000))]),
        ("TID", vec![json!("99999999-8888-4777-8666-555555555555")]),
        ("roles", vec![json!((0..201).map(|n| n.to_string()).collect::<Vec<_>>())]),
    ];
    for (name, values) in wrong {
        for value in values {
            let token = entra_token(&set(entra_claims(), name, value.clone()));
            assert!(world.entra(&token).await.is_err(), "{name} = {value}");
        }
    }
    for name in ["iss", "aud", "exp", "nbf", "iat", "ver", "tid", "oid", "sub", "azp", "scp"] {
        assert!(world.entra(&entra_token(&without(entra_claims(), name))).await.is_err(), "without {name}");
    }
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let world = World::new();
    for (name, value, want) in [("exp", NOW - 59, true), ("exp", NOW - 61, false), ("nbf", NOW + 59, true), ("nbf", NOW + 61, false)] {
        let token = entra_token(&set(entra_claims(), name, json!(value)));
        assert_eq!(world.entra(&token).await.is_ok(), want, "{name} {value}");
    }
    let fractional = entra_token(&set(entra_claims(), "exp", json!(1_800_000_100.5)));
    assert!(world.entra(&fractional).await.is_ok());
}

#[tokio::test]
async fn roles_that_are_not_a_list_of_texts_grant_nothing() {
    let world = World::new();
    for roles in [json!("Task.Read"), json!("Task.Read,Task.Write"), json!({"0": "Task.Read"}), json!([["Task.Read"]]), json!([1]), json!(["Task.Read", 1]), json!(null)] {
        let identity = world.entra(&entra_token(&set(entra_claims(), "roles", roles.clone()))).await.unwrap();
        assert!(identity.subject().roles().is_empty(), "{roles}");
    }
    let overage = set(entra_claims(), "_claim_names", json!({"groups": "src1"}));
    assert!(world.entra(&entra_token(&overage)).await.is_ok());
}

#[tokio::test]
async fn claims_that_are_there_twice_are_refused() {
    let world = World::new();
    let claims = entra_claims().to_string();
    assert!(world.entra(&rs256(HEADER, &claims, RSA)).await.is_ok());
    let open = claims.strip_prefix('{').unwrap();
    for twice in [r#""roles":["Admin"]"#, r#""r\u006fles":["Admin"]"#, r#""tid":"x""#, r#""iss":"x""#, r#""aud":"x""#, r#""exp":1"#] {
        assert!(world.entra(&rs256(HEADER, &format!("{{{twice},{open}"), RSA)).await.is_err(), "{twice}");
    }
    for payload in ["[]", "null", "\"x\"", &format!("{claims}x"), &format!("\u{feff}{claims}"), &"[".repeat(3000)] {
        assert!(world.entra(&rs256(HEADER, payload, RSA)).await.is_err());
    }
}

#[tokio::test]
async fn headers_that_choose_for_themselves_are_refused() {
    let world = World::new();
    let claims = entra_claims().to_string();
    assert!(world.entra(&rs256(HEADER, &claims, RSA)).await.is_ok());
    assert!(world.entra(&rs256(r#"{"alg":"RS256","kid":"entra"}"#, &claims, RSA)).await.is_ok());
    for header in [
        r#"{"typ":"JWT","alg":"RS256","kid":"unknown"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":""}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":7}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":["entra"]}"#,
        r#"{"typ":"JWT","alg":"RS256"}"#,
        r#"{"typ":"JWT","alg":"none","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"None","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"HS256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"RS512","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"PS256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"ES256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"rs256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":null,"kid":"entra"}"#,
        r#"{"typ":"JWT","alg":["RS256"],"kid":"entra"}"#,
        r#"{"typ":"JWT","kid":"entra"}"#,
        r#"{"typ":"at+jwt","alg":"RS256","kid":"entra"}"#,
        r#"{"typ":"dpop+jwt","alg":"RS256","kid":"entra"}"#,
        r#"{"typ":"logout+jwt","alg":"RS256","kid":"entra"}"#,
        r#"{"typ":"refresh+jwt","alg":"RS256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","crit":["exp"]}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","crit":[]}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","b64":false}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","jwk":{"kty":"RSA"}}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","jku":"https://evil.example"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","x5u":"https://evil.example"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","x5c":["x"]}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","zip":"DEF"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","cty":"JWT"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","nonce":"x"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"none","a\u006cg":"RS256","kid":"entra"}"#,
        r#"["RS256"]"#,
        "x",
    ] {
        assert!(world.entra(&rs256(header, &claims, RSA)).await.is_err(), "{header}");
    }
}

#[tokio::test]
async fn tokens_of_another_form_or_signature_are_refused() {
    let world = World::new();
    let good = entra_token(&entra_claims());
    assert!(world.entra(&good).await.is_ok());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let forged = rs256(HEADER, &entra_claims().to_string(), OTHER);
    for bad in [
        forged,
        String::from("."),
        ".".repeat(10_000),
        header.to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{signature}."),
        format!("{message}.{signature}.x"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{good}="),
        format!("{message}=.{signature}"),
        format!("{message}.{signature}AAAA"),
        format!("{message}.{}", &signature[..signature.len() - 4]),
        format!("{message}.{}", "A".repeat(signature.len())),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(set(entra_claims(), "roles", json!(["Admin"])).to_string())),
        "a".repeat(20_000),
    ] {
        assert!(world.entra(&bad).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn our_key_and_entras_are_good_for_their_own_issuer_only() {
    let world = World::new();
    let ours_as_entra = world.key.sign("JWT", &entra_claims()).unwrap();
    assert!(world.entra(&ours_as_entra).await.is_err());
    let entras_as_ours = rs256(r#"{"typ":"at+jwt","alg":"RS256","kid":"entra"}"#, &own_claims().to_string(), RSA);
    assert!(world.entra(&entras_as_ours).await.is_err());
    let kid = world.key.kid();
    let borrowed = rs256(&format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":"{kid}"}}"#), &own_claims().to_string(), RSA);
    assert!(world.own(&borrowed).await.is_err());
}
