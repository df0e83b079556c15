//! A user's maildir, filled as a delivery agent does.

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
    pub(super) fn deliver(&self, number: usize, message: &str) {
        self.make();
        // Dovecot numbers new messages by the time in their names.
        let name = format!("{}.M{number}.localhost", 1_700_000_000 + number);
        let aside = self.path.join("tmp").join(&name);
        fs::write(&aside, message).expect("a message");
        self.own(&aside);
        fs::rename(&aside, self.path.join("new").join(&name)).expect("a delivery");
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
