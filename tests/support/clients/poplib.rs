//! Python's poplib, the library of many scripts.

use tempfile::TempDir;

use super::{Client, Keeps, Poll, files_in, message_ids_in, write_private};
use crate::support::account::{Account, Security};
use crate::support::tool::Tool;

const PYTHON: Tool = Tool { program: "python3", package: "python3" };

/// A typical script: asks for everything and retrieves new messages.
const SCRIPT: &str = include_str!("poplib.py");

/// A poplib script that leaves messages on the server and recognises them by unique-id.
pub struct Poplib {
    home: TempDir,
}

impl Poplib {
    /// A client that has not polled yet.
    pub fn that_keeps() -> Self {
        Self { home: TempDir::with_prefix("poplib-").expect("a temporary folder") }
    }
}

impl Client for Poplib {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let delivered = home.join("delivered");
        std::fs::create_dir_all(&delivered).expect("a folder");
        let Account { server, user, password, security } = account;
        let tls = match security {
            Security::Cleartext => String::new(),
            Security::Stls(ca) => format!("stls {}", ca.display()),
            Security::Tls(ca) => format!("tls {}", ca.display()),
        };
        write_private(
            &home.join("account"),
            &format!("{}\n{}\n{user}\n{password}\n{tls}\n", account.host(), server.port()),
        );
        write_private(&home.join("poll.py"), SCRIPT);
        let ending = PYTHON.run(home, ["-I", "poll.py", "account", "uids", "delivered"]);
        Poll { exit: ending.code, total: files_in(&delivered), said: ending.said }
    }
}

impl Keeps for Poplib {
    fn message_ids(&self) -> Vec<String> {
        message_ids_in(&self.home.path().join("delivered"))
    }
}
