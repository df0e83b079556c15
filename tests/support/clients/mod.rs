//! POP3 clients of the system, which poll an account.

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

/// A mail client with a home folder, where it keeps its state between polls.
pub trait Client {
    /// Checks the account once.
    fn poll(&self, account: &Account) -> Poll;
}

/// A client that keeps what it has fetched, and leaves it on the server.
pub trait Keeps: Client {
    /// The Message-IDs of all messages that it has, in any order; a duplicate counts twice.
    fn message_ids(&self) -> Vec<String>;
}

/// The result of a poll.
#[derive(Debug)]
pub struct Poll {
    /// Exit code of the client.
    pub exit: i32,
    /// Messages that the client has received in all its polls; a duplicate counts twice. For a client
    /// that stores nothing, the messages that it shows.
    pub total: usize,
    /// The program's output.
    pub said: String,
}

/// Writes a file that only its owner can read: several clients require it for passwords.
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

/// Messages in a maildir; 0 if it does not exist.
fn messages_in(maildir: &Path) -> usize {
    ["new", "cur"].iter().map(|part| files_in(&maildir.join(part))).sum()
}

/// Files in a folder; 0 if it does not exist.
fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// The Message-IDs of the messages in a folder, one per file.
fn message_ids_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.expect("a file").path());
    entries.map(|entry| message_id(&read(entry).expect("a message"))).collect()
}

/// The Message-ID of a message; empty if it has none.
fn message_id(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let header = text.lines().take_while(|line| !line.is_empty());
    let found = header
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("Message-ID"));
    found.map_or(String::new(), |(_, id)| id.trim().to_owned())
}
