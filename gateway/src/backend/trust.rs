//! The authority that signs a backend's certificate: read and checked before Pingora, which would panic on a bad one.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Settings, SetupError};

/// The name of the file, if one is named and every certificate in it can sign.
pub(super) fn authority(settings: &Settings) -> Result<Option<String>, SetupError> {
    let Some(file) = &settings.ca_file else { return Ok(None) };
    let unusable = || SetupError::Authority(settings.name.clone());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|_unreadable| unusable())? {
        let certificate = certificate.map_err(|_malformed| unusable())?;
        store.add(certificate).map_err(|_no_authority| unusable())?;
    }
    match file.to_str() {
        Some(name) if !store.is_empty() => Ok(Some(name.to_owned())),
        _ => Err(unusable()),
    }
}
