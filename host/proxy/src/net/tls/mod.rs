//! TLS: certificate files, the server side for clients, and the client side for nodes.

mod certificate;
mod client;
mod files;
mod server;

pub use client::NodeConnector;
pub use files::TlsError;
pub use server::{CertificateState, ClientCertificate, TlsAcceptor, TlsSession};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography of all connections. Its TLS 1.2 cipher suites all have forward secrecy and
/// authenticated encryption.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The IANA name of a TLS version.
fn version_name(version: Option<rustls::ProtocolVersion>) -> &'static str {
    match version {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}
