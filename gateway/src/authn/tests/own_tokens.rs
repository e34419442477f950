//! The gateway's own access tokens, and those that are almost.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

fn sign(world: &World, claims: &Value) -> String {
    world.key.sign("at+jwt", claims).unwrap()
}

#[tokio::test]
async fn a_token_of_ours_is_believed_where_it_belongs_and_only_there() {
    let world = World::new();
    let good = sign(&world, &own_claims());
    let identity = world.own(&good).await.unwrap();
    let subject = identity.subject();
    assert_eq!(
        (subject.kind(), subject.tenant(), subject.object(), subject.client()),
        (Kind::User, TENANT, OID, Some("c1"))
    );
    assert_eq!(subject.roles(), ["Task.Read"]);
    assert_eq!((identity.token_id(), identity.expires_at()), (Some("j1"), Timestamp::from_secs(NOW + 900)));
    let elsewhere = [
        "https://mcp.example.com/other/mcp",
        "https://mcp.example.com/mcp/",
        "https://mcp.example.com",
        "HTTPS://mcp.example.com/mcp",
    ];
    for resource in elsewhere {
        // The token is remembered by now; where it is sent is asked each time.
        assert_eq!(world.send(&good, resource, true).await.unwrap_err(), ClaimsError::Audience.into(), "{resource}");
        let token = sign(&world, &set(own_claims(), "aud", json!(resource)));
        assert_eq!(world.own(&token).await.unwrap_err(), ClaimsError::Audience.into(), "{resource}");
        assert_eq!(world.own(&token).await.unwrap_err(), ClaimsError::Audience.into(), "{resource}, remembered");
    }
}

#[tokio::test]
async fn what_was_minted_is_what_is_believed() {
    let world = World::new();
    let claims: AccessTokenClaims = serde_json::from_value(own_claims()).unwrap();
    let full = AccessTokenClaims {
        idtyp: IdType::App,
        auth_time: Some(NOW - 9),
        acrs: vec!["c1".to_owned()],
        guest: None,
        claims: std::collections::BTreeMap::new(),
        ..claims.clone()
    };
    assert_eq!(world.own(&claims.mint(&world.key).unwrap()).await.unwrap().subject().kind(), Kind::User);
    assert_eq!(world.own(&full.mint(&world.key).unwrap()).await.unwrap().subject().kind(), Kind::App);
}

/// Values that no claim of this name may have.
fn wrong() -> Value {
    json!({
        "iss": ["https://evil.example", format!("{ISSUER}/"), [ISSUER], null],
        "aud": [[RESOURCE], null, "", 7],
        "exp": [NOW, NOW - 1, (NOW + 900).to_string(), -1, 1e300, null, NOW + 3601, u64::MAX],
        "iat": [NOW + 61, "0", null, 0],
        "roles": ["Task.Read", [["Task.Read"]], [1], null, {}, vec!["r"; 201], ["r".repeat(257)]],
        "groups": ["g", vec!["g"; 201]],
        "tid": [null, "", "common", [TENANT], fixture::STRANGER],
        "oid": [null, "", "x", [OID], fixture::STRANGER],
        "sub": ["", OID, null, format!("{OID}:{TENANT}")],
        "client_id": ["", "a".repeat(2049), "a\nb", ["c1"]],
        "jti": ["", "j".repeat(257), "a\r\nb", 7],
        "scope": [["read"], null, 7],
        "grant_id": ["", "g", [GRANT], null, 7],
        "idtyp": ["device", "User", null, 7],
        "extra": [1],
        "nonce": ["n"],
    })
}

#[tokio::test]
async fn a_token_of_ours_with_one_thing_wrong_is_refused() {
    let world = World::new();
    let mut hostile = Vec::new();
    for (name, value) in one_by_one(&wrong()) {
        hostile.push((format!("{name} = {value:.60}"), sign(&world, &set(own_claims(), &name, value))));
    }
    for name in own_claims().as_object().unwrap().keys() {
        hostile.push((format!("without {name}"), sign(&world, &without(own_claims(), name))));
    }
    for typ in ["JWT", "rt+jwt", "code+jwt", "consent+jwt", "dpop+jwt", "", "at+jwt ", "application/at+jwt"] {
        hostile.push((format!("typ {typ}"), world.key.sign(typ, &own_claims()).unwrap()));
    }
    world.refuses(&sign(&world, &own_claims()), hostile).await;
}

#[tokio::test]
async fn only_our_keys_sign_for_us() {
    let world = World::new();
    let good = sign(&world, &own_claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let own = own_claims().to_string();
    let other = SigningKey::generate().unwrap();
    let forged = other.sign("at+jwt", &own_claims()).unwrap();
    let (_, forged_signature) = forged.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let hostile = vec![
        ("another key", forged.clone()),
        ("another key under our name", format!("{message}.{forged_signature}")),
        ("zero r and s", format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("a DER signature", format!("{message}.{}", URL_SAFE_NO_PAD.encode(der(&raw)))),
        ("half a signature", format!("{message}.{}", URL_SAFE_NO_PAD.encode(&raw[..32]))),
        ("none", format!("{}.", fixture::message(&header.replace("ES256", "none"), &own))),
        ("RS256", Rsa::provider().sign(&header.replace("ES256", "RS256"), &own)),
        (
            "an embedded key",
            format!("{}.{signature}", fixture::message(&header.replacen('{', r#"{"jwk":{},"#, 1), &own)),
        ),
    ];
    let hostile = hostile.into_iter().map(|(what, token)| (what.to_owned(), token)).collect();
    world.refuses(&good, hostile).await;
}

/// The ASN.1 form of `r` and `s`, each taken as positive.
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| [&[2, 33, 0][..], half].concat();
    let (r, s) = raw.split_at(32);
    [&[48, 70][..], &integer(r), &integer(s)].concat()
}

#[tokio::test]
async fn a_key_that_is_phased_out_still_verifies() {
    let (clock, old, new) = (fixture::clock(), SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let with = |keys: &[&SigningKey]| {
        let settings = Settings::new(access_token::Verifier::new(ISSUER, keys.iter().copied()));
        let authenticator = Authenticator::new(settings, Arc::new(clock.clone()));
        World { authenticator, provider: Provider::new(), key: old.clone(), clock: clock.clone() }
    };
    let token = old.sign("at+jwt", &own_claims()).unwrap();
    assert!(with(&[&new, &old]).own(&token).await.is_ok());
    assert_eq!(with(&[&new]).reason(&token).await, Reason::Token(VerifyError::UnknownKey));
}

#[tokio::test]
async fn a_revoked_token_is_refused_though_it_was_remembered() {
    let world = World::new();
    let (one, other) = (own_claims(), set(own_claims(), "grant_id", json!("3c8b1f5e-0000-4000-8000-00000000000b")));
    let (one, other) = (sign(&world, &one), sign(&world, &other));
    let identity = world.own(&one).await.expect("the control");
    assert!(world.own(&other).await.is_ok());
    let forever = Timestamp::from_secs(NOW + 9_000);
    let end = Ended { key: format!("grant:{GRANT}"), issued_before: forever, kept_until: forever };
    world.authenticator.revocations.read(&[end], Duration::ZERO);
    world.authenticator.until_over(&identity).await;
    assert_eq!(world.own(&one).await.unwrap_err(), Reason::Revoked.into());
    assert!(world.own(&other).await.is_ok(), "another grant goes on");
    world.authenticator.purge();
    assert_eq!(world.own(&one).await.unwrap_err(), Reason::Revoked.into());
}

#[tokio::test]
async fn an_end_is_of_what_a_clock_ahead_has_issued_where_no_grant_is_stored() {
    let ends_at = |key: &str| {
        let world = World::new();
        let before = Timestamp::from_secs(NOW + 1);
        let end = Ended { key: key.to_owned(), issued_before: before, kept_until: Timestamp::from_secs(NOW + 9_000) };
        world.authenticator.revocations.read(&[end], Duration::ZERO);
        world
    };
    let program = |ahead: u64| set(set(own_claims(), "idtyp", json!("app")), "iat", json!(NOW + ahead));
    for (what, claims, is_over) in [
        ("a program's, of a clock that is right", program(0), true),
        ("a program's, of a clock ahead", program(59), true),
        ("a person's, whose grant ends by its name", set(own_claims(), "iat", json!(NOW + 1)), false),
    ] {
        let world = ends_at("client:c1");
        assert_eq!(world.own(&sign(&world, &claims)).await.err() == Some(Reason::Revoked.into()), is_over, "{what}");
        let world = ends_at("client:another");
        assert!(world.own(&sign(&world, &claims)).await.is_ok(), "the control: {what}");
    }
    // A minute later it gets new ones.
    let world = ends_at("client:c1");
    world.clock.advance(Duration::from_secs(61));
    world.authenticator.revocations.read(&[], Duration::ZERO);
    assert!(world.own(&sign(&world, &program(61))).await.is_ok());
}
