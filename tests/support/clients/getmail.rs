//! getmail6: collects for local delivery and leaves everything on the server.

use tempfile::TempDir;

use super::lmtp::Inbox;
use super::{Client, Poll, write_private};
use crate::support::account::{Account, Security};
use crate::support::tool::Tool;

const GETMAIL: Tool = Tool { program: "getmail", package: "getmail6" };

/// getmail that leaves messages on the server and knows them by their unique-ids.
pub struct Getmail {
    // Before the home that it lives in, so that it ends first.
    inbox: Inbox,
    home: TempDir,
}

impl Getmail {
    /// One that has never polled.
    pub fn that_keeps() -> Self {
        let home = TempDir::with_prefix("getmail-").expect("a temporary folder");
        Self { inbox: Inbox::at(home.path()), home }
    }
}

impl Client for Getmail {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let Account { server, user, password, security } = account;
        let (retriever, tls) = match security {
            Security::Cleartext => ("SimplePOP3Retriever", String::new()),
            Security::Tls(ca) => ("SimplePOP3SSLRetriever", format!("ca_certs = {}\n", ca.display())),
            Security::Stls(_) => panic!("getmail does not know STLS"),
        };
        // Its deliveries to files and programs fork, and wait for a child that has gone already if that
        // one was fast.
        let configuration = format!(
            "[retriever]\n\
             type = {retriever}\n\
             server = {host}\n\
             port = {port}\n\
             username = {user}\n\
             password = {password}\n\
             {tls}\
             [destination]\n\
             type = MDA_lmtp\n\
             host = {inbox}\n\
             override = {user}@example.org\n\
             [options]\n\
             read_all = false\n\
             delete = false\n",
            host = account.host(),
            port = server.port(),
            inbox = self.inbox.socket().display(),
        );
        write_private(&home.join("configuration"), &configuration);
        let here = home.to_str().expect("a path in UTF-8");
        let ending = GETMAIL.run(home, ["--getmaildir", here, "--rcfile", "configuration"]);
        Poll { exit: ending.code, total: self.inbox.count(), said: ending.said }
    }
}
