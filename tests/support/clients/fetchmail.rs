//! fetchmail: fetches for local delivery.

use std::fs;

use tempfile::TempDir;

use super::{Client, Keeps, Poll, files_in, message_ids_in, write_private};
use crate::support::account::{Account, Security};
use crate::support::tool::Tool;

const FETCHMAIL: Tool = Tool { program: "fetchmail", package: "fetchmail" };

/// A delivery agent that writes each message to a separate file.
const DELIVER: &str = "set -e\nfile=$(mktemp \"$HOME/delivered/XXXXXXXX\")\ncat > \"$file\"\n";

/// fetchmail with one of its ways to treat fetched messages.
pub struct Fetchmail {
    home: TempDir,
    server_options: &'static str,
    user_options: &'static str,
}

impl Fetchmail {
    /// Leaves messages on the server and recognises them by unique-id.
    pub fn that_keeps_by_unique_id() -> Self {
        Self::new("uidl", "keep")
    }

    /// Leaves messages on the server, without the option `uidl`.
    pub fn that_keeps() -> Self {
        Self::new("", "keep")
    }

    /// Deletes fetched messages on the server.
    pub fn that_deletes() -> Self {
        Self::new("", "no keep")
    }

    fn new(server_options: &'static str, user_options: &'static str) -> Self {
        let home = TempDir::with_prefix("fetchmail-").expect("a temporary folder");
        fs::create_dir(home.path().join("delivered")).expect("a folder");
        fs::write(home.path().join("deliver"), DELIVER).expect("a script");
        Self { home, server_options, user_options }
    }
}

impl Client for Fetchmail {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let here = home.display();
        let Account { server, user, password, security } = account;
        let tls = match security {
            Security::Cleartext => "sslproto ''".to_owned(),
            Security::Stls(ca) => {
                format!("sslproto 'TLS1.2+' sslcertck sslcertfile \"{}\"", ca.display())
            }
            Security::Tls(ca) => format!("ssl sslcertck sslcertfile \"{}\"", ca.display()),
        };
        // With an empty sslproto it does not try STLS if the server does not offer it.
        let configuration = format!(
            "set no bouncemail\n\
             set idfile \"{here}/ids\"\n\
             set pidfile \"{here}/pid\"\n\
             poll {host} protocol pop3 service {port} {server_options}\n  \
               user \"{user}\" password \"{password}\" {tls} {user_options}\n  \
               mda \"/bin/sh {here}/deliver\"\n",
            host = account.host(),
            port = server.port(),
            server_options = self.server_options,
            user_options = self.user_options,
        );
        write_private(&home.join("configuration"), &configuration);
        let ending = FETCHMAIL.run(home, ["--fetchmailrc", "configuration", "--nodetach"]);
        Poll { exit: ending.code, total: files_in(&home.join("delivered")), said: ending.said }
    }
}

impl Keeps for Fetchmail {
    fn message_ids(&self) -> Vec<String> {
        message_ids_in(&self.home.path().join("delivered"))
    }
}
