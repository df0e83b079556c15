//! TLS: certificates from files, the server's end towards clients, and the client's end
//! towards nodes.

mod certificate;
mod client;
mod files;
mod server;

pub use client::NodeConnector;
pub use files::TlsError;
pub use server::{CertificateState, ClientCertificate, TlsAcceptor, TlsSession};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography that all connections use, of which TLS 1.2 offers only what has forward
/// secrecy and authenticated encryption.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A version as IANA names it.
fn version_name(version: Option<rustls::ProtocolVersion>) -> &'static str {
    match version {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}
