//! The admin interface: its socket, its addresses, and who may use them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use reprieve_settings::format::{Format, Type, boolean, custom, list, optional, path};
use reprieve_settings::{Error, Key, Location, Section, Table, Value};

use super::tls::{ServerTls, certificate_files};

/// A file whose first line is a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// The file's path.
    pub path: PathBuf,
    /// Where it is configured, for errors that are found when it is read.
    pub location: Location,
}

/// The admin interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// Path of the Unix socket, if there is one.
    pub socket: Option<PathBuf>,
    /// Path of the Unix datagram socket for signals of new mail.
    pub new_mail_socket: Option<PathBuf>,
    /// Addresses for HTTP: the dashboard, metrics, and everything that the socket offers.
    pub listen: Vec<SocketAddr>,
    /// Host names, in lower case, by which browsers may ask for the addresses.
    pub hosts: Vec<String>,
    /// The token that allows everything.
    pub token_file: Option<TokenFile>,
    /// The token for reading.
    pub read_token_file: Option<TokenFile>,
    /// The token for signals of new mail.
    pub new_mail_token_file: Option<TokenFile>,
    /// TLS at the addresses.
    pub tls: Option<ServerTls>,
    /// Whether the users who poll most are counted and shown by name.
    pub top_pollers: bool,
}

impl AdminConfig {
    /// Addresses beyond the loopback interface without TLS, for a warning.
    pub fn exposed(&self) -> impl Iterator<Item = SocketAddr> {
        let in_cleartext = self.listen.iter().filter(|_| self.tls.is_none());
        in_cleartext.copied().filter(|address| !address.ip().is_loopback())
    }

    /// The directory of a socket, if it does not exist, with the key that names the socket.
    pub fn missing_socket_directory(&self) -> Option<(&'static str, &Path)> {
        let sockets = [("admin.socket", &self.socket), ("admin.new-mail-socket", &self.new_mail_socket)];
        let directories =
            sockets.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?.parent()?)));
        let mut missing = directories.filter(|(_, path)| !path.as_os_str().is_empty() && !path.is_dir());
        missing.next()
    }
}

/// The warning about an [exposed](AdminConfig::exposed) address.
pub(crate) fn exposed_warning(address: SocketAddr) -> String {
    format!(
        "admin.listen: {address} is unencrypted HTTP, so the token is sent unencrypted: set admin.certificate \
         and admin.key, or listen on 127.0.0.1 and connect through `ssh -L`"
    )
}

/// What is wrong with a [missing directory](AdminConfig::missing_socket_directory).
pub(crate) fn missing_directory(key: &str, directory: &Path) -> String {
    format!(
        "{key}: the directory {} does not exist: create it for the user that Reprieve runs as, or set \
         another path",
        directory.display()
    )
}

/// `[admin]`
#[derive(Default)]
pub(super) struct AdminTable {
    config: AdminConfig,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Table for AdminTable {
    type Output = AdminConfig;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        [address_keys(), access_keys()].into_iter().flatten().collect()
    }

    fn build(self, section: &Section<'_, '_>) -> Result<AdminConfig, Error> {
        let Self { mut config, certificate, key } = self;
        config.tls = certificate_files(section, certificate, key).map(ServerTls::new);
        if config.socket.is_none() && config.listen.is_empty() && config.new_mail_socket.is_none() {
            return Err(section.error(
                "`admin` listens nowhere; set socket = \"/run/reprieve/admin.sock\", listen = [\"127.0.0.1:8110\"], or both"
                    .to_owned(),
            ));
        }
        require_token(&config, section)?;
        Ok(config)
    }
}

fn address_keys() -> Vec<Key<AdminTable>> {
    vec![
        Key::new(
            "socket",
            |admin: &mut AdminTable| &mut admin.config.socket,
            optional(path()),
            "Unix socket for `reprieve ctl`. Only root and the user that Reprieve runs as can open it.",
        )
        .example("\"/run/reprieve/admin.sock\""),
        Key::new(
            "new-mail-socket",
            |admin: &mut AdminTable| &mut admin.config.new_mail_socket,
            optional(path()),
            "Unix datagram socket for signals of new mail. Every user who can enter its directory may send: \
             delivery agents run as many users.",
        )
        .example("\"/run/reprieve/new-mail.sock\""),
        Key::new(
            "listen",
            |admin: &mut AdminTable| &mut admin.config.listen,
            list(address()),
            "Addresses for HTTP: the dashboard, the metrics, and everything that the socket offers.",
        )
        .example("[\"127.0.0.1:8110\"]"),
        Key::new(
            "certificate",
            |admin: &mut AdminTable| &mut admin.certificate,
            optional(path()),
            "Certificate chain (PEM). With it, `listen` speaks HTTPS only.",
        )
        .needs("listen")
        .needs("key")
        .example("\"/etc/reprieve/admin.pem\""),
        Key::new(
            "key",
            |admin: &mut AdminTable| &mut admin.key,
            optional(path()),
            "Private key of `certificate` (PEM).",
        )
        .needs("certificate")
        .example("\"/etc/reprieve/admin.key\""),
        Key::new(
            "top-pollers",
            |admin: &mut AdminTable| &mut admin.config.top_pollers,
            boolean(),
            "Count the users who poll most, and show their names on the dashboard.",
        ),
    ]
}

fn access_keys() -> Vec<Key<AdminTable>> {
    vec![
        Key::new(
            "token-file",
            |admin: &mut AdminTable| &mut admin.config.token_file,
            optional(token_file()),
            "File whose first line is the token that allows everything, of 16 characters or more \
             (`openssl rand -base64 24`). If other machines can reach an address of `listen`, this or \
             `read-token-file` is required. Without a token, everybody on this machine can read over \
             `listen`, and nobody can change anything.",
        )
        .needs("listen")
        .example("\"/etc/reprieve/admin.token\""),
        Key::new(
            "read-token-file",
            |admin: &mut AdminTable| &mut admin.config.read_token_file,
            optional(token_file()),
            "File whose first line is the token for reading. If it is set, nobody can read without a token.",
        )
        .needs("listen")
        .example("\"/etc/reprieve/admin-read.token\""),
        Key::new(
            "new-mail-token-file",
            |admin: &mut AdminTable| &mut admin.config.new_mail_token_file,
            optional(token_file()),
            "File whose first line is the token for signals of new mail. It allows nothing else, and \
             `read-token-file` does not allow signals.",
        )
        .needs("listen")
        .example("\"/etc/reprieve/new-mail.token\""),
        Key::new(
            "hosts",
            |admin: &mut AdminTable| &mut admin.config.hosts,
            list(host_name()),
            "Host names by which browsers may ask for `listen`, besides its addresses and `localhost`.",
        )
        .needs("listen")
        .example("[\"reprieve.example\"]"),
    ]
}

/// Requires a token for addresses that other machines can reach.
fn require_token(config: &AdminConfig, section: &Section<'_, '_>) -> Result<(), Error> {
    let reachable = config.listen.iter().find(|address| !address.ip().is_loopback());
    let files = [&config.token_file, &config.read_token_file, &config.new_mail_token_file];
    match (section.value("listen"), reachable) {
        (Some(value), Some(address)) if files.iter().all(|file| file.is_none()) => Err(value.error(format!(
            "has {address}, which other machines can reach: set `admin.token-file` to a file whose first \
                 line is a token of 16 characters or more (openssl rand -base64 24), or listen on 127.0.0.1"
        ))),
        _ => Ok(()),
    }
}

fn address() -> impl Format<SocketAddr> {
    custom(
        Type::String("address:port"),
        |value| {
            let address = value.text().ok().and_then(|text| text.parse().ok());
            address.ok_or_else(|| value.expected("an address with its port, such as \"127.0.0.1:8110\""))
        },
        |_| None,
    )
}

fn token_file() -> impl Format<TokenFile> {
    custom(
        Type::String("path"),
        |value| Ok(TokenFile { path: value.path()?, location: value.location() }),
        |_| None,
    )
}

/// A host name as browsers send it, without a port; in lower case.
fn host_name() -> impl Format<String> {
    fn parse(value: &Value<'_, '_>) -> Result<String, Error> {
        let text = value.text()?;
        let is_name = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if is_name || text.parse::<IpAddr>().is_ok() {
            return Ok(text.to_ascii_lowercase());
        }
        Err(value.expected("a host name without a port, such as \"reprieve.example\""))
    }
    custom(Type::String("host name"), parse, |_| None)
}
