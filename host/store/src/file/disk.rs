//! What the store asks of the file system about its file. Tests put a simulated disk in its place,
//! whose calls fail.

use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use super::damage;
use super::page_guard::PageGuard;

/// A disk with one file.
pub(super) trait Disk: Debug + Send + Sync {
    /// Where the file is.
    fn path(&self) -> &Path;
    /// Creates the file if it does not exist, readable by its user only.
    fn create(&self) -> io::Result<()>;
    /// Opens the file with the engine, which creates its tables if the file is empty.
    fn open(&self, engine: &Builder) -> Result<Database, DatabaseError>;
    /// Whether the path names anything.
    fn exists(&self) -> bool;
    /// Size of the file in bytes; 0 if it cannot be read.
    fn size(&self) -> u64;
    /// Whether a file that the engine does not recognise was probably a store once.
    fn looks_like_a_store(&self) -> bool;
    /// Renames the file by appending `.damaged-` and the time; returns its new path.
    fn set_aside(&self) -> io::Result<PathBuf>;
}

/// A file of this machine.
#[derive(Debug)]
pub(super) struct FileSystem {
    path: PathBuf,
}

impl FileSystem {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Disk for FileSystem {
    fn path(&self) -> &Path {
        &self.path
    }

    fn create(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path).map(drop)
    }

    fn open(&self, engine: &Builder) -> Result<Database, DatabaseError> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        engine.create_with_backend(PageGuard::new(FileBackend::new(file)?))
    }

    fn exists(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok()
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |data| data.len())
    }

    fn looks_like_a_store(&self) -> bool {
        damage::looks_like_a_store(&self.path)
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        damage::rename_damaged(&self.path)
    }
}
