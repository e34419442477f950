//! Keys of one purpose while they are replaced: one signs, and what any of them signed is good.

use super::signing_key::SigningKey;

/// The keys of one purpose; never none.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    signer: SigningKey,
    others: Vec<SigningKey>,
}

impl SigningKeys {
    /// The key that signs, and others whose signatures are good: those that signed before, and one that will.
    #[must_use]
    pub fn new(signer: SigningKey, others: Vec<SigningKey>) -> Self {
        Self { signer, others }
    }

    /// The key that signs.
    #[must_use]
    pub fn signer(&self) -> &SigningKey {
        &self.signer
    }

    /// All of them, the signer first.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.signer).chain(&self.others)
    }

    /// Their public halves, as JWKs.
    #[must_use]
    pub fn public_jwks(&self) -> Vec<serde_json::Value> {
        self.iter().map(|key| key.public_jwk().clone()).collect()
    }
}

impl From<SigningKey> for SigningKeys {
    fn from(signer: SigningKey) -> Self {
        Self { signer, others: Vec::new() }
    }
}
