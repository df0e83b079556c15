//! mpop: fetches mail with pipelining.

use tempfile::TempDir;

use super::{Client, Keeps, Poll, make_maildir, message_ids_in, messages_in, write_private};
use crate::support::account::Account;
use crate::support::tool::Tool;

const MPOP: Tool = Tool { program: "mpop", package: "mpop" };

/// mpop that leaves messages on the server and recognises them by unique-id.
pub struct Mpop {
    home: TempDir,
    mechanism: &'static str,
}

impl Mpop {
    /// Logs in with USER and PASS, sent in one write.
    pub fn that_keeps() -> Self {
        Self::with_mechanism("user")
    }

    /// Logs in with AUTH LOGIN.
    pub fn that_keeps_and_says_auth_login() -> Self {
        Self::with_mechanism("login")
    }

    /// Logs in with AUTH SCRAM-SHA-256.
    pub fn that_keeps_and_says_scram() -> Self {
        Self::with_mechanism("scram-sha-256")
    }

    /// Logs in with AUTH CRAM-MD5.
    pub fn that_keeps_and_says_cram_md5() -> Self {
        Self::with_mechanism("cram-md5")
    }

    fn with_mechanism(mechanism: &'static str) -> Self {
        Self { home: TempDir::with_prefix("mpop-").expect("a temporary folder"), mechanism }
    }
}

impl Client for Mpop {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let maildir = home.join("maildir");
        make_maildir(&maildir);
        let Account { server, user, password, .. } = account;
        let configuration = format!(
            "account default\n\
             host {ip}\n\
             port {port}\n\
             tls off\n\
             auth {mechanism}\n\
             user \"{user}\"\n\
             password \"{password}\"\n\
             delivery maildir {maildir}\n\
             keep on\n\
             uidls_file {here}/uidls\n",
            ip = server.ip(),
            port = server.port(),
            mechanism = self.mechanism,
            maildir = maildir.display(),
            here = home.display(),
        );
        write_private(&home.join("configuration"), &configuration);
        let ending = MPOP.run(home, ["--file", "configuration"]);
        Poll { exit: ending.code, total: messages_in(&maildir), said: ending.said }
    }
}

impl Keeps for Mpop {
    fn message_ids(&self) -> Vec<String> {
        message_ids_in(&self.home.path().join("maildir/new"))
    }
}
