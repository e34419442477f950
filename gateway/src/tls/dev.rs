//! A certificate of one's own for a laptop: nobody trusts it but who is told its fingerprint.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::fingerprint;
use super::{Files, load};
use crate::clock::Timestamp;

/// The names that a laptop is reached by.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// It cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// It cannot be kept.
    #[error("the certificate cannot be kept: {0}")]
    Keep(#[from] std::io::Error),
    /// It cannot be read back.
    #[error("the certificate cannot be read back: {0}")]
    Read(#[from] rustls::pki_types::pem::Error),
}

/// The certificate that is kept in this directory, or a new one; and the SHA-256 of it, in hexadecimal.
///
/// # Errors
///
/// Returns a [`DevError`] when it can neither be used nor made.
pub fn certificate(directory: &Path, now: Timestamp) -> Result<(Files, String), DevError> {
    let files =
        Files { certificate: directory.join("dev-tls.crt"), key: directory.join("dev-tls.key"), client_ca: None };
    if load(&files, now).is_err() {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))?;
        write(&files.key, &made.signing_key.serialize_pem())?;
        write(&files.certificate, &made.cert.pem())?;
    }
    let certificate = CertificateDer::from_pem_file(&files.certificate)?;
    Ok((files, fingerprint(&certificate)))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
