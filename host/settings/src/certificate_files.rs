//! A certificate as settings name it.

use std::path::PathBuf;

use crate::Location;

/// A certificate and its private key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate ones.
    pub chain: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// Where the configuration names them.
    pub location: Location,
}
