//! Certificates of this machine's own.

/// A certificate for this machine, and its key, as PEM.
#[must_use]
pub fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}
