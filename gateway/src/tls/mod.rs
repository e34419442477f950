//! TLS towards clients: a certificate and its key out of files, read anew while connections go on.
//!
//! TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN; no early data, no renegotiation. A connection is made by one whole
//! setting: certificate, key and client authority are swapped together, and sessions are resumed under their own
//! setting only. What cannot be used is never taken: the pair before stays.

mod certificate;
pub mod dev;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, version};

use crate::clock::Timestamp;

/// The files of a listener's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate and its chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities that sign clients' certificates; nobody is asked for one when absent.
    pub client_ca: Option<PathBuf>,
}

/// Why files cannot be used; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("`{path}` holds no {what} in PEM form that can be read: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The key is open to others.
    #[error("`{path}` is open to others (mode {mode:o}); set it to 600, or to 640 for a group of its own")]
    Open {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The two do not belong together.
    #[error("`{key}` is not the key of `{certificate}`; name a pair that belongs together")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate is not valid now.
    #[error("`{path}` is not valid now; it is valid from {from} to {until} (seconds since 1970); renew it")]
    NotNow {
        /// The certificate's file.
        path: PathBuf,
        /// When it begins.
        from: i64,
        /// When it ends.
        until: i64,
    },
    /// rustls refuses.
    #[error("the certificate cannot be used: {0}")]
    Refused(#[from] rustls::Error),
}

/// One setting: what connections are made with, which certificate that is, and when it ends.
#[derive(Debug)]
pub struct Setting {
    config: Arc<ServerConfig>,
    /// The SHA-256 of the certificate, in hexadecimal with colons.
    pub fingerprint: String,
    /// From when the certificate is valid, in seconds since the Unix epoch.
    pub begins: i64,
    /// When it ends.
    pub ends: i64,
}

/// The setting that counts now.
#[derive(Debug)]
pub struct Live {
    files: Files,
    setting: ArcSwap<Setting>,
}

impl Live {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// As [`load`].
    pub fn open(files: Files, now: Timestamp) -> Result<Self, TlsError> {
        let setting = ArcSwap::from_pointee(load(&files, now)?);
        Ok(Self { files, setting })
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What a connection that begins now is made with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.setting.load().config)
    }

    /// When the certificate ends, in seconds since the Unix epoch.
    #[must_use]
    pub fn ends(&self) -> i64 {
        self.setting.load().ends
    }

    /// From when to when it is valid.
    #[must_use]
    pub fn validity(&self) -> (i64, i64) {
        let setting = self.setting.load();
        (setting.begins, setting.ends)
    }

    /// The SHA-256 of the certificate, in hexadecimal with colons.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.setting.load().fingerprint.clone()
    }

    /// Reads the files anew; from then on connections are made with what is in them.
    ///
    /// # Errors
    ///
    /// As [`load`]; what counted before still does.
    pub fn reload(&self, now: Timestamp) -> Result<(), TlsError> {
        self.setting.store(Arc::new(load(&self.files, now)?));
        Ok(())
    }
}

impl Files {
    /// Every file.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca)
    }
}

/// Reads files, and holds certificate, key and time against each other.
///
/// # Errors
///
/// Returns a [`TlsError`] for files that cannot be read, do not belong together, or are not valid now.
pub fn load(files: &Files, now: Timestamp) -> Result<Setting, TlsError> {
    let chain = certificates(&files.certificate)?;
    let read = |own| Some((certificate::validity(own)?, certificate::fingerprint(own)));
    let ((from, until), fingerprint) = chain.first().and_then(read).ok_or_else(|| TlsError::Unreadable {
        path: files.certificate.clone(),
        what: "certificate",
        why: "it is malformed".to_owned(),
    })?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds < from || seconds > until {
        return Err(TlsError::NotNow { path: files.certificate.clone(), from, until });
    }
    check_mode(&files.key)?;
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key =
        key.map_err(|why| TlsError::Unreadable { path: files.key.clone(), what: "private key", why: why.to_string() })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = CertifiedKey::from_der(chain, key, &provider);
    let mismatch = || TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() };
    let pair = pair.map_err(|error| if is_mismatch(&error) { mismatch() } else { error.into() })?;
    pair.keys_match().map_err(|_different| mismatch())?;
    let versions = [&version::TLS13, &version::TLS12];
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    let builder = match &files.client_ca {
        Some(authority) => builder.with_client_cert_verifier(clients(authority)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Setting { config: Arc::new(config), fingerprint, begins: from, ends: until })
}

/// From when to when the first certificate of a PEM file is valid, in seconds since the Unix epoch; nothing where none can be
/// read.
#[must_use]
pub fn validity_of(file: &Path) -> Option<(i64, i64)> {
    certificate::validity(certificates(file).ok()?.first()?)
}

fn is_mismatch(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InconsistentKeys(_))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |why: String| TlsError::Unreadable { path: path.to_owned(), what: "certificate", why };
    let found = CertificateDer::pem_file_iter(path).map_err(|why| unreadable(why.to_string()))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|why| unreadable(why.to_string()))?;
    if found.is_empty() { Err(unreadable("there is none in it".to_owned())) } else { Ok(found) }
}

fn clients(path: &PathBuf) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unreadable = |why: String| TlsError::Unreadable { path: path.to_owned(), what: "certificate authority", why };
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots.add(authority).map_err(|why| unreadable(why.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| verifier as Arc<dyn ClientCertVerifier>).map_err(|why| unreadable(why.to_string()))
}

/// A key that everybody can read is nobody's.
fn check_mode(path: &PathBuf) -> Result<(), TlsError> {
    let metadata = std::fs::metadata(path);
    let metadata = metadata.map_err(|why| TlsError::Unreadable {
        path: path.clone(),
        what: "private key",
        why: why.to_string(),
    })?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode.trailing_zeros() >= 3 { Ok(()) } else { Err(TlsError::Open { path: path.clone(), mode }) }
}

#[cfg(test)]
mod tests;
