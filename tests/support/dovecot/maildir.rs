//! A user's maildir, filled as a delivery agent does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::unprivileged::UnprivilegedUser;

/// A maildir and the owner of its files.
pub(super) struct Maildir {
    home: PathBuf,
    path: PathBuf,
    owner: Option<UnprivilegedUser>,
}

impl Maildir {
    /// The maildir in a user's home folder.
    pub(super) fn new(home: PathBuf, owner: Option<UnprivilegedUser>) -> Self {
        let path = home.join("Maildir");
        Self { home, path, owner }
    }

    /// Delivers a message: writes it to `tmp`, then moves it to `new`.
    pub(super) fn deliver(&self, number: usize, message: &[u8]) {
        self.make();
        let name = file_name(number);
        let aside = self.path.join("tmp").join(&name);
        fs::write(&aside, message).expect("a message");
        self.own(&aside);
        fs::rename(&aside, self.path.join("new").join(&name)).expect("a delivery");
    }

    /// The files of all messages by their names. A name is followed by the flags of the message, if it
    /// has any.
    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = BTreeMap::new();
        // A message moves from `new` to `cur`: in this order none is missed.
        for part in ["new", "cur"] {
            for entry in fs::read_dir(self.path.join(part)).into_iter().flatten() {
                let path = entry.expect("a message").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let Ok(text) = fs::read(&path) else { continue };
                let (base, flags) = name.split_once(":2,").unwrap_or((&name, ""));
                files.insert(base.to_owned(), (flags.to_owned(), text));
            }
        }
        let named = |(base, (flags, text)): (String, (String, Vec<u8>))| match &*flags {
            "" => (base, text),
            flags => (format!("{base}:{flags}"), text),
        };
        files.into_iter().map(named).collect()
    }

    /// Removes the file of a message.
    pub(super) fn remove(&self, name: &str) {
        let files = ["new", "cur"].into_iter().filter_map(|part| fs::read_dir(self.path.join(part)).ok());
        let paths = files.flatten().map(|entry| entry.expect("a message").path());
        let is_it = |path: &PathBuf| {
            let file = path.file_name().expect("a name").to_string_lossy();
            file.split(':').next() == Some(name)
        };
        let path = { paths }.find(is_it).unwrap_or_else(|| panic!("there is no message {name}"));
        fs::remove_file(path).expect("removing a message");
    }

    /// Number of messages.
    pub(super) fn count(&self) -> usize {
        let files = |part| fs::read_dir(self.path.join(part)).map_or(0, Iterator::count);
        files("new") + files("cur")
    }

    /// Creates the folders that Dovecot has not created yet.
    fn make(&self) {
        let make = |folder: &Path| {
            if !folder.exists() {
                fs::create_dir(folder).expect("a part of a mailbox");
                self.own(folder);
            }
        };
        make(&self.home);
        make(&self.path);
        for part in ["tmp", "new", "cur"] {
            make(&self.path.join(part));
        }
    }

    fn own(&self, path: &Path) {
        if let Some(owner) = self.owner {
            owner.own(path);
        }
    }
}

/// The name of the file in which the message with this number is delivered. Dovecot numbers new messages by
/// the time in their names.
pub fn file_name(number: usize) -> String {
    format!("{}.M{number}.localhost", 1_700_000_000 + number)
}

/// A message with unique text and size, and with lines that start with a dot.
pub(super) fn message(user: &str, number: usize) -> String {
    format!(
        "From: Sender <sender@example.org>\n\
         To: {user}@example.org\n\
         Subject: Message {number}\n\
         Date: Tue, 10 Mar 2026 09:{:02}:{:02} +0100\n\
         Message-ID: <{number}@example.org>\n\
         \n\
         This is message {number}.\n\
         {}",
        number / 60 % 60,
        number % 60,
        ".a line that starts with a dot\n".repeat(number),
    )
}
