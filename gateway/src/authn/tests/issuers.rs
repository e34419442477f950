//! Whose key, whose issuer, whose tenant, which kind of token.

use super::*;
use crate::jose::fixture::{CLIENT, HEADER, PARTNER, PERSONAL, STRANGER, claims, id_claims, issuer};

fn of_tenant(tenant: &str) -> Value {
    set(set(claims(), "tid", json!(tenant)), "iss", json!(issuer(tenant)))
}

#[tokio::test]
async fn an_entra_token_is_believed_only_where_the_backend_opts_in() {
    let world = World::new();
    let refused = AuthnError::from(Reason::NotAcceptedHere);
    assert_eq!(world.own(&token(&claims())).await.unwrap_err(), refused);
    assert_eq!(world.provider.fetches(), 0, "nobody asks for the key of a token that is not taken");
    let identity = world.entra(&token(&claims())).await.unwrap();
    assert_eq!((identity.subject().tenant(), identity.subject().object()), (TENANT, OID));
    assert_eq!((identity.client_id(), identity.token_id()), (Some("client"), Some("u")));
    assert_eq!(world.own(&token(&claims())).await.unwrap_err(), refused, "remembered or not");
}

#[tokio::test]
async fn listed_tenants_are_let_in_and_no_others() {
    let world = World::new();
    let partner = world.entra(&token(&of_tenant(PARTNER))).await.unwrap();
    assert_eq!(partner.subject().tenant(), PARTNER);
    let hostile = vec![
        ("a stranger".to_owned(), token(&of_tenant(STRANGER))),
        ("personal accounts".to_owned(), token(&of_tenant(PERSONAL))),
        ("the partner's issuer, our tenant".to_owned(), token(&set(of_tenant(PARTNER), "tid", json!(TENANT)))),
        ("our issuer, the partner's tenant".to_owned(), token(&set(of_tenant(TENANT), "tid", json!(PARTNER)))),
    ];
    world.refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn a_key_signs_for_its_own_issuer_only() {
    let key = |kid: &str, issuer: &str| set(Rsa::provider().jwk(kid), "issuer", json!(issuer));
    let world = World::new();
    world.provider.publish(&[
        key("entra", &issuer("{tenantid}")),
        key("entra2", &issuer("{tenantId}")),
        key("exact", &issuer(TENANT)),
        key("stranger", &issuer(STRANGER)),
        key("personal", &issuer(PERSONAL)),
        key("partner", &issuer(PARTNER)),
    ]);
    let signed = |kid: &str, claims: &Value| Rsa::provider().sign(&HEADER.replace("entra", kid), &claims.to_string());
    for kid in ["entra", "entra2", "exact"] {
        assert!(world.entra(&signed(kid, &claims())).await.is_ok(), "{kid}");
    }
    assert!(world.entra(&signed("partner", &of_tenant(PARTNER))).await.is_ok());
    for kid in ["stranger", "personal", "partner"] {
        assert_eq!(world.reason(&signed(kid, &claims())).await, JwtError::ForeignKey.into(), "{kid}");
    }
    assert_eq!(world.reason(&signed("exact", &of_tenant(PARTNER))).await, JwtError::ForeignKey.into());
}

#[tokio::test]
async fn keys_that_are_not_for_verifying_verify_nothing() {
    let world = World::new();
    let provider = Rsa::provider();
    world.provider.publish(&[
        provider.jwk("entra"),
        set(provider.jwk("enc"), "use", json!("enc")),
        set(provider.jwk("ops"), "key_ops", json!(["encrypt"])),
        set(provider.jwk("alg"), "alg", json!("RS512")),
        set(provider.jwk("private"), "d", json!("AQAB")),
        json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
    ]);
    let text = claims().to_string();
    let hostile = ["enc", "ops", "alg", "private", "oct"];
    let hostile =
        hostile.iter().map(|kid| ((*kid).to_owned(), provider.sign(&HEADER.replace("entra", kid), &text))).collect();
    world.refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn one_name_for_our_key_and_entras_is_no_way_in() {
    let world = World::new();
    let kid = world.key.kid().to_owned();
    world.provider.publish(&[Rsa::provider().jwk("entra"), Rsa::provider().jwk(&kid)]);
    let header = format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{kid}"}}"#);
    assert!(world.entra(&Rsa::provider().sign(&header, &claims().to_string())).await.is_ok());
    let own = own_claims().to_string();
    let hostile = vec![
        ("Entra's key for our issuer".to_owned(), Rsa::provider().sign(&header, &own)),
        ("the same, typed like ours".to_owned(), Rsa::provider().sign(&header.replace("JWT", "at+jwt"), &own)),
        (
            "the same, as ES256".to_owned(),
            Rsa::provider().sign(&header.replace("JWT", "at+jwt").replace("RS256", "ES256"), &own),
        ),
        ("our key for Entra's issuer".to_owned(), world.key.sign("JWT", &claims()).unwrap()),
        ("the same, typed like ours".to_owned(), world.key.sign("at+jwt", &claims()).unwrap()),
    ];
    world.refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn a_token_that_is_no_access_token_is_refused() {
    let logout = json!({ "iss": issuer(TENANT), "aud": CLIENT, "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "ver": "2.0", "tid": TENANT, "oid": OID,
        "sub": "s", "events": { "http://schemas.openid.net/event/backchannel-logout": {} }, "roles": ["Task.Read"] });
    let hostile = vec![
        ("an ID token", token(&id_claims())),
        ("an ID token without a nonce", token(&without(id_claims(), "nonce"))),
        ("an ID token with azp", token(&set(without(id_claims(), "nonce"), "azp", json!(CLIENT)))),
        (
            "an ID token with azp and idtyp",
            token(&set(set(without(id_claims(), "nonce"), "azp", json!(CLIENT)), "idtyp", json!("user"))),
        ),
        ("a logout token", token(&logout)),
        ("a code", "kq3Zf0hV9mXc".to_owned()),
        ("a refresh token of Entra", format!("0.AX{}", "A".repeat(1000))),
    ];
    let hostile = hostile.into_iter().map(|(what, token)| (what.to_owned(), token)).collect();
    World::new().refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn the_log_tells_an_operator_what_to_change() {
    let world = World::new();
    let v1 = set(set(claims(), "ver", json!("1.0")), "iss", json!(format!("https://sts.windows.net/{TENANT}/")));
    let reason = world.reason(&token(&v1)).await;
    assert_eq!(reason, ClaimsError::VersionOne.into());
    assert!(reason.to_string().contains("`requestedAccessTokenVersion` to 2"), "{reason}");
    let stranger = set(set(v1, "tid", json!(STRANGER)), "iss", json!(format!("https://sts.windows.net/{STRANGER}/")));
    assert_eq!(world.reason(&token(&stranger)).await, Reason::UnknownIssuer);
    let graph = Rsa::provider().sign(&HEADER.replace('}', r#","nonce":"x"}"#), &claims().to_string());
    let reason = world.reason(&graph).await;
    assert_eq!(reason, JwtError::Graph.into());
    assert!(reason.to_string().contains("`api://`"), "{reason}");
    let graph = token(&set(claims(), "aud", json!("00000003-0000-0000-c000-000000000000")));
    assert_eq!(world.reason(&graph).await, ClaimsError::Graph.into());
    assert_eq!(world.reason(&token(&id_claims())).await, ClaimsError::IdToken.into());
    assert_eq!(world.reason(&token(&without(claims(), "oid"))).await, ClaimsError::Missing("oid").into());
}

#[tokio::test]
async fn without_keys_nothing_can_be_said_of_a_token() {
    let world = World::new();
    world.provider.publish(&[]);
    let failure = world.entra(&token(&claims())).await.unwrap_err();
    assert_eq!(failure, AuthnError::Unavailable);
    assert!(!challenge::unauthorized(&failure, METADATA, "read").contains("invalid_token"));
    let own = world.key.sign("at+jwt", &own_claims()).unwrap();
    assert!(world.entra(&own).await.is_ok(), "our own tokens do not depend on it");
}

#[tokio::test]
async fn without_an_identity_provider_its_tokens_are_unknown() {
    let (clock, key) = (fixture::clock(), SigningKey::generate().unwrap());
    let settings = Settings::new(access_token::Verifier::new(ISSUER, [&key]));
    let world = World {
        authenticator: Authenticator::new(settings, Arc::new(clock.clone())),
        provider: Provider::new(),
        key,
        clock,
    };
    assert_eq!(world.reason(&token(&claims())).await, Reason::UnknownIssuer);
    assert!(world.entra(&world.key.sign("at+jwt", &own_claims()).unwrap()).await.is_ok());
}
