//! mutt: a mail client for the terminal, controlled by keys that are pushed at its start.

use std::path::Path;

use tempfile::TempDir;

use super::{Client, Poll, make_maildir, messages_in, write_private};
use crate::support::account::{Account, Security};
use crate::support::tool::{Ending, Tool};

const MUTT: Tool = Tool { program: "mutt", package: "mutt" };

/// Gives a program the terminal that it requires.
const SCRIPT: Tool = Tool { program: "script", package: "bsdutils" };

/// Settings that answer all its questions and allow servers without TLS.
const QUIET: &str = "set quit=yes move=no delete=yes confirmappend=no confirmcreate=no wait_key=no beep=no\n\
                     set folder=. mbox_type=Maildir pop_reconnect=no sleep_time=0\n\
                     set ssl_starttls=no ssl_force_tls=no\n";

/// mutt that opens the maildrop as a folder, with its caches. A poll saves the messages that the
/// folder shows; its total is their number.
pub struct MuttFolder {
    home: TempDir,
}

impl MuttFolder {
    /// A client that has not polled yet.
    pub fn with_caches() -> Self {
        Self { home: TempDir::with_prefix("mutt-").expect("a temporary folder") }
    }
}

impl Client for MuttFolder {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let shown = TempDir::with_prefix_in("shown-", home).expect("a temporary folder");
        let copies = shown.path().join("maildir");
        make_maildir(&copies);
        std::fs::create_dir_all(home.join("bodies")).expect("a folder");
        let Account { server, user, password, security } = account;
        let (scheme, tls) = match security {
            Security::Cleartext => ("pop", String::new()),
            Security::Stls(ca) => ("pop", encrypted(ca)),
            Security::Tls(ca) => ("pops", encrypted(ca)),
        };
        let folder = format!("{scheme}://{user}@{}:{}/", account.host(), server.port());
        let configuration = format!(
            "{QUIET}\
             {tls}\
             set pop_pass=\"{password}\"\n\
             set header_cache={here}/headers message_cachedir={here}/bodies message_cache_clean=no\n\
             push \"<tag-pattern>~A<enter><tag-prefix-cond><copy-message>{copies}<enter><end-cond><quit>\"\n",
            here = home.display(),
            copies = copies.display(),
        );
        let ending = run(home, &configuration, &folder);
        Poll { exit: ending.code, total: messages_in(&copies), said: ending.said }
    }
}

/// mutt that fetches all messages into its own mailbox.
pub struct MuttFetch {
    home: TempDir,
    delete: &'static str,
}

impl MuttFetch {
    /// Deletes fetched messages on the server.
    pub fn that_deletes() -> Self {
        Self::new("yes")
    }

    /// Leaves messages on the server and fetches them again each time.
    pub fn that_keeps() -> Self {
        Self::new("no")
    }

    fn new(delete: &'static str) -> Self {
        Self { home: TempDir::with_prefix("mutt-").expect("a temporary folder"), delete }
    }
}

impl Client for MuttFetch {
    fn poll(&self, account: &Account) -> Poll {
        let home = self.home.path();
        let (mailbox, elsewhere) = (home.join("mailbox"), home.join("elsewhere"));
        make_maildir(&mailbox);
        make_maildir(&elsewhere);
        let Account { server, user, password, .. } = account;
        let configuration = format!(
            "{QUIET}\
             set pop_host=\"pop://{user}@{server}/\" pop_pass=\"{password}\" pop_delete={delete}\n\
             set spoolfile={mailbox}\n\
             push \"<fetch-mail><quit>\"\n",
            delete = self.delete,
            mailbox = mailbox.display(),
        );
        let ending = run(home, &configuration, &elsewhere.display().to_string());
        Poll { exit: ending.code, total: messages_in(&mailbox), said: ending.said }
    }
}

/// Settings that encrypt the connection and verify the certificate.
fn encrypted(ca: &Path) -> String {
    format!("set ssl_starttls=yes ssl_force_tls=yes certificate_file={}\n", ca.display())
}

fn run(home: &Path, configuration: &str, folder: &str) -> Ending {
    write_private(&home.join("configuration"), configuration);
    let command = format!("exec {} -n -F configuration -f '{folder}'", MUTT.path().display());
    SCRIPT.run(home, ["--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
}
