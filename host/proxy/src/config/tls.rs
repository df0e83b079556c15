//! TLS towards clients and towards nodes: what can be set of it.

use std::path::PathBuf;
use std::time::Duration;

use reprieve_settings::{CertificateFiles, Error, Location, Section, Value};

/// Whether clients show certificates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    Off,
    /// They are asked; who shows one must show a right one.
    Optional,
    /// Who shows none cannot connect.
    Required,
}

/// Which part of a client's certificate is his user name, for SASL EXTERNAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUser {
    /// The subject's common name.
    CommonName,
    /// The first e-mail address among the subject's alternative names.
    Email,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeastVersion {
    /// TLS 1.2 (RFC 5246)
    Tls12,
    /// TLS 1.3 (RFC 8446)
    Tls13,
}

/// TLS of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The first is for clients that name no server, or one that none has.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version.
    pub least_version: LeastVersion,
    /// Whether cleartext connections can begin TLS by STLS.
    pub stls: bool,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// Who signs those of clients, in PEM.
    pub client_ca: Option<PathBuf>,
    /// Which part of them is a user's name.
    pub user_from: CertificateUser,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Where it is configured.
    pub location: Location,
}

/// How TLS begins on a connection to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NodeTlsMode {
    /// Not at all
    Off,
    /// By STLS after the greeting; a server that does not know it is not logged in at
    Stls,
    /// At once (POP3S)
    Implicit,
}

/// TLS towards the nodes of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTls {
    /// How it begins.
    pub mode: NodeTlsMode,
    /// Whether a node's certificate must be right.
    pub verify: bool,
    /// Who signs those of nodes, in PEM; those whom the machine trusts without it.
    pub ca: Option<PathBuf>,
    /// The name that certificates must have, where it is not the node's.
    pub server_name: Option<String>,
    /// What is shown to nodes that ask for a certificate.
    pub certificate: Option<CertificateFiles>,
    /// Where it is configured.
    pub location: Location,
}

impl Default for NodeTls {
    fn default() -> Self {
        Self {
            mode: NodeTlsMode::Off,
            verify: true,
            ca: None,
            server_name: None,
            certificate: None,
            location: "tls".into(),
        }
    }
}

impl ServerTls {
    /// TLS by one certificate, with the usual settings.
    #[must_use]
    pub fn new(certificate: CertificateFiles) -> Self {
        Self {
            location: certificate.location.clone(),
            certificates: vec![certificate],
            least_version: LeastVersion::Tls12,
            stls: true,
            client_certificates: ClientCertificates::Off,
            client_ca: None,
            user_from: CertificateUser::CommonName,
            handshake_timeout: Duration::from_secs(15),
        }
    }
}

fn certificate_files(section: &mut Section<'_, '_>) -> Result<CertificateFiles, Error> {
    let chain = section.required("certificate", "\"/etc/reprieve/fullchain.pem\"")?.path()?;
    let key = section.required("key", "\"/etc/reprieve/privkey.pem\"")?.path()?;
    Ok(CertificateFiles { chain, key, location: section.location() })
}

pub(super) fn server_tls(value: &Value<'_, '_>) -> Result<ServerTls, Error> {
    let mut section = value.section()?;
    let mut tls = ServerTls::new(certificate_files(&mut section)?);
    if let Some(value) = section.get("more") {
        for item in value.list()? {
            let mut section = item.section()?;
            tls.certificates.push(certificate_files(&mut section)?);
            section.finish()?;
        }
    }
    if let Some(value) = section.get("least-version") {
        tls.least_version = value.choice(&[("1.2", LeastVersion::Tls12), ("1.3", LeastVersion::Tls13)])?;
    }
    if let Some(value) = section.get("stls") {
        tls.stls = value.boolean()?;
    }
    if let Some(value) = section.get("client-ca") {
        tls.client_ca = Some(value.path()?);
        tls.client_certificates = ClientCertificates::Optional;
    }
    if let Some(value) = section.get("client-certificates") {
        tls.client_certificates = value.choice(&[
            ("off", ClientCertificates::Off),
            ("optional", ClientCertificates::Optional),
            ("required", ClientCertificates::Required),
        ])?;
        if tls.client_certificates != ClientCertificates::Off && tls.client_ca.is_none() {
            return Err(
                value.error("needs `client-ca`, the file of those who sign the clients' certificates")
            );
        }
    }
    if let Some(value) = section.get("user-from") {
        tls.user_from = value
            .choice(&[("common-name", CertificateUser::CommonName), ("email", CertificateUser::Email)])?;
    }
    if let Some(value) = section.get("handshake-timeout") {
        tls.handshake_timeout = value.positive_duration()?;
    }
    section.finish()?;
    Ok(tls)
}

pub(super) fn node_tls(value: &Value<'_, '_>) -> Result<NodeTls, Error> {
    const MODES: [(&str, NodeTlsMode); 3] =
        [("off", NodeTlsMode::Off), ("stls", NodeTlsMode::Stls), ("implicit", NodeTlsMode::Implicit)];
    let mut tls = NodeTls { location: value.location(), ..NodeTls::default() };
    if !value.is_table() {
        tls.mode = value.choice(&MODES)?;
        return Ok(tls);
    }
    let mut section = value.section()?;
    tls.mode = section.required("mode", "\"stls\"")?.choice(&MODES)?;
    if let Some(value) = section.get("verify") {
        tls.verify = value.boolean()?;
    }
    if let Some(value) = section.get("ca") {
        tls.ca = Some(value.path()?);
    }
    if let Some(value) = section.get("server-name") {
        tls.server_name = Some(value.text()?.to_owned());
    }
    let (certificate, key) = (section.get("certificate"), section.get("key"));
    match (certificate, key) {
        (Some(chain), Some(key)) => {
            let location = chain.location();
            tls.certificate = Some(CertificateFiles { chain: chain.path()?, key: key.path()?, location });
        }
        (Some(lonely), None) => return Err(lonely.error("needs `key` beside it")),
        (None, Some(lonely)) => return Err(lonely.error("needs `certificate` beside it")),
        (None, None) => {}
    }
    section.finish()?;
    Ok(tls)
}
