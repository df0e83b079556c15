//! Detects changed files by polling their metadata.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Modification time, length and inode of a file; None if it does not exist.
pub(crate) type Stamp = Option<(SystemTime, u64, u64)>;

pub(crate) fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// Watches a set of files for changes.
#[derive(Debug, Default)]
pub(crate) struct FileWatch {
    seen: HashMap<PathBuf, Stamp>,
    /// Whether a file changed at the last check, and may still be changing.
    is_changing: bool,
}

impl FileWatch {
    /// Returns true if files have changed and are now the same as at the previous check, so that a
    /// file is not read while it is being written.
    pub(crate) fn has_changed(&mut self, files: impl IntoIterator<Item = PathBuf>) -> bool {
        let mut changed = false;
        for file in files {
            let now = stamp(&file);
            match self.seen.insert(file, now) {
                Some(before) if before != now => changed = true,
                // A new file in the set was read just now.
                _ => {}
            }
        }
        let settled = self.is_changing && !changed;
        self.is_changing = changed;
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once_the_file_is_stable() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.wasm");
        let mut watch = FileWatch::default();
        let mut has_changed = || watch.has_changed([file.clone()]);
        assert!(!has_changed());
        std::fs::write(&file, "half").unwrap();
        assert!(!has_changed(), "it may be incomplete");
        std::fs::write(&file, "half and half").unwrap();
        assert!(!has_changed(), "it has changed again");
        assert!(has_changed());
        assert!(!has_changed(), "a change is reported once");
        std::fs::remove_file(&file).unwrap();
        assert!(!has_changed());
        assert!(has_changed(), "a removed file counts as changed");
    }
}
