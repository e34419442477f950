//! Seals what only the gateway may read: XChaCha20-Poly1305 under a key that the database does not hold.
//!
//! Every sealed value is bound to what it belongs to (additional authenticated data), so that it cannot be moved to
//! another record or another caller.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

const NONCE: usize = 24;

/// Sealing failed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The value was sealed with another key, for another place, or changed.
    #[error("a sealed value cannot be opened; restore the `seal.key` that belongs to this database")]
    Open,
    /// The key file cannot be used.
    #[error("`{path}`: {what}")]
    KeyFile {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Random,
}

/// Seals and opens values: seals under the newest key, opens what any of its keys sealed.
#[derive(Clone)]
pub struct Sealer {
    newest: XChaCha20Poly1305,
    older: Arc<[XChaCha20Poly1305]>,
}

impl Sealer {
    /// A sealer with this key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { newest: XChaCha20Poly1305::new(&key.into()), older: Arc::default() }
    }

    /// The sealer whose keys are in these files, the newest first.
    ///
    /// # Errors
    ///
    /// Returns an error when a file cannot be read, is open to everybody, or is no key; also when there is none.
    pub fn from_files(paths: &[PathBuf]) -> Result<Self, SealError> {
        let ciphers = paths.iter().map(|path| read(path).map(|key| XChaCha20Poly1305::new(&key.into())));
        let mut ciphers = ciphers.collect::<Result<Vec<_>, _>>()?.into_iter();
        let newest = ciphers.next().ok_or_else(|| SealError::KeyFile {
            path: "state.seal_key_files".to_owned(),
            what: "names no file".to_owned(),
        })?;
        Ok(Self { newest, older: ciphers.collect() })
    }

    /// The sealer whose key is in this file; a new one is made when `may_create` and there is none.
    ///
    /// # Errors
    ///
    /// Returns an error when the file is missing and must not be made, is readable by others, or is no key.
    pub fn from_file(path: &Path, may_create: bool) -> Result<Self, SealError> {
        let fault = |what: String| SealError::KeyFile { path: path.display().to_string(), what };
        if !path.exists() {
            if !may_create {
                return Err(fault("is missing; restore it, for the database cannot be read without it".to_owned()));
            }
            let key = XChaCha20Poly1305::generate_key(&mut OsRng);
            write_private(path, &key).map_err(|error| fault(error.to_string()))?;
        }
        Ok(Self::new(read(path)?))
    }

    /// Seals a value for the place that `binding` describes.
    ///
    /// # Errors
    ///
    /// Returns an error when the value cannot be encrypted.
    pub fn seal(&self, binding: &[u8], value: &[u8]) -> Result<String, SealError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload { msg: value, aad: binding };
        let sealed = self.newest.encrypt(&nonce, payload).map_err(|_error| SealError::Random)?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens a value that was sealed for this place.
    ///
    /// # Errors
    ///
    /// Returns [`SealError::Open`] for anything else.
    pub fn open(&self, binding: &[u8], sealed: &str) -> Result<Vec<u8>, SealError> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_error| SealError::Open)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or(SealError::Open)?;
        let open = |cipher: &XChaCha20Poly1305| {
            cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: binding }).ok()
        };
        open(&self.newest).or_else(|| self.older.iter().find_map(open)).ok_or(SealError::Open)
    }

    /// Whether the newest key sealed it; what an older one sealed should be sealed anew while that is still there.
    #[must_use]
    pub fn is_newest(&self, binding: &[u8], sealed: &str) -> bool {
        Self { newest: self.newest.clone(), older: Arc::default() }.open(binding, sealed).is_ok()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

/// The key in a file: 32 bytes as they are, or in base64.
fn read(path: &Path) -> Result<[u8; 32], SealError> {
    let fault = |what: String| SealError::KeyFile { path: path.display().to_string(), what };
    let metadata = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
    // A group may read: that is how Kubernetes gives a pod its secrets.
    if mode & 0o037 != 0 {
        return Err(fault(format!("is open to others (mode {:o}); set it to 600", mode & 0o777)));
    }
    let content = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let written = std::str::from_utf8(&content).ok().and_then(|text| STANDARD.decode(text.trim_end()).ok());
    let key = <[u8; 32]>::try_from(content).ok().or_else(|| written?.try_into().ok());
    key.ok_or_else(|| fault("is no key: 32 bytes, or base64 of 32 bytes; restore it".to_owned()))
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_for_its_place_and_only_unchanged() {
        let sealer = Sealer::new([7; 32]);
        let secret = sealer.seal(b"grant:1", b"secret").unwrap();
        assert_eq!(sealer.open(b"grant:1", &secret).unwrap(), b"secret");
        assert!(!secret.contains("secret"));
        assert!(sealer.open(b"grant:2", &secret).is_err());
        assert!(Sealer::new([8; 32]).open(b"grant:1", &secret).is_err());
        for bad in ["", "x", secret.get(1..).unwrap(), &format!("{secret}AA")] {
            assert!(sealer.open(b"grant:1", bad).is_err());
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_must_be_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        assert!(Sealer::from_file(&path, false).is_err());
        let sealed = Sealer::from_file(&path, true).unwrap().seal(b"", b"x").unwrap();
        assert_eq!(Sealer::from_file(&path, true).unwrap().open(b"", &sealed).unwrap(), b"x");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, open).unwrap();
        assert!(Sealer::from_file(&path, true).unwrap_err().to_string().contains("600"));
    }

    #[test]
    fn what_an_older_key_sealed_opens_and_the_newest_seals() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o440);
            std::fs::set_permissions(&path, private).unwrap();
            path
        };
        let old = file("old", &[7; 32]);
        let new = file("new", format!("{}\n", STANDARD.encode([8; 32])).as_bytes());
        let before = Sealer::from_files(std::slice::from_ref(&old)).unwrap().seal(b"x", b"kept").unwrap();
        let both = Sealer::from_files(&[new.clone(), old]).unwrap();
        assert_eq!(both.open(b"x", &before).unwrap(), b"kept");
        assert!(!both.is_newest(b"x", &before));
        let after = both.seal(b"x", b"kept").unwrap();
        assert!(both.is_newest(b"x", &after));
        let alone = Sealer::from_files(std::slice::from_ref(&new)).unwrap();
        assert!(alone.open(b"x", &after).is_ok() && alone.open(b"x", &before).is_err());
        for bad in [b"short".as_slice(), b"", &[7; 31], &[7; 33]] {
            assert!(Sealer::from_files(&[file("bad", bad)]).is_err());
            std::fs::remove_file(directory.path().join("bad")).unwrap();
        }
        assert!(Sealer::from_files(&[]).is_err());
    }
}
