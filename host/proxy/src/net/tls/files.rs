//! Reads certificates and keys from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use reprieve_secrets::secret_file;
use reprieve_settings::CertificateFiles;

/// A TLS setting that cannot be used: location in the configuration, file and reason.
#[derive(Debug, thiserror::Error)]
#[error("{location}: {message}")]
pub struct TlsError {
    location: String,
    message: String,
}

impl TlsError {
    pub(super) fn new(location: &str, message: impl Into<String>) -> Self {
        Self { location: location.to_owned(), message: message.into() }
    }
}

/// Reads a certificate chain and its private key.
pub(super) fn certified_key(files: &CertificateFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let fail = |message: String| TlsError::new(&files.location, message);
    let chain = certificates(&files.chain).map_err(&fail)?;
    if chain.is_empty() {
        return Err(fail(format!("{} contains no PEM certificate", files.chain.display())));
    }
    let key = PrivateKeyDer::from_pem_slice(&secret_file::read_secret(&files.key).map_err(&fail)?)
        .map_err(|_| fail(format!("{} contains no PEM private key", files.key.display())))?;
    warn_if_expiring(&files.chain, &chain[0]);
    CertifiedKey::from_der(chain, key, &super::provider()).map(Arc::new).map_err(|error| {
        fail(match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the key in {} does not match the certificate in {}",
                files.key.display(),
                files.chain.display()
            ),
            error => format!("{} cannot be used: {error}", files.chain.display()),
        })
    })
}

/// Reads the trusted CA certificates.
pub(super) fn load_roots(file: &Path, location: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).map_err(|message| TlsError::new(location, message))? {
        roots.add(certificate).map_err(|error| {
            TlsError::new(location, format!("a certificate in {} cannot be used: {error}", file.display()))
        })?;
    }
    if roots.is_empty() {
        return Err(TlsError::new(location, format!("{} contains no PEM certificate", file.display())));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&secret_file::read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{} is not valid PEM: {error}", file.display()))
}

/// Warns of a certificate that is not valid now, or expires within a week. It is served all the
/// same: clients that do not check certificates still get encryption.
fn warn_if_expiring(file: &Path, certificate: &CertificateDer<'_>) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return };
    let validity = parsed.validity();
    let (from, to) = (validity.not_before, validity.not_after);
    let now = x509_parser::time::ASN1Time::now();
    let file = file.display();
    if now > to {
        tracing::warn!("the certificate in {file} expired on {to}");
    } else if now < from {
        tracing::warn!("the certificate in {file} is not valid before {from}");
    } else if validity.time_to_expiration().is_some_and(|left| left.whole_days() < 7) {
        tracing::warn!("the certificate in {file} expires on {to}");
    }
}
