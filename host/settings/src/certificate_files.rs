//! The files of a certificate.

use std::path::PathBuf;

use crate::Location;

/// Paths of a certificate chain and its private key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by its intermediate certificates.
    pub chain: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Where they are configured, for errors that are found when the files are read.
    pub location: Location,
}
