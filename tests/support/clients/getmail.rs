//! getmail6: collects for local delivery and leaves everything on the server.

use tempfile::TempDir;

use super::delivery::Delivery;
use super::{Client, Poll, write_private};
use crate::support::account::Account;
use crate::support::tool::Tool;

const GETMAIL: Tool = Tool { program: "getmail", package: "getmail6" };

/// getmail that leaves messages on the server and knows them by their unique-ids.
pub struct Getmail {
    home: TempDir,
    delivery: Delivery,
}

impl Getmail {
    /// One that has never polled.
    pub fn that_keeps() -> Self {
        let home = TempDir::with_prefix("getmail-").expect("a temporary folder");
        let delivery = Delivery::at(home.path());
        Self { home, delivery }
    }
}

impl Client for Getmail {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let Account { server, user, password } = account;
        let configuration = format!(
            "[retriever]\n\
             type = SimplePOP3Retriever\n\
             server = {ip}\n\
             port = {port}\n\
             username = {user}\n\
             password = {password}\n\
             [destination]\n\
             type = MDA_external\n\
             path = /bin/sh\n\
             arguments = ('{script}',)\n\
             allow_root_commands = true\n\
             [options]\n\
             read_all = false\n\
             delete = false\n",
            ip = server.ip(),
            port = server.port(),
            script = self.delivery.script(),
        );
        write_private(&home.join("configuration"), &configuration);
        let here = home.to_str().expect("a path in UTF-8");
        let ending = GETMAIL.run(home, ["--getmaildir", here, "--rcfile", "configuration"]);
        Poll { exit: ending.code, total: self.delivery.count(), said: ending.said }
    }
}
