//! Issuers of identity assertions, as written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Text;

/// An issuer whose word on a person is taken (ID-JAG).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityAssertions {
    /// Its identifier: the exact `iss`.
    pub issuer: Text,
    /// Where its keys are; its metadata says when left out.
    pub jwks_uri: Option<Text>,
    /// Of an issuer of several tenants, the one whose people are let in: the exact `tenant`.
    pub tenant: Option<Text>,
    /// The claim that roles follow from.
    pub claim: Text,
    /// App-role values, by the claim's values; any other value gives none.
    pub roles: BTreeMap<String, Vec<Text>>,
    /// Ids of the clients that may bring its assertions; every client with the grant type when left out.
    pub clients: Option<Vec<Text>>,
}
