//! Why a request was refused, as a label: a closed set.

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was not.
    None,
    /// No token, or one that does not verify.
    Token,
    /// HTTP that is not acceptable here: method, media type, host, origin, size.
    Http,
    /// Not a JSON-RPC message that can be decided.
    Message,
    /// The policy does not open it.
    Policy,
    /// The tool is quarantined.
    Drift,
    /// The token's scopes do not cover it.
    Scope,
    /// The caller asks too often.
    Rate,
    /// The session is another caller's, or none.
    Session,
    /// The gateway cannot decide at the moment.
    Unavailable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Token,
        Self::Http,
        Self::Message,
        Self::Policy,
        Self::Drift,
        Self::Scope,
        Self::Rate,
        Self::Session,
        Self::Unavailable,
    ];

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Http => "http",
            Self::Message => "message",
            Self::Policy => "policy",
            Self::Drift => "drift",
            Self::Scope => "scope",
            Self::Rate => "rate",
            Self::Session => "session",
            Self::Unavailable => "unavailable",
        }
    }
}
