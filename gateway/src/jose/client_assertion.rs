//! Assertions that clients authenticate with (RFC 7523 section 3, `private_key_jwt`): their public keys, and what an
//! assertion must say.
//!
//! RS256 and ES256; a key says which it is for. That an assertion is spent once is for the store to see to.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::VerifyError;
use super::claims::ClaimsError;
use super::jwt::{self, MAX_KID, Payload};
use super::key::Key;
use super::key_set::{self, KeySetError};
use crate::clock::Timestamp;

/// The algorithms, by the names that metadata has for them.
pub const ALGORITHMS: [&str; 2] = ["ES256", "RS256"];
/// Values of `typ`; it may be left out.
const TYPES: [Option<&str>; 3] = [None, Some("JWT"), Some("client-authentication+jwt")];
/// A client has one key, or two while it replaces it.
const MAX_KEYS: usize = 10;
const MAX_JTI: usize = 256;
/// From now to `exp`, in seconds: nobody needs an assertion for longer.
const MAX_LIFETIME: u64 = 300;
/// A client's clock may be ahead this much, in seconds.
const CLOCK_SKEW: u64 = 30;
/// The members of a private or secret key (RFC 7518 section 6).
const SECRET: [&str; 2] = ["d", "k"];

/// The public keys of one client.
#[derive(Clone, Debug)]
pub struct ClientKeys(Vec<ClientKey>);

#[derive(Clone, Debug)]
struct ClientKey {
    kid: Option<String>,
    key: Key,
}

/// An assertion that verified; to be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Its name, unique for this client.
    pub jti: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// What an assertion must be about.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// The client, as `iss` and `sub`.
    pub client_id: &'e str,
    /// The values of `aud`, each exact: the issuer, the same URL with the slash of its empty path (RFC 3986 section 6.2.3),
    /// which is how the official SDKs write it, and the token endpoint.
    pub audiences: [&'e str; 3],
}

/// Whose assertion a token says it is; nothing of it is verified.
#[must_use]
pub fn claimed_client(token: &str) -> Option<String> {
    Some(jwt::parse_unnamed(token).ok()?.unverified()?.iss)
}

impl ClientKeys {
    /// Reads a JWK set; a key that cannot be used is left out, one that is not public spoils the set.
    ///
    /// # Errors
    ///
    /// Returns an error when it is no set, or has no usable key.
    pub fn parse(document: &Value) -> Result<Self, KeySetError> {
        let list = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::Malformed)?;
        let members: Vec<_> = list.iter().take(MAX_KEYS).filter_map(Value::as_object).collect();
        if members.iter().any(|jwk| SECRET.iter().any(|name| jwk.contains_key(*name))) {
            return Err(KeySetError::Malformed);
        }
        let keys: Vec<ClientKey> = members.into_iter().filter_map(read).collect();
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(keys)) }
    }

    /// Whether there is a key that the assertion could be signed with.
    #[must_use]
    pub fn has_key_for(&self, token: &str) -> bool {
        jwt::parse_unnamed(token).is_ok_and(|jws| self.candidates(&jws.kid).next().is_some())
    }

    /// Verifies an assertion.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] that says what is not as it must be.
    pub fn verify(&self, token: &str, expected: &Expected<'_>, now: Timestamp) -> Result<Assertion, VerifyError> {
        let jws = jwt::parse_unnamed(token)?;
        let mut failure = VerifyError::UnknownKey;
        for known in self.candidates(&jws.kid) {
            match jws.verify(&known.key, known.key.algorithm(), &TYPES) {
                Ok(payload) => return Ok(judge(payload, expected, now)?),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    /// The keys of this name; a client that names none may mean any of its few.
    fn candidates<'k>(&'k self, kid: &'k str) -> impl Iterator<Item = &'k ClientKey> {
        self.0.iter().filter(move |known| kid.is_empty() || known.kid.as_deref() == Some(kid))
    }
}

fn read(jwk: &Map<String, Value>) -> Option<ClientKey> {
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if !kid.is_empty() && kid.len() <= MAX_KID => Some(kid.clone()),
        Some(_) => return None,
    };
    // By the reader of key sets, which wants a name.
    let mut named = jwk.clone();
    named.insert("kid".to_owned(), "any".into());
    named.remove("issuer");
    let key = key_set::parse_any(&json!({ "keys": [named] })).ok()?.into_values().next()?;
    Some(ClientKey { kid, key })
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    #[serde(default)]
    iat: Option<u64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn judge(payload: Payload<'_>, expected: &Expected<'_>, now: Timestamp) -> Result<Assertion, ClaimsError> {
    let claims: Claims = jwt::object(payload.bytes()).map_err(|_error| ClaimsError::Shape)?;
    if claims.iss != expected.client_id || claims.sub != expected.client_id {
        return Err(ClaimsError::Issuer);
    }
    let audience = match &claims.aud {
        OneOrMany::One(audience) => Some(audience.as_str()),
        // One that is good elsewhere too is not taken.
        OneOrMany::Many(list) => list.first().filter(|_| list.len() == 1).map(String::as_str),
    };
    if !audience.is_some_and(|audience| expected.audiences.contains(&audience)) {
        return Err(ClaimsError::Audience);
    }
    let now = now.as_secs();
    if claims.exp <= now {
        return Err(ClaimsError::Expired);
    }
    if claims.exp > now + MAX_LIFETIME + CLOCK_SKEW {
        return Err(ClaimsError::Lifetime);
    }
    if [claims.nbf, claims.iat].into_iter().flatten().any(|from| from > now + CLOCK_SKEW) {
        return Err(ClaimsError::NotYet);
    }
    let sound = !claims.jti.is_empty() && claims.jti.len() <= MAX_JTI;
    let assertion = Assertion { jti: claims.jti, expires: Timestamp::from_secs(claims.exp) };
    if sound { Ok(assertion) } else { Err(ClaimsError::Missing("jti")) }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::jose::fixture::{NOW, Rsa};
    use crate::jose::jwt::JwtError;
    use crate::jose::signing_key::SigningKey;

    const CLIENT: &str = "https://client.example/app.json";
    const ISSUER: &str = "https://gw.example";
    const WITH_SLASH: &str = "https://gw.example/";
    const ENDPOINT: &str = "https://gw.example/token";
    const EXPECTED: Expected<'static> = Expected { client_id: CLIENT, audiences: [ISSUER, WITH_SLASH, ENDPOINT] };

    fn claims() -> Value {
        json!({ "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "exp": NOW + 300, "iat": NOW, "jti": "one" })
    }

    fn changed(name: &str, value: Value) -> Value {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name)
        } else {
            claims.as_object_mut().unwrap().insert(name.to_owned(), value)
        };
        claims
    }

    fn verify(keys: &Value, token: &str) -> Result<Assertion, VerifyError> {
        ClientKeys::parse(keys).unwrap().verify(token, &EXPECTED, Timestamp::from_secs(NOW))
    }

    #[test]
    fn an_assertion_of_either_algorithm_with_or_without_a_name_verifies() {
        let own = SigningKey::generate().unwrap();
        let assertion = Assertion { jti: "one".to_owned(), expires: Timestamp::from_secs(NOW + 300) };
        let keys = json!({ "keys": [own.public_jwk(), Rsa::provider().jwk("rsa")] });
        assert_eq!(verify(&keys, &own.sign("JWT", &claims()).unwrap()), Ok(assertion.clone()));
        for header in [r#"{"alg":"RS256","kid":"rsa","typ":"JWT"}"#, r#"{"alg":"RS256"}"#] {
            let token = Rsa::provider().sign(header, &claims().to_string());
            assert_eq!(verify(&keys, &token), Ok(assertion.clone()), "{header}");
        }
        for aud in [json!(ENDPOINT), json!([ISSUER]), json!(WITH_SLASH), json!([WITH_SLASH])] {
            assert!(verify(&keys, &own.sign("client-authentication+jwt", &changed("aud", aud)).unwrap()).is_ok());
        }
    }

    #[test]
    fn an_assertion_that_says_anything_else_does_not() {
        let own = SigningKey::generate().unwrap();
        let keys = json!({ "keys": [own.public_jwk()] });
        for (name, value) in [
            ("iss", json!("https://other.example/app.json")),
            ("sub", json!("https://other.example/app.json")),
            ("iss", Value::Null),
            ("sub", Value::Null),
            ("aud", json!("https://gw.example//")),
            ("aud", json!("https://gw.example/?")),
            ("aud", json!("https://GW.example/")),
            ("aud", json!("http://gw.example/")),
            ("aud", json!("https://gw.example.")),
            ("aud", json!([ISSUER, WITH_SLASH])),
            ("aud", json!("https://gw.example//token")),
            ("aud", json!("https://gw.example/token/")),
            ("aud", json!("https://evil.example")),
            ("aud", json!([ISSUER, "https://evil.example"])),
            ("aud", json!([])),
            ("aud", Value::Null),
            ("exp", json!(NOW)),
            ("exp", json!(NOW + 331)),
            ("exp", json!((NOW + 300).to_string())),
            ("exp", Value::Null),
            ("nbf", json!(NOW + 31)),
            ("iat", json!(NOW + 31)),
            ("jti", json!("")),
            ("jti", json!("x".repeat(257))),
            ("jti", json!(1)),
            ("jti", Value::Null),
        ] {
            let token = own.sign("JWT", &changed(name, value.clone())).unwrap();
            assert!(
                matches!(verify(&keys, &token), Err(VerifyError::Claims(_) | VerifyError::Jwt(JwtError::Malformed))),
                "{name} {value}"
            );
        }
        assert!(verify(&keys, &own.sign("at+jwt", &claims()).unwrap()).is_err(), "a token of another type");
        let stranger = SigningKey::generate().unwrap().sign("JWT", &claims()).unwrap();
        assert_eq!(verify(&keys, &stranger), Err(VerifyError::UnknownKey));
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims().to_string())
        );
        assert!(verify(&keys, &none).is_err());
        let foreign = Rsa::stranger().sign(r#"{"alg":"RS256"}"#, &claims().to_string());
        assert!(verify(&keys, &foreign).is_err());
    }

    #[test]
    fn a_set_without_a_public_key_of_a_known_kind_is_no_set() {
        let own = SigningKey::generate().unwrap();
        let with = |name: &str, value: Value| {
            let mut jwk = own.public_jwk().clone();
            jwk[name] = value;
            json!({ "keys": [jwk] })
        };
        assert!(ClientKeys::parse(&with("kid", json!("x"))).is_ok(), "the control");
        for bad in [
            json!({}),
            json!({ "keys": [] }),
            json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }),
            with("d", json!("AAAA")),
            with("crv", json!("P-384")),
            with("use", json!("enc")),
            with("alg", json!("ES384")),
            with("x", json!("AA")),
            with("kid", json!(7)),
        ] {
            assert!(ClientKeys::parse(&bad).is_err(), "{bad}");
        }
    }
}
