//! The client side of TLS, for connections to nodes.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;

use super::files::{TlsError, certified_key, load_roots};
use crate::config::NodeTls;
use crate::net::Stream;

/// Opens TLS connections to the nodes of a pool.
#[derive(Clone)]
pub struct NodeConnector {
    connector: tokio_rustls::TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for NodeConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeConnector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl NodeConnector {
    /// Reads the certificate files.
    ///
    /// # Errors
    /// If a file is missing or invalid, with its location in the configuration.
    pub fn load(settings: &NodeTls) -> Result<Self, TlsError> {
        let fail = |message: String| TlsError::new(&settings.location, message);
        let provider = super::provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(error.to_string()))?;
        let builder = if settings.verify {
            let roots = match &settings.ca {
                Some(file) => load_roots(file, &settings.location)?,
                None => system_roots(&settings.location)?,
            };
            builder.with_root_certificates(roots)
        } else {
            let verifier = Arc::new(AcceptAnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        };
        let config = match &settings.certificate {
            Some(files) => {
                let key = certified_key(files)?;
                let resolver = rustls::sign::SingleCertAndKey::from(key);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
            None => builder.with_no_client_auth(),
        };
        let server_name = match &settings.server_name {
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| fail(format!("server-name {name:?} is not a valid host name")))?,
            ),
            None => None,
        };
        Ok(Self { connector: Arc::new(config).into(), server_name })
    }

    /// Performs the TLS handshake. The node's certificate must be valid for `server-name`, or for
    /// `host` if that is not set.
    ///
    /// # Errors
    /// If the handshake fails, or the certificate is invalid.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let stream = self.connector.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

/// Loads the system trust store.
fn system_roots(location: &str) -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(TlsError::new(
            location,
            format!("the system trust store is empty{reason}; install ca-certificates, or set `ca`"),
        ));
    }
    Ok(roots)
}

/// Accepts any certificate, for `verify = false`. The node must still prove that it has its key.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
