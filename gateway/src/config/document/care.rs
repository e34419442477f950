//! How a backend is looked after, as written.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Text;

/// What each server of a backend is asked now and then: one of `path` and `mcp`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// A path that is answered with a 2xx while the server is well.
    pub path: Option<Text>,
    /// `ping`: the protocol's own question, on the server's endpoint.
    pub mcp: Option<Text>,
    /// How often.
    pub every: Option<Text>,
    /// How long an answer may take.
    pub timeout: Option<Text>,
    /// So many bad answers in a row put the server out.
    pub failures: Option<Spanned<usize>>,
}

/// When a server is left alone, and for how long.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// So many failed exchanges in a row; 0: never.
    pub failures: Option<Spanned<usize>>,
    /// How long nothing is sent to it.
    pub open_for: Option<Text>,
}
