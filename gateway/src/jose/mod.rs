//! JSON Object Signing and Encryption: compact JWS (RFC 7515), key sets (RFC 7517), claims (RFC 7519) and the
//! gateway's own access tokens (RFC 9068).
//!
//! The library checks signatures and nothing else; what a token says is read and judged here, strictly. Knows no HTTP
//! requests and no policies.

pub mod access_token;
pub mod claims;
pub mod client_assertion;
pub mod entra_token;
#[cfg(test)]
pub(crate) mod fixture;
pub mod identity_assertion;
pub mod jwt;
pub mod key;
pub mod key_set;
pub mod signing_key;
pub mod signing_keys;
mod verify_error;
#[cfg(test)]
mod wycheproof;

pub use verify_error::VerifyError;
