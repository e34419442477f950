//! Entra's access tokens with one claim wrong, each rightly signed.

use super::*;
use crate::jose::fixture::{CLIENT, HEADER, PERSONAL, STRANGER, claims, issuer};

/// Values that no claim of this name may have: of origin and audience.
fn of_another_origin() -> Value {
    let home = issuer(TENANT);
    let host = "login.microsoftonline.com";
    json!({
        "aud": ["00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/",
            format!("api://{CLIENT}"), CLIENT.to_uppercase(), format!("{CLIENT}/"), format!("{CLIENT} "), format!("{CLIENT}0"),
            CLIENT.trim_end_matches('1'), RESOURCE, "", null, 7, { "0": CLIENT }, [], [CLIENT], [CLIENT, "other"], ["other"]],
        "iss": [format!("https://sts.windows.net/{TENANT}/"), issuer("common"), issuer(STRANGER), issuer("{tenantid}"),
            format!("{home}/"), home.replace("https", "http"), home.to_uppercase(), home.replace("login", "LOGIN"), [home],
            home.replace(host, "login.microsoftonline.com@evil.example"), home.replace("/v2.0", ""), format!(" {home}"),
            home.replace(host, "login.microsoftonline.com.evil.example"), "", null, 7],
        "tid": [STRANGER, PERSONAL, fixture::PARTNER, null, [TENANT], "common", "", TENANT.replace('-', ""), format!("{{{TENANT}}}"), 7],
        "TID": [STRANGER, TENANT],
        "t\u{131}d": [STRANGER],
        "ver": ["1.0", "3.0", "2", 2, 2.0, null, ""],
    })
}

/// Of person, time and kind.
fn of_another_kind() -> Value {
    json!({
        "oid": [null, [OID], "", "x\r\ny", "a".repeat(8000), OID.replace('-', ""), 7],
        "sub": [null, ["s"], "", "a\r\nb", "a".repeat(257), 7],
        "exp": [NOW - 61, 0, -1, "9999999999", true, [NOW + 60], {}, null, 1e300, u64::MAX, 1e12, -1.5],
        "nbf": [NOW + 61, "0", [0], {}, null, -1, 1e300],
        "iat": [NOW + 61, NOW + 360_000, "0", [0], null, -1],
        "azp": [null, ["client"], "", "a".repeat(257), "a\nb"],
        "scp": ["other.scope", "", ["access_as_user"], "access_as_user_not", null, "Access_As_User",
            format!("api://{CLIENT}/access_as_user"), "access_as_user,openid"],
        "idtyp": ["app", "device", "User", 7, null, ["user"]],
        "nonce": ["n", "", null, 7],
        "uti": [7, "a".repeat(257), "a\nb"],
        "roles": [vec!["r"; 201], vec!["r"; 1500], ["r".repeat(257)]],
        "groups": [vec!["g"; 201], ["g".repeat(257)]],
    })
}

#[tokio::test]
async fn a_token_with_one_claim_wrong_is_refused() {
    let mut hostile = Vec::new();
    for (name, value) in [of_another_origin(), of_another_kind()].iter().flat_map(one_by_one) {
        hostile.push((format!("{name} = {value:.80}"), token(&set(claims(), &name, value))));
    }
    for name in ["iss", "aud", "exp", "nbf", "iat", "ver", "tid", "oid", "sub", "azp", "scp"] {
        hostile.push((format!("without {name}"), token(&without(claims(), name))));
    }
    World::new().refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn claims_that_are_there_twice_are_refused() {
    let text = claims().to_string();
    let open = text.strip_prefix('{').unwrap();
    let twice = [
        r#""roles":["Admin"]"#,
        r#""r\u006fles":["Admin"]"#,
        r#""\u0072oles":[]"#,
        r#""tid":"x""#,
        r#""t\u0069d":"x""#,
        r#""iss":"x""#,
        r#""aud":"x""#,
        r#""exp":1"#,
        r#""sub":"x""#,
        r#""oid":"x""#,
        r#""scp":"x""#,
        r#""nested":{"a":1,"a":2}"#,
        r#""xms_x":[{"a":1,"\u0061":2}]"#,
    ];
    let mut hostile = Vec::new();
    for member in twice {
        hostile.push((member.to_owned(), Rsa::provider().sign(HEADER, &format!("{{{member},{open}"))));
        let close = text.strip_suffix('}').unwrap();
        hostile.push((format!("{member} at the end"), Rsa::provider().sign(HEADER, &format!("{close},{member}}}"))));
    }
    // The nested members are there once each in the second place too, which makes those two the same case.
    World::new().refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn a_payload_that_is_no_plain_object_is_refused() {
    let text = claims().to_string();
    let deep = |depth: usize| text.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(depth), "]".repeat(depth)), 1);
    let payloads = [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "\"x\"".to_owned(),
        format!("[{text}]"),
        format!("{text}x"),
        format!("{text}{text}"),
        format!("{text},"),
        format!("{text}\0"),
        format!("\u{feff}{text}"),
        format!(" {text}"),
        text.replace('}', ""),
        text.replace('"', "'"),
        text.replace("Task.Read", "\\ud800"),
        text.replace("1800003600", "1e400"),
        text.replace("1800003600", "0x7fffffff"),
        text.replace("1800003600", "NaN"),
        text.replace("1800003600", "01800003600"),
        "[".repeat(5000),
        "{\"a\":".repeat(2000),
        deep(100),
    ];
    let mut hostile: Vec<_> =
        payloads.iter().map(|payload| (format!("{payload:.60}"), Rsa::provider().sign(HEADER, payload))).collect();
    hostile.push(("bad UTF-8".to_owned(), not_utf8()));
    let world = World::new();
    world.refuses(&token(&claims()), hostile).await;
    assert!(world.entra(&Rsa::provider().sign(HEADER, &deep(5))).await.is_ok());
}

/// A payload with a byte that no text has, rightly signed.
fn not_utf8() -> String {
    use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    // The form is judged before the signature, so that an unsigned one will do; any key's signature is of a good form.
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = EcdsaKeyPair::generate(algorithm).unwrap();
    let mut payload = claims().to_string().into_bytes();
    payload.push(0xff);
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(HEADER),
        URL_SAFE_NO_PAD.encode(payload),
        URL_SAFE_NO_PAD.encode(key.public_key())
    )
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let world = World::new();
    for (name, value, want) in [
        ("exp", NOW - 59, true),
        ("exp", NOW - 60, false),
        ("exp", NOW - 61, false),
        ("nbf", NOW + 60, true),
        ("nbf", NOW + 61, false),
        ("iat", NOW + 60, true),
        ("iat", NOW + 61, false),
    ] {
        let token = token(&set(claims(), name, json!(value)));
        assert_eq!(world.entra(&token).await.is_ok(), want, "{name} {value}");
    }
}

#[tokio::test]
async fn honest_oddities_are_believed() {
    let world = World::new();
    for (name, value) in [
        ("exp", json!(1_800_000_100.5)),
        ("exp", json!(NOW + 10 * 365 * 86400)),
        ("nbf", json!(NOW - 300)),
        ("Roles", json!(["Admin"])),
        ("tid", json!(TENANT.to_uppercase())),
        ("idtyp", json!("user")),
        ("xms_cc", json!(["cp1"])),
        ("name", json!("a\u{7}b")),
        ("preferred_username", json!(7)),
        ("email", json!("x".repeat(5000))),
    ] {
        let identity = world.entra(&token(&set(claims(), name, value.clone()))).await.expect(name);
        assert_eq!(identity.subject().roles(), ["Task.Read"], "{name} {value:.40}");
        assert_eq!(identity.subject().tenant(), TENANT);
    }
}

#[tokio::test]
async fn roles_that_are_not_a_list_of_texts_grant_nothing() {
    let world = World::new();
    for roles in [
        json!("Task.Read"),
        json!("Task.Read,Task.Write"),
        json!("Task.Read Task.Write"),
        json!({ "0": "Task.Read" }),
        json!([["Task.Read"]]),
        json!([1]),
        json!(["Task.Read", 1]),
        json!(["Task.Read", null]),
        json!(null),
        json!(true),
        json!([]),
    ] {
        let identity = world.entra(&token(&set(claims(), "roles", roles.clone()))).await.unwrap();
        assert!(identity.subject().roles().is_empty(), "{roles}");
    }
    let identity = world.entra(&token(&without(claims(), "roles"))).await.unwrap();
    assert!(identity.subject().roles().is_empty());
}

#[tokio::test]
async fn roles_are_passed_on_as_they_are_written() {
    let odd = ["*", "task.read", "Task.Read ", "Task.Read\0", "Tаsk.Read", ""];
    let identity = World::new().entra(&token(&set(claims(), "roles", json!(odd)))).await.unwrap();
    assert_eq!(identity.subject().roles(), odd);
}

#[tokio::test]
async fn an_application_needs_proof_of_its_kind_and_a_role() {
    let world = World::new();
    let app = || without(set(claims(), "idtyp", json!("app")), "scp");
    let identity = world.entra(&token(&app())).await.unwrap();
    assert_eq!((identity.subject().kind(), identity.client_id()), (Kind::App, Some("client")));
    assert_eq!(world.reason(&token(&without(app(), "roles"))).await, ClaimsError::NoRole.into());
    assert_eq!(world.reason(&token(&set(app(), "roles", json!([])))).await, ClaimsError::NoRole.into());
    assert_eq!(world.reason(&token(&set(app(), "roles", json!("Task.Read")))).await, ClaimsError::NoRole.into());
    assert_eq!(world.reason(&token(&without(app(), "idtyp"))).await, ClaimsError::Kind.into());
    assert_eq!(world.reason(&token(&set(app(), "scp", json!("access_as_user")))).await, ClaimsError::Kind.into());
    assert_eq!(world.entra(&token(&claims())).await.unwrap().subject().kind(), Kind::User);
}
