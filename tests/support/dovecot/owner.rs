//! Whom the mailboxes belong to.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// The user whom the mailboxes belong to where Dovecot runs as root, which it lets nobody read mail as.
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// Debian's `mail` where the tests run as root; otherwise nobody else is needed.
    pub(super) fn for_mailboxes_in(folder: &Path) -> Option<Self> {
        let ours = fs::metadata(folder).expect("a temporary folder");
        if ours.uid() != 0 {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").expect("the system's users");
        let mail = users.lines().find_map(|line| line.strip_prefix("mail:")).expect("the system user mail");
        let mut ids = mail.split(':').skip(1).map(|id| id.parse().expect("a number"));
        Some(Self { uid: ids.next().expect("a user id"), gid: ids.next().expect("a group id") })
    }

    /// Makes the owner's what Dovecot must be able to change.
    pub(super) fn give(owner: Option<&Self>, path: &Path) {
        if let Some(owner) = owner {
            chown(path, Some(owner.uid), Some(owner.gid)).expect("changing an owner");
        }
    }
}
