//! What a mail client is configured with.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The password of users in tests that do not care about passwords.
///
/// It has a space because POP3 passwords may have them.
pub const PASSWORD: &str = "open sesame";

/// A mail account as a client is configured with it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The server to connect to: the mail server, or the proxy in front of it.
    pub server: SocketAddr,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// How the connection is encrypted.
    pub security: Security,
}

/// How a client encrypts its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Without encryption.
    #[default]
    Cleartext,
    /// With STLS; the file has the CA certificate.
    Stls(PathBuf),
    /// With implicit TLS; the file has the CA certificate.
    Tls(PathBuf),
}

impl Account {
    /// The same account at another address.
    pub fn by(&self, server: SocketAddr, security: Security) -> Self {
        Self { server, security, ..self.clone() }
    }

    /// The server's host name: with TLS, the one in its certificate.
    pub fn host(&self) -> String {
        match self.security {
            Security::Cleartext => self.server.ip().to_string(),
            Security::Stls(_) | Security::Tls(_) => "localhost".to_owned(),
        }
    }
}
