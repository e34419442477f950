use portcullis::authn::VerifiedIdentity;
use portcullis::clock::Timestamp;
use portcullis_policy::{Kind, Subject};

fn main() {
    let subject = Subject::new(Kind::User, "tenant", "object");
    let _ = VerifiedIdentity { subject, expires_at: Timestamp::from_secs(0), token_id: None };
}
