//! getmail6: fetches for local delivery and leaves messages on the server.

use tempfile::TempDir;

use super::lmtp::Inbox;
use super::{Client, Keeps, Poll, write_private};
use crate::support::account::{Account, Security};
use crate::support::tool::Tool;

const GETMAIL: Tool = Tool { program: "getmail", package: "getmail6" };

/// getmail that leaves messages on the server and recognises them by unique-id.
pub struct Getmail {
    // Before `home`, which has its socket, so that it is dropped first.
    inbox: Inbox,
    home: TempDir,
}

impl Getmail {
    /// A client that has not polled yet.
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
        // LMTP, because getmail's deliveries to files and programs fork, and hang if the child exits
        // too soon.
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

impl Keeps for Getmail {
    fn message_ids(&self) -> Vec<String> {
        self.inbox.message_ids()
    }
}
