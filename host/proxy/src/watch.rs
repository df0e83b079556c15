//! Files that are read again when they have changed.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// When a file was changed, how long it is, and which one it is: None where there is none.
pub(crate) type Stamp = Option<(SystemTime, u64, u64)>;

pub(crate) fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// What is known of the files that are watched.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: HashMap<PathBuf, Stamp>,
    /// Something has changed, and may go on changing.
    is_moving: bool,
}

impl Watch {
    /// Looks at the files. True where some have changed since the first look or the last change,
    /// and have been at rest since the look before: who writes a file is not read in the middle.
    pub(crate) fn look(&mut self, files: impl IntoIterator<Item = PathBuf>) -> bool {
        let mut moves = false;
        for file in files {
            let now = stamp(&file);
            match self.seen.insert(file, now) {
                Some(before) if before != now => moves = true,
                // One that was not watched before was read just now.
                _ => {}
            }
        }
        let rests = self.is_moving && !moves;
        self.is_moving = moves;
        rests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_as_changed_when_it_has_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.wasm");
        let mut watch = Watch::default();
        let mut look = || watch.look([file.clone()]);
        assert!(!look());
        std::fs::write(&file, "half").unwrap();
        assert!(!look(), "it may be half written");
        std::fs::write(&file, "half and half").unwrap();
        assert!(!look(), "it was");
        assert!(look());
        assert!(!look(), "once");
        std::fs::remove_file(&file).unwrap();
        assert!(!look());
        assert!(look(), "one that is gone has changed too");
    }
}
