//! The server's end of TLS, towards clients.

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
use super::files::{TlsError, certified_key, roots};
use super::version_name;
use crate::config::{ClientCertificates, MinVersion, ServerTls};
use crate::net::Stream;

/// TLS sessions that are remembered for resumption by clients without tickets.
const REMEMBERED: usize = 4096;

/// What is known of the TLS session between a client and Reprieve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// As IANA names it, such as `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The client's certificate, where it showed one that was verified.
    pub client: Option<ClientCertificate>,
}

/// A client's certificate, which was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject.
    pub subject: String,
    /// The user that it names, where it names one.
    pub user: Option<String>,
    /// SHA-256 of it; None where a proxy before Reprieve has verified it.
    pub fingerprint: Option<[u8; 32]>,
}

/// A certificate that is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateState {
    /// Its file.
    pub file: PathBuf,
    /// When it expires, in seconds since 1970.
    pub expires_s: i64,
}

/// TLS of a virtual server. Its certificates can be replaced while connections use them.
#[derive(Debug)]
pub struct TlsAcceptor {
    settings: ServerTls,
    present: ArcSwap<Present>,
}

/// What connections from now on get.
#[derive(Debug)]
struct Present {
    config: Arc<ServerConfig>,
    certificates: Vec<CertificateState>,
}

impl TlsAcceptor {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// Where a file is missing or not what it should be, with its place in the configuration.
    pub fn load(settings: &ServerTls) -> Result<Self, TlsError> {
        let present = ArcSwap::from_pointee(build(settings)?);
        Ok(Self { settings: settings.clone(), present })
    }

    /// Reads the files again: connections from now on get what they hold. Those that are open
    /// go on as they are.
    ///
    /// # Errors
    /// As [`TlsAcceptor::load`]; what was there before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut fresh = build(&self.settings)?;
        if self.settings.client_certificates == ClientCertificates::Off {
            // Nobody's trust hangs on it: clients may resume what they had.
            let before = &self.present.load().config;
            let config = Arc::make_mut(&mut fresh.config);
            config.ticketer = before.ticketer.clone();
            config.session_storage = before.session_storage.clone();
        }
        self.present.store(Arc::new(fresh));
        Ok(())
    }

    /// The certificates that are shown now, each file once.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateState> {
        self.present.load().certificates.clone()
    }

    /// The files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        let certificates = self.settings.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
        certificates.chain(&self.settings.client_ca).map(PathBuf::as_path)
    }

    /// Whether cleartext connections may begin it.
    #[must_use]
    pub fn has_stls(&self) -> bool {
        self.settings.stls
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// Where the client does not, or takes too long. It has been sent an alert.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(Stream, TlsSession)> {
        let acceptor = tokio_rustls::TlsAcceptor::from(self.present.load().config.clone());
        let within = self.settings.handshake_timeout;
        let stream = tokio::time::timeout(within, acceptor.accept(stream)).await??;
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

    /// How long a handshake may take.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        self.settings.handshake_timeout
    }
}

fn build(settings: &ServerTls) -> Result<Present, TlsError> {
    let fail = |error: &dyn std::fmt::Display| TlsError::new(&settings.location, error.to_string());
    let mut keys = settings.certificates.iter().map(certified_key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(fail(&"there is no certificate"));
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
        (Some(ca), wanted @ (ClientCertificates::Optional | ClientCertificates::Required)) => {
            let roots = Arc::new(roots(ca, &settings.location)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match wanted {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fail(&error))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates::new(first, &keys)));
    config.session_storage = ServerSessionMemoryCache::new(REMEMBERED);
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| fail(&error))?;
    // A client that polls uses one at the next time.
    config.send_tls13_tickets = 1;
    config.ignore_client_order = true;
    // A client that names protocols and not this one means somebody else (ALPACA): it is refused.
    config.alpn_protocols = vec![b"pop3".to_vec()];
    Ok(Present { config: Arc::new(config), certificates })
}
