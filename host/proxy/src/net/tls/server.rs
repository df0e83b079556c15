//! The server side of TLS, for connections of clients.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;

use super::certificate::{Certificates, expires_s, identity};
use super::files::{TlsError, certified_key, load_roots};
use super::version_name;
use crate::config::{ClientCertificates, MinVersion, ServerTls};
use crate::net::Stream;

/// Number of TLS sessions kept for resumption by clients without session tickets.
const SESSION_CACHE_SIZE: usize = 4096;

/// A TLS session with a client, as decision log and policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// IANA name of the version, such as `TLSv1.3`.
    pub version: &'static str,
    /// The server name that the client requested (SNI).
    pub server_name: Option<String>,
    /// The client's certificate, if it sent one and it was verified.
    pub client: Option<ClientCertificate>,
}

/// A verified client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its distinguished name.
    pub subject: String,
    /// The user name that it contains, if any.
    pub user: Option<String>,
    /// Its SHA-256 digest; None if a proxy in front of Reprieve verified it.
    pub fingerprint: Option<[u8; 32]>,
}

/// A server certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateState {
    /// File of the certificate chain.
    pub file: PathBuf,
    /// Expiry time, as a Unix timestamp in seconds.
    pub expires_s: i64,
}

/// Accepts TLS connections of a virtual server. Certificates can be replaced without affecting open
/// connections.
#[derive(Debug)]
pub struct TlsAcceptor {
    settings: ServerTls,
    active: ArcSwap<ActiveTls>,
}

/// Settings of new connections.
#[derive(Debug)]
struct ActiveTls {
    config: Arc<ServerConfig>,
    certificates: Vec<CertificateState>,
}

impl TlsAcceptor {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// If a file is missing or invalid, with its location in the configuration.
    pub fn load(settings: &ServerTls) -> Result<Self, TlsError> {
        let active = ArcSwap::from_pointee(build(settings)?);
        Ok(Self { settings: settings.clone(), active })
    }

    /// Reads the files again, for new connections. Open connections are not affected.
    ///
    /// # Errors
    /// As [`TlsAcceptor::load`]; the previous certificates then stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut fresh = build(&self.settings)?;
        if self.settings.client_certificates == ClientCertificates::Off {
            // Without client certificates, resuming a session bypasses no check.
            let previous = &self.active.load().config;
            let config = Arc::make_mut(&mut fresh.config);
            config.ticketer = previous.ticketer.clone();
            config.session_storage = previous.session_storage.clone();
        }
        self.active.store(Arc::new(fresh));
        Ok(())
    }

    /// The server certificates in use, each file once.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateState> {
        self.active.load().certificates.clone()
    }

    /// All files that [`TlsAcceptor::reload`] reads.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        let certificates = self.settings.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
        certificates.chain(&self.settings.client_ca).map(PathBuf::as_path)
    }

    /// Whether cleartext connections may upgrade to TLS with STLS.
    #[must_use]
    pub fn has_stls(&self) -> bool {
        self.settings.stls
    }

    /// Performs the TLS handshake.
    ///
    /// # Errors
    /// If the handshake fails, after an alert was sent, or exceeds the handshake timeout.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(Stream, TlsSession)> {
        let acceptor = tokio_rustls::TlsAcceptor::from(self.active.load().config.clone());
        let limit = self.settings.handshake_timeout;
        let stream = tokio::time::timeout(limit, acceptor.accept(stream)).await??;
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let session = TlsSession {
            version: version_name(connection.protocol_version()),
            server_name: connection.server_name().map(str::to_owned),
            client: certificate.map(|certificate| {
                let (subject, user) = identity(certificate, self.settings.user_from);
                let fingerprint = Some(Sha256::digest(certificate).into());
                ClientCertificate { subject, user, fingerprint }
            }),
        };
        Ok((Stream::Tls(Box::new(stream.into())), session))
    }

    /// Longest duration of a handshake.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        self.settings.handshake_timeout
    }
}

fn build(settings: &ServerTls) -> Result<ActiveTls, TlsError> {
    let fail = |error: &dyn std::fmt::Display| TlsError::new(&settings.location, error.to_string());
    let mut keys = settings.certificates.iter().map(certified_key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(fail(&"no certificate is configured"));
    }
    let mut certificates: Vec<CertificateState> = Vec::new();
    for (files, key) in settings.certificates.iter().zip(&keys) {
        let expires_s = key.cert.first().and_then(|certificate| expires_s(certificate));
        if let Some(expires_s) = expires_s
            && certificates.iter().all(|known| known.file != files.chain)
        {
            certificates.push(CertificateState { file: files.chain.clone(), expires_s });
        }
    }
    let first = keys.remove(0);
    let versions: &[_] = match settings.min_version {
        MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let provider = super::provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| fail(&error))?;
    let builder = match (&settings.client_ca, settings.client_certificates) {
        (Some(ca), mode @ (ClientCertificates::Optional | ClientCertificates::Required)) => {
            let roots = Arc::new(load_roots(ca, &settings.location)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match mode {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fail(&error))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates::new(first, &keys)));
    config.session_storage = ServerSessionMemoryCache::new(SESSION_CACHE_SIZE);
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| fail(&error))?;
    // A polling client resumes once per ticket, so one is enough.
    config.send_tls13_tickets = 1;
    config.ignore_client_order = true;
    // Refuses clients that offer only other protocols by ALPN (defence against ALPACA).
    config.alpn_protocols = vec![b"pop3".to_vec()];
    Ok(ActiveTls { config: Arc::new(config), certificates })
}
