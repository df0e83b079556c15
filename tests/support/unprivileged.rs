//! The user that runs programs which refuse to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// An unprivileged user of the system.
#[derive(Clone, Copy, Debug)]
pub struct UnprivilegedUser {
    /// User id.
    pub uid: u32,
    /// Id of the user's primary group.
    pub gid: u32,
}

impl UnprivilegedUser {
    /// Debian's user `mail` if the tests run as root; otherwise `None`, and the tests' own user is used.
    pub fn instead_of_root() -> Option<Self> {
        let ours = fs::metadata("/proc/self").expect("this process");
        if ours.uid() != 0 {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").expect("the system's users");
        let mail = users.lines().find_map(|line| line.strip_prefix("mail:")).expect("the system user mail");
        let mut ids = mail.split(':').skip(1).map(|id| id.parse().expect("a number"));
        Some(Self { uid: ids.next().expect("a user id"), gid: ids.next().expect("a group id") })
    }

    /// Makes this user the owner of a file or a folder.
    pub fn own(self, path: &Path) {
        lchown(path, Some(self.uid), Some(self.gid))
            .unwrap_or_else(|error| panic!("{}: changing the owner: {error}", path.display()));
    }

    /// Makes this user the owner of a folder and everything in it.
    pub fn own_all(self, folder: &Path) {
        self.own(folder);
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry of a folder");
            if entry.file_type().expect("a type of file").is_dir() {
                self.own_all(&entry.path());
            } else {
                self.own(&entry.path());
            }
        }
    }
}
