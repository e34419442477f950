//! Who asks at the token endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2).
//!
//! A client has one way to show that it is itself, and must use that one and no other: a public client sends nothing, one
//! with a secret sends it in the header or the body, one with keys an assertion. Clients that register were told that they
//! have no secret; some send one all the same, which says nothing about them. What was wrong is told to the log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use super::State as Server;
use super::clients::{self, Known, Source};
use super::configured::Credential;
use super::error::OAuthError;
use super::form::Parameters;
use super::refused;
use crate::jose::client_assertion::{self, ClientKeys, Expected};
use crate::store::Digest256;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const REFUSED: OAuthError = OAuthError::InvalidClient("The client is not known, or did not authenticate as it should");

/// What a request shows of its client.
#[derive(Debug)]
enum Presented {
    /// A name.
    Nothing,
    /// A secret.
    Secret(String),
    /// An assertion.
    Assertion(String),
}

/// The client that asks, once it has shown that it is itself.
///
/// # Errors
///
/// Returns `invalid_client`, or `invalid_request` for more than one way at once.
pub(super) async fn authenticate(
    server: &Server,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Known, OAuthError> {
    let (id, presented) = presented(headers, parameters)?;
    refused::by(&id);
    let known = clients::at_token_endpoint(server, &id).await?;
    let Some(known) = known else {
        refused::because("the client is not known");
        return Err(REFUSED);
    };
    let verdict = match (&known.source, &known.client.keys) {
        (Source::Configured(configured), _) => match &configured.credential {
            Credential::Public => public(&presented),
            Credential::Secret(digest) => secret(&presented, digest),
            Credential::Keys(keys) => assertion(server, &presented, &id, keys).await?,
        },
        (Source::Registered, None) => registered(&presented),
        (_, None) => public(&presented),
        (_, Some(keys)) => match &presented {
            Presented::Assertion(token) => match clients::keys(server, keys, token).await {
                Some(keys) => assertion(server, &presented, &id, &keys).await?,
                None => Err("its keys are not to be had"),
            },
            _ => Err("it has keys, and sent no assertion"),
        },
    };
    verdict.map(|()| known).map_err(|why| {
        refused::because(why);
        tracing::warn!(client = %id.escape_debug(), why, "a client did not authenticate");
        REFUSED
    })
}

type Verdict = Result<(), &'static str>;

fn public(presented: &Presented) -> Verdict {
    match presented {
        Presented::Nothing => Ok(()),
        _ => Err("it is public, and sent a credential"),
    }
}

/// As public as any other. What it sends as a secret nobody gave it, and nothing is compared with it: its codes are its own
/// by PKCE, its refresh tokens by their one use.
fn registered(presented: &Presented) -> Verdict {
    match presented {
        Presented::Nothing | Presented::Secret(_) => Ok(()),
        Presented::Assertion(_) => Err("it is public, and sent an assertion"),
    }
}

fn secret(presented: &Presented, digest: &Digest256) -> Verdict {
    let Presented::Secret(secret) = presented else { return Err("it has a secret, and sent none") };
    let is_same: bool = Digest256::of(secret).as_bytes().ct_eq(digest.as_bytes()).into();
    if is_same { Ok(()) } else { Err("its secret is another") }
}

/// Verifies an assertion, and spends it.
async fn assertion(
    server: &Server,
    presented: &Presented,
    client_id: &str,
    keys: &ClientKeys,
) -> Result<Verdict, OAuthError> {
    let Presented::Assertion(token) = presented else { return Ok(Err("it has keys, and sent no assertion")) };
    let issuer = server.settings.issuer.as_str();
    let (endpoint, with_slash) = (format!("{issuer}/token"), format!("{issuer}/"));
    let expected = Expected { client_id, audiences: [issuer, &with_slash, &endpoint] };
    let assertion = match keys.verify(token, &expected, server.clock.now()) {
        Ok(assertion) => assertion,
        Err(error) => {
            tracing::info!(client = %client_id.escape_debug(), %error, "an assertion does not verify");
            return Ok(Err("its assertion does not verify"));
        }
    };
    // Ids cannot contain a line break, so no client can spend another's.
    let name = Digest256::of(&format!("{client_id}\n{}", assertion.jti));
    let is_first = server.store.spend_assertion(name, assertion.expires).await?;
    Ok(if is_first { Ok(()) } else { Err("its assertion was used before") })
}

/// The client's id, and what it shows; more than one way at once is none.
fn presented(headers: &HeaderMap, parameters: &Parameters) -> Result<(String, Presented), OAuthError> {
    let in_body = parameters.get("client_id");
    let (secret, token) = (parameters.get("client_secret"), parameters.get("client_assertion"));
    let kind = parameters.get("client_assertion_type");
    let ways = [headers.contains_key(header::AUTHORIZATION), secret.is_some(), token.is_some() || kind.is_some()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(OAuthError::InvalidRequest("A client authenticates in one way only"));
    }
    if headers.contains_key(header::AUTHORIZATION) {
        let (id, secret) = basic(headers).ok_or(REFUSED)?;
        if in_body.is_some_and(|other| other != id) {
            return Err(REFUSED);
        }
        // One that is empty counts as absent, as a parameter does.
        return Ok((id, if secret.is_empty() { Presented::Nothing } else { Presented::Secret(secret) }));
    }
    if token.is_some() || kind.is_some() {
        let token = token.filter(|_| kind == Some(JWT_BEARER)).ok_or(REFUSED)?;
        let claimed = client_assertion::claimed_client(token).ok_or(REFUSED)?;
        if in_body.is_some_and(|id| id != claimed) {
            return Err(REFUSED);
        }
        return Ok((claimed, Presented::Assertion(token.to_owned())));
    }
    let id = in_body.ok_or(OAuthError::InvalidRequest("client_id is missing"))?.to_owned();
    Ok((id, secret.map_or(Presented::Nothing, |secret| Presented::Secret(secret.to_owned()))))
}

/// Id and secret of `client_secret_basic`: each form-encoded, then joined (RFC 6749 section 2.3.1).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let line = lines.next()?.to_str().ok().filter(|_| lines.next().is_none())?;
    let (scheme, encoded) = line.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let (id, secret) = (decoded(id)?, decoded(secret)?);
    (!id.is_empty()).then_some((id, secret))
}

/// A form-encoded text; none when it is not well encoded.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<(String, String)> {
        basic(&HeaderMap::from_iter([(header::AUTHORIZATION, line.parse().unwrap())]))
    }

    fn encoded(pair: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn id_and_secret_are_decoded_one_way_or_not_at_all() {
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(of(&encoded(b"app:s3cret")), pair("app", "s3cret"));
        assert_eq!(of(&encoded(b"a%3Ab:s+%2B%c3%a9")), pair("a:b", "s +\u{e9}"));
        assert_eq!(of(&encoded(b"app:a:b")), pair("app", "a:b"), "only an id cannot have a colon");
        assert_eq!(of(&encoded(b"app:").replace("Basic", "bAsIc")), pair("app", ""));
        for bad in
            [&b"app"[..], b":secret", b"app:%zz", b"app:%4", b"app:%", b"app:%ff", b"app:\xff", b"a%00:x", b"a%0a:x"]
        {
            assert_eq!(of(&encoded(bad)), None, "{bad:?}");
        }
        for bad in ["Basic", "Basic !", "Bearer x", "Basic  ", "Digest username=x"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
