//! Tokens: nobody without the key makes one; and of those that the key signed, only what is ours, for this resource, now
//! and of the right type is believed.

use crate::readers::{Json, Takes};
use crate::token::{GATEWAY, ISSUER, NOW, RESOURCE, filled};

/// Either a token as it is (`%T` stands for a good one), or `{` and a header, a zero byte, and a payload to be signed with
/// the right key (`%K` stands for its name). Spaces before a token belong to the header.
pub fn check(data: &[u8]) -> bool {
    match data.iter().position(|byte| *byte == 0).filter(|_| data.starts_with(b"{")) {
        Some(at) => signed(&filled(&data[..at], b"%K", GATEWAY.kid()), &data[at + 1..]),
        None => unsigned(filled(data, b"%T", &GATEWAY.token).trim_ascii_start()),
    }
}

fn unsigned(token: &[u8]) -> bool {
    let message = |token: &[u8]| token.rsplitn(2, |byte| *byte == b'.').nth(1).map(<[u8]>::to_vec);
    let believed = GATEWAY.believes(token) == Some(true);
    if believed {
        assert_eq!(message(token), message(GATEWAY.token.as_bytes()), "a token that nobody signed is believed");
    } else {
        assert_ne!(token, GATEWAY.token.as_bytes(), "a good token is not believed");
    }
    believed
}

fn signed(protected: &[u8], payload: &[u8]) -> bool {
    let token = GATEWAY.sign(protected, payload);
    if GATEWAY.believes(token.as_bytes()) != Some(true) {
        return false;
    }
    let (header, claims) = (Json::read(protected).unwrap(), Json::read(payload).unwrap());
    assert!(header.is_plain() && claims.is_plain(), "something is there twice");
    for takes in [Takes::First, Takes::Last] {
        let of = |json: &Json, name: &str| json.get(name, takes).and_then(Json::text).map(str::to_owned);
        assert_eq!(of(&header, "alg").as_deref(), Some("ES256"));
        assert!(of(&header, "typ").is_some_and(|typ| typ.eq_ignore_ascii_case("at+jwt")));
        assert_eq!(of(&header, "kid").as_deref(), Some(GATEWAY.kid()));
        assert_eq!(of(&claims, "iss").as_deref(), Some(ISSUER));
        assert_eq!(of(&claims, "aud").as_deref(), Some(RESOURCE));
        for identity in ["sub", "tid", "oid", "client_id", "jti"] {
            assert!(of(&claims, identity).is_some(), "{identity}");
        }
    }
    for choice in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t#S256", "zip", "cty"] {
        assert!(header.get(choice, Takes::Last).is_none(), "{choice}");
    }
    let claims: serde_json::Value = serde_json::from_slice(payload).unwrap();
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(exp > NOW && iat <= NOW + 60 && exp.saturating_sub(iat) <= 3600);
    true
}
