//! Where a client collects mail, and as whom.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The password of every user whose password does not matter to the test.
///
/// The space is deliberate: POP3 passwords may contain them.
pub const PASSWORD: &str = "open sesame";

/// What is typed into a client's set-up: a server, a user and a password.
#[derive(Clone, Debug)]
pub struct Account {
    /// The server to connect to: Dovecot itself or the proxy before it.
    pub server: SocketAddr,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
    /// How the connection is encrypted.
    pub security: Security,
}

/// How a client encrypts its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    #[default]
    Cleartext,
    /// By STLS; the server's certificate must be signed by the one in this file.
    Stls(PathBuf),
    /// From the start; the same.
    Tls(PathBuf),
}

impl Account {
    /// The same account at another door of the server.
    pub fn by(&self, server: SocketAddr, security: Security) -> Self {
        Self { server, security, ..self.clone() }
    }

    /// The server's name: that in its certificate where there is one.
    pub fn host(&self) -> String {
        match self.security {
            Security::Cleartext => self.server.ip().to_string(),
            Security::Stls(_) | Security::Tls(_) => "localhost".to_owned(),
        }
    }
}
