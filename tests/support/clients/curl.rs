//! curl: lists a maildrop or retrieves one message, and keeps no state.

use tempfile::TempDir;

use super::{Client, Poll, write_private};
use crate::support::account::{Account, Security};
use crate::support::tool::{Ending, Tool};

const CURL: Tool = Tool { program: "curl", package: "curl" };

/// curl with one of its login mechanisms. A poll lists the maildrop; its total is the messages listed.
pub struct Curl {
    home: TempDir,
    login: &'static str,
}

impl Curl {
    /// Logs in with AUTH PLAIN without an initial response, which is curl's default.
    pub fn that_lists() -> Self {
        Self::new("")
    }

    /// Logs in with AUTH PLAIN and an initial response.
    pub fn that_lists_and_says_it_all_at_once() -> Self {
        Self::new("sasl-ir\n")
    }

    /// Logs in with AUTH LOGIN.
    pub fn that_lists_and_says_auth_login() -> Self {
        Self::new("login-options = \"AUTH=LOGIN\"\n")
    }

    /// Logs in with APOP.
    pub fn that_lists_and_says_apop() -> Self {
        Self::new("login-options = \"AUTH=+APOP\"\n")
    }

    fn new(login: &'static str) -> Self {
        Self { home: TempDir::with_prefix("curl-").expect("a temporary folder"), login }
    }

    /// Retrieves a message; returns the exit code and the message.
    pub fn retrieve(&self, account: &Account, number: usize) -> (i32, String) {
        let ending = self.get(account, &number.to_string());
        (ending.code, ending.stdout)
    }

    fn get(&self, account: &Account, path: &str) -> Ending {
        let home = self.home.path();
        let Account { server, user, password, security } = account;
        let (scheme, tls) = match security {
            Security::Cleartext => ("pop3", String::new()),
            Security::Stls(ca) => ("pop3", format!("ssl-reqd\ncacert = {:?}\n", ca.display())),
            Security::Tls(ca) => ("pop3s", format!("cacert = {:?}\n", ca.display())),
        };
        let (host, port) = (account.host(), server.port());
        let configuration = format!(
            "url = \"{scheme}://{host}:{port}/{path}\"\n\
             {tls}\
             user = \"{user}:{password}\"\n\
             silent\n\
             show-error\n\
             {}",
            self.login,
        );
        write_private(&home.join("configuration"), &configuration);
        CURL.run(home, ["--disable", "--config", "configuration"])
    }
}

impl Client for Curl {
    fn poll(&self, account: &Account) -> Poll {
        let ending = self.get(account, "");
        Poll { exit: ending.code, total: ending.stdout.lines().count(), said: ending.said }
    }
}
