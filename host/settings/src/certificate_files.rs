//! A certificate as settings name it.

use std::path::PathBuf;

use crate::Place;

/// A certificate with its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead from it to a root.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Where they are named, for errors that show only when they are read.
    pub place: Place,
}
