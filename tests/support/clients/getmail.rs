//! getmail6: collects into a maildir and leaves everything on the server.

use tempfile::TempDir;

use super::{Client, Poll, make_maildir, messages_in, write_private};
use crate::support::account::Account;
use crate::support::tool::Tool;

const GETMAIL: Tool = Tool { program: "getmail", package: "getmail6" };

/// getmail that leaves messages on the server and knows them by their unique-ids.
pub struct Getmail {
    home: TempDir,
}

impl Getmail {
    /// One that has never polled.
    pub fn that_keeps() -> Self {
        Self { home: TempDir::with_prefix("getmail-").expect("a temporary folder") }
    }
}

impl Client for Getmail {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let maildir = home.join("maildir");
        make_maildir(&maildir);
        let Account { server, user, password } = account;
        let configuration = format!(
            "[retriever]\n\
             type = SimplePOP3Retriever\n\
             server = {ip}\n\
             port = {port}\n\
             username = {user}\n\
             password = {password}\n\
             [destination]\n\
             type = Maildir\n\
             path = {maildir}/\n\
             [options]\n\
             read_all = false\n\
             delete = false\n",
            ip = server.ip(),
            port = server.port(),
            maildir = maildir.display(),
        );
        write_private(&home.join("configuration"), &configuration);
        let here = home.to_str().expect("a path in UTF-8");
        let ending = GETMAIL.run(home, ["--getmaildir", here, "--rcfile", "configuration"]);
        Poll { exit: ending.code, total: messages_in(&maildir), said: ending.said }
    }
}
