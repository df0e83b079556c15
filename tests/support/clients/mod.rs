//! Real POP3 clients: each polls an account once and tells what has arrived so far.

mod curl;
mod fetchmail;
mod getmail;
mod lmtp;
mod mpop;
mod mutt;
mod poplib;

use std::fs;
use std::path::Path;

pub use curl::Curl;
pub use fetchmail::Fetchmail;
pub use getmail::Getmail;
pub use mpop::Mpop;
pub use mutt::{MuttFetch, MuttFolder};
pub use poplib::Poplib;

use super::account::Account;

/// A mail program with a home of its own, where it keeps what it knows between its polls.
pub trait Client {
    /// Checks the account once, as a user's program does it from time to time.
    fn poll(&self, account: &Account) -> Poll;
}

/// What one poll came to.
#[derive(Debug)]
pub struct Poll {
    /// The program's exit code.
    pub exit: i32,
    /// The messages that have arrived at the client in all its polls; one that arrived twice counts twice.
    /// For a program that shows the mailbox and keeps nothing: the messages shown.
    pub total: usize,
    /// The program's output; a failing test shows it with `{:?}`.
    #[allow(dead_code, reason = "only Debug reads it")]
    pub said: String,
}

/// Writes a file that only its owner can read: several clients insist where passwords are in it.
fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
}

/// Makes an empty maildir.
fn make_maildir(path: &Path) {
    for part in ["tmp", "new", "cur"] {
        fs::create_dir_all(path.join(part)).expect("a maildir");
    }
}

/// The messages in a maildir, or none where it does not exist.
fn messages_in(maildir: &Path) -> usize {
    ["new", "cur"].iter().map(|part| files_in(&maildir.join(part))).sum()
}

/// The files in a folder, or none where it does not exist.
fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}
