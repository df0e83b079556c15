//! Where a client collects mail, and as whom.

use std::net::SocketAddr;

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
}
