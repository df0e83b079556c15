//! TLS with clients and with nodes.

use std::path::PathBuf;
use std::time::Duration;

use reprieve_settings::format::{
    Format, Type, boolean, list, optional, path, positive_duration, table, text, word,
};
use reprieve_settings::{CertificateFiles, Error, Key, Location, Section, Table, Value};

/// Whether clients are asked for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// No.
    Off,
    /// Yes; a client without one can connect, one with an invalid one cannot.
    Optional,
    /// Yes; only clients with a valid one can connect.
    Required,
}

/// The part of a client's certificate that is the user name, for SASL EXTERNAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUser {
    /// The subject's common name.
    CommonName,
    /// The first e-mail address among the subject's alternative names.
    Email,
}

/// The oldest version of TLS that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246)
    Tls12,
    /// TLS 1.3 (RFC 8446)
    Tls13,
}

/// TLS of a virtual server, or of the admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The first is for clients that name no server, or one that no certificate is for.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version that is accepted.
    pub min_version: MinVersion,
    /// Whether connections in cleartext can start TLS with STLS (RFC 2595).
    pub stls: bool,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// Certificate authorities of the clients (PEM).
    pub client_ca: Option<PathBuf>,
    /// The part of a client's certificate that is the user name.
    pub user_from: CertificateUser,
    /// Maximum duration of a handshake.
    pub handshake_timeout: Duration,
    /// Where it is configured.
    pub location: Location,
}

/// How TLS starts on a connection to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NodeTlsMode {
    /// No TLS
    Off,
    /// STLS after the greeting; a server without STLS is not used
    Stls,
    /// TLS from the start (POP3S)
    Implicit,
}

/// TLS with the nodes of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTls {
    /// How it starts.
    pub mode: NodeTlsMode,
    /// Whether a node's certificate must be valid.
    pub verify: bool,
    /// Certificate authorities of the nodes (PEM); `None` for the system trust store.
    pub ca: Option<PathBuf>,
    /// The name that the certificates must have, if it is not the node's.
    pub server_name: Option<String>,
    /// Client certificate, for nodes that ask for one.
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
    /// TLS with one certificate and default settings.
    #[must_use]
    pub fn new(certificate: CertificateFiles) -> Self {
        Self { location: certificate.location.clone(), certificates: vec![certificate], ..Self::unset() }
    }

    /// Default settings without a certificate.
    fn unset() -> Self {
        Self {
            certificates: Vec::new(),
            min_version: MinVersion::Tls12,
            stls: true,
            client_certificates: ClientCertificates::Off,
            client_ca: None,
            user_from: CertificateUser::CommonName,
            handshake_timeout: Duration::from_secs(15),
            location: Location::default(),
        }
    }
}

/// The files of a `certificate` and its `key`, which need each other.
pub(super) fn certificate_files(
    section: &Section<'_, '_>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Option<CertificateFiles> {
    let (chain, key) = certificate.zip(key)?;
    let location = section.value("certificate").map_or_else(|| section.location(), |value| value.location());
    Some(CertificateFiles { chain, key, location })
}

/// A table of a `certificate` and its `key`, both of which are required.
#[derive(Default)]
struct CertificateTable {
    certificate: PathBuf,
    key: PathBuf,
}

impl Table for CertificateTable {
    type Output = CertificateFiles;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "certificate",
                |files: &mut Self| &mut files.certificate,
                path(),
                "Certificate chain (PEM). The user that Reprieve runs as must be able to read it.",
            )
            .required("\"/etc/reprieve/fullchain.pem\""),
            Key::new(
                "key",
                |files: &mut Self| &mut files.key,
                path(),
                "Private key of `certificate` (PEM). The user that Reprieve runs as must be able to read it.",
            )
            .required("\"/etc/reprieve/privkey.pem\""),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<CertificateFiles, Error> {
        Ok(CertificateFiles { chain: self.certificate, key: self.key, location: section.location() })
    }
}

/// `[virtual-server.tls]`
pub(super) struct ServerTlsTable {
    files: CertificateTable,
    additional: Vec<CertificateFiles>,
    tls: ServerTls,
}

impl Table for ServerTlsTable {
    type Output = ServerTls;

    fn defaults() -> Self {
        Self { files: CertificateTable::default(), additional: Vec::new(), tls: ServerTls::unset() }
    }

    fn keys() -> Vec<Key<Self>> {
        let mut keys: Vec<_> = CertificateTable::keys()
            .into_iter()
            .map(|key| key.within(|table: &mut Self| &mut table.files))
            .collect();
        keys.extend([
            Key::new(
                "additional-certificates",
                |table: &mut Self| &mut table.additional,
                list(table::<CertificateTable>()),
                "Certificates for further names. The name that the client asks for selects one.",
            )
            .example("[{ certificate = \"/etc/reprieve/other.pem\", key = \"/etc/reprieve/other.key\" }]"),
            Key::new(
                "min-version",
                |table: &mut Self| &mut table.tls.min_version,
                word(&[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)]),
                "The oldest version of TLS that is accepted.",
            ),
            Key::new(
                "stls",
                |table: &mut Self| &mut table.tls.stls,
                boolean(),
                "Whether `listen` offers STLS (RFC 2595).",
            ),
            Key::new(
                "handshake-timeout",
                |table: &mut Self| &mut table.tls.handshake_timeout,
                positive_duration(),
                "Maximum duration of a TLS handshake.",
            ),
        ]);
        keys.extend(client_certificate_keys());
        keys
    }

    fn build(self, section: &Section<'_, '_>) -> Result<ServerTls, Error> {
        let mut tls = self.tls;
        tls.certificates = vec![self.files.build(section)?];
        tls.certificates.extend(self.additional);
        tls.location = section.location();
        // Certificate authorities without more mean that clients are asked.
        if tls.client_ca.is_some() && section.value("client-certificates").is_none() {
            tls.client_certificates = ClientCertificates::Optional;
        }
        match section.value("client-certificates") {
            Some(value) if tls.client_ca.is_none() && tls.client_certificates != ClientCertificates::Off => {
                Err(value.error("needs `client-ca`, the certificate authorities of the clients"))
            }
            _ => Ok(tls),
        }
    }
}

fn client_certificate_keys() -> Vec<Key<ServerTlsTable>> {
    type Tls = ServerTlsTable;
    vec![
        Key::new(
            "client-ca",
            |table: &mut Tls| &mut table.tls.client_ca,
            optional(path()),
            "Certificate authorities of clients (PEM), for the mechanism EXTERNAL.",
        )
        .example("\"/etc/reprieve/users.pem\""),
        Key::new(
            "client-certificates",
            |table: &mut Tls| &mut table.tls.client_certificates,
            word(&[
                ("off", ClientCertificates::Off),
                ("optional", ClientCertificates::Optional),
                ("required", ClientCertificates::Required),
            ]),
            "Whether clients are asked for certificates: `\"optional\"` accepts clients without one, \
             `\"required\"` does not.",
        )
        .default_text("`\"optional\"` with `client-ca`, otherwise `\"off\"`")
        .example("\"optional\""),
        Key::new(
            "user-from",
            |table: &mut Tls| &mut table.tls.user_from,
            word(&[("common-name", CertificateUser::CommonName), ("email", CertificateUser::Email)]),
            "The part of a client's certificate that is the user name.",
        ),
    ]
}

const MODES: &[(&str, NodeTlsMode)] =
    &[("off", NodeTlsMode::Off), ("stls", NodeTlsMode::Stls), ("implicit", NodeTlsMode::Implicit)];

/// `[pool.NAME.tls]`
#[derive(Default)]
struct NodeTlsTable {
    tls: NodeTls,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Table for NodeTlsTable {
    type Output = NodeTls;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "mode",
                |table: &mut Self| &mut table.tls.mode,
                word(MODES),
                "How TLS starts: by `\"stls\"` after the greeting, or at once (`\"implicit\"`, POP3S).",
            )
            .required("\"stls\""),
            Key::new(
                "verify",
                |table: &mut Self| &mut table.tls.verify,
                boolean(),
                "Whether a node's certificate must be valid.",
            ),
            Key::new(
                "ca",
                |table: &mut Self| &mut table.tls.ca,
                optional(path()),
                "Certificate authorities of the nodes (PEM).",
            )
            .default_text("the system trust store")
            .example("\"/etc/reprieve/ca.pem\""),
            Key::new(
                "server-name",
                |table: &mut Self| &mut table.tls.server_name,
                optional(text()),
                "The name that the nodes' certificates must have.",
            )
            .default_text("the node's host name")
            .example("\"mail.example\""),
            Key::new(
                "certificate",
                |table: &mut Self| &mut table.certificate,
                optional(path()),
                "Certificate chain (PEM) for nodes that ask for a client certificate.",
            )
            .needs("key")
            .example("\"/etc/reprieve/client.pem\""),
            Key::new(
                "key",
                |table: &mut Self| &mut table.key,
                optional(path()),
                "Private key of `certificate` (PEM).",
            )
            .needs("certificate")
            .example("\"/etc/reprieve/client.key\""),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<NodeTls, Error> {
        let certificate = certificate_files(section, self.certificate, self.key);
        Ok(NodeTls { certificate, location: section.location(), ..self.tls })
    }
}

struct NodeTlsFormat;

/// The mode alone, or a table.
pub(super) fn node_tls() -> impl Format<NodeTls> {
    NodeTlsFormat
}

impl Format<NodeTls> for NodeTlsFormat {
    fn parse(&self, value: &Value<'_, '_>) -> Result<NodeTls, Error> {
        if value.is_table() {
            return NodeTlsTable::read(&value.section()?);
        }
        Ok(NodeTls { mode: value.choice(MODES)?, location: value.location(), ..NodeTls::default() })
    }

    fn print(&self, tls: &NodeTls) -> Option<String> {
        word(MODES).print(&tls.mode)
    }

    fn describe(&self) -> Type {
        Type::Either(vec![word(MODES).describe(), Type::Table(NodeTlsTable::describe())])
    }
}
