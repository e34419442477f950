//! The app registration's credential: a secret, an assertion of a certificate, or a platform's token.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::Shared;
use crate::token::now;

/// A certificate of the app registration.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The SHA-256 of the certificate, as base64url.
    pub thumbprint: String,
    /// Its public key (`SubjectPublicKeyInfo`, DER).
    pub public_key: Vec<u8>,
}

/// Whether a request has the registration's credential; the AADSTS code and words when it has not.
pub(crate) fn check<'f>(shared: &Shared, get: &impl Fn(&str) -> &'f str) -> Result<(), (u32, &'static str)> {
    let assertion = get("client_assertion");
    if assertion.is_empty() {
        let sent = get("client_secret");
        return match sent {
            sent if sent == shared.options.client_secret => Ok(()),
            "" => Err((7_000_218, "The request body must contain a credential.")),
            _ => Err((7_000_215, "Invalid client secret provided.")),
        };
    }
    if get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
        return Err((7_000_218, "The assertion's type is missing."));
    }
    if shared.directory().federated.as_deref() == Some(assertion) {
        return Ok(());
    }
    signed(shared, assertion).ok_or((700_027, "The certificate used to sign the client assertion is not registered."))
}

/// An assertion as Entra takes it: PS256, named by `x5t#S256`, for this endpoint, for ten minutes at most.
fn signed(shared: &Shared, assertion: &str) -> Option<()> {
    let certificate = shared.options.certificate.as_ref()?;
    let (message, signature) = assertion.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let part = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    let (header, claims) = (part(header)?, part(claims)?);
    let endpoint = format!("{}/{}/oauth2/v2.0/token", shared.origin, shared.options.tenant_id);
    let text = |part: &Value, name: &str, expected: &str| (part.get(name)?.as_str()? == expected).then_some(());
    text(&header, "alg", "PS256")?;
    text(&header, "x5t#S256", &certificate.thumbprint)?;
    text(&claims, "iss", &shared.options.client_id)?;
    text(&claims, "sub", &shared.options.client_id)?;
    text(&claims, "aud", &endpoint)?;
    claims.get("jti")?.as_str().filter(|id| !id.is_empty())?;
    let (from, until) = (claims.get("nbf")?.as_u64()?, claims.get("exp")?.as_u64()?);
    (from <= now() && now() < until && until - from <= 600).then_some(())?;
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &certificate.public_key);
    key.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()
}
