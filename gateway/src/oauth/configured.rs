//! Clients that the operator names in the configuration (`oauth.clients`).

use sha2::{Digest, Sha256};
use uuid::Builder;

use crate::jose::client_assertion::ClientKeys;
use crate::store::{Client, Digest256};

/// A client of the configuration.
#[derive(Clone, Debug)]
pub struct Configured {
    /// Its id.
    pub id: String,
    /// Its name on the consent page.
    pub name: Option<String>,
    /// The directory that it counts to in tokens of its own (`tid`).
    pub tenant: String,
    /// Where answers may go.
    pub redirect_uris: Vec<String>,
    /// How it shows that it is itself.
    pub credential: Credential,
    /// What it may ask for.
    pub grants: Grants,
    /// App-role values of what it does on its own behalf; `members.apps` in the policy matches them.
    pub roles: Vec<String>,
}

/// How a client shows that it is itself.
#[derive(Clone)]
pub enum Credential {
    /// It does not: anybody may say its name.
    Public,
    /// By a secret, of which the gateway keeps the digest.
    Secret(Digest256),
    /// By assertions of its keys.
    Keys(ClientKeys),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Public => "Public",
            Self::Secret(_) => "Secret(…)",
            Self::Keys(_) => "Keys(…)",
        })
    }
}

/// The grant types of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of grant types, each of which is there or not")]
pub struct Grants {
    /// `authorization_code`.
    pub code: bool,
    /// `refresh_token`.
    pub refresh: bool,
    /// `client_credentials`.
    pub own: bool,
    /// `urn:ietf:params:oauth:grant-type:device_code`.
    pub device: bool,
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`, by identity assertions.
    pub assertion: bool,
}

impl Configured {
    /// What the other endpoints know of it.
    #[must_use]
    pub(super) fn client(&self) -> Client {
        Client {
            client_id: self.id.clone(),
            client_name: Some(self.name.clone().unwrap_or_else(|| self.id.clone())),
            redirect_uris: self.redirect_uris.clone(),
            application_type: "web".to_owned(),
            may_refresh: self.grants.refresh,
            device: self.grants.device,
            registered_at: 0,
            keys: None,
        }
    }

    /// The object that stands for it in tokens of its own: a GUID that follows from its id, and is nobody's at Entra
    /// (version 8, RFC 9562 section 5.8).
    #[must_use]
    pub(super) fn object(&self) -> String {
        let digest = Sha256::new().chain_update("portcullis-client\0").chain_update(&self.id).finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(byte, from)| *byte = from);
        Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
    }
}
