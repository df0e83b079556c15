//! The admin listener: who can ask a running Reprieve, and how they are kept from more.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use reprieve_settings::{CertificateFiles, Error, Location, Value};

use super::tls::ServerTls;

/// A file whose first line is a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// Its path.
    pub path: PathBuf,
    /// Where it is named, for errors that show only when it is read.
    pub location: Location,
}

/// How an administrator asks and tells a running Reprieve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// Path of the Unix socket; nowhere without it.
    pub socket: Option<PathBuf>,
    /// Addresses for HTTP: the dashboard, and what the socket takes too.
    pub listen: Vec<SocketAddr>,
    /// Names, in lower case, by which browsers may ask for the addresses.
    pub hosts: Vec<String>,
    /// Who shows this token may change and see everything.
    pub token_file: Option<TokenFile>,
    /// Who shows this one may see.
    pub read_token_file: Option<TokenFile>,
    /// TLS of the addresses.
    pub tls: Option<ServerTls>,
    /// Whether it is counted who polls most.
    pub worst_pollers: bool,
}

impl AdminConfig {
    /// Addresses that others can reach and listen in to, for a warning.
    pub fn exposed(&self) -> impl Iterator<Item = SocketAddr> {
        let in_cleartext = self.listen.iter().filter(|_| self.tls.is_none());
        in_cleartext.copied().filter(|address| !address.ip().is_loopback())
    }
}

/// What is said of an address that is [exposed](AdminConfig::exposed).
pub(crate) fn exposed_warning(address: SocketAddr) -> String {
    format!(
        "admin.listen: {address} is unencrypted HTTP, and who listens in on the way reads the token: set \
         admin.certificate and admin.key, or listen on loopback and come by `ssh -L`"
    )
}

pub(super) fn admin(value: &Value<'_, '_>) -> Result<AdminConfig, Error> {
    let mut section = value.section()?;
    let mut admin = AdminConfig::default();
    if let Some(value) = section.get("socket") {
        admin.socket = Some(value.path()?);
    }
    let listen = section.get("listen");
    for item in listen.as_ref().map(Value::list).transpose()?.unwrap_or_default() {
        let expected = "an address with its port, such as \"127.0.0.1:8110\"";
        let address = item.text().ok().and_then(|text| text.parse().ok());
        admin.listen.push(address.ok_or_else(|| item.expected(expected))?);
    }
    let mut of_tcp = Vec::new();
    if let Some(value) = section.get("hosts") {
        for item in value.list()? {
            admin.hosts.push(host_name(&item)?);
        }
        of_tcp.push(value);
    }
    if let Some(value) = section.get("token-file") {
        admin.token_file = Some(TokenFile { path: value.path()?, location: value.location() });
        of_tcp.push(value);
    }
    if let Some(value) = section.get("read-token-file") {
        admin.read_token_file = Some(TokenFile { path: value.path()?, location: value.location() });
        of_tcp.push(value);
    }
    match (section.get("certificate"), section.get("key")) {
        (Some(chain), Some(key)) => {
            let location = chain.location();
            let files = CertificateFiles { chain: chain.path()?, key: key.path()?, location };
            admin.tls = Some(ServerTls::new(files));
            of_tcp.push(chain);
        }
        (Some(lonely), None) => return Err(lonely.error("needs `key` beside it")),
        (None, Some(lonely)) => return Err(lonely.error("needs `certificate` beside it")),
        (None, None) => {}
    }
    if let Some(value) = section.get("worst-pollers") {
        admin.worst_pollers = value.boolean()?;
    }
    if admin.socket.is_none() && admin.listen.is_empty() {
        return Err(section.error(
            "`admin` listens nowhere; set socket = \"/run/reprieve/admin.sock\", listen = [\"127.0.0.1:8110\"], or both"
                .to_owned(),
        ));
    }
    if admin.listen.is_empty()
        && let Some(value) = of_tcp.first()
    {
        return Err(
            value.error("is for `admin.listen`, which is not set; for the socket, its permissions count")
        );
    }
    if let (Some(value), Some(address)) =
        (&listen, admin.listen.iter().find(|address| !address.ip().is_loopback()))
        && admin.token_file.is_none()
        && admin.read_token_file.is_none()
    {
        return Err(value.error(format!(
            "has {address}, which others can reach: that needs `admin.token-file`, the path of a file whose \
             first line is a token of 16 characters or more (openssl rand -base64 24), or listen on 127.0.0.1"
        )));
    }
    section.finish()?;
    Ok(admin)
}

/// A name as it stands in a browser's address line, without a port.
fn host_name(item: &Value<'_, '_>) -> Result<String, Error> {
    let text = item.text()?;
    let is_name = !text.is_empty()
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet));
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_ascii_lowercase());
    }
    Err(item.expected("a name as browsers ask for it, without a port, such as \"reprieve.example\""))
}
