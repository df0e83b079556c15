//! Where compiled code is kept, so that a large component is compiled once. The engine's own
//! cache does it, keyed by the component's octets and everything that shapes the code; here is
//! only the folder, which nobody else may write: whoever writes machine code into it runs it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A folder with compiled code.
#[derive(Clone, Debug)]
pub struct Cache(wasmtime::Cache);

/// Why a folder cannot be used, with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or read.
    #[error("the folder for compiled policies, {0}, cannot be used: {1}")]
    Io(PathBuf, io::Error),
    /// It is somebody else's, or others may write to it.
    #[error(
        "the folder for compiled policies, {0}, belongs to another user or can be written by others; give it to the user that runs reprieve, with mode 0700"
    )]
    Shared(PathBuf),
    /// The engine does not like it.
    #[error("the folder for compiled policies, {0}, cannot be used: {1}")]
    Engine(PathBuf, String),
}

impl Cache {
    /// Opens a folder, which is made if it is not there.
    ///
    /// # Errors
    /// Where it cannot be made, or others could write to it.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let failed = |error| CacheError::Io(folder.to_owned(), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // The engine wants it without symbolic links.
        let folder = folder.canonicalize().map_err(failed)?;
        let metadata = folder.metadata().map_err(failed)?;
        // SAFETY: the call takes nothing, changes nothing and cannot fail.
        let own = unsafe { libc::geteuid() };
        if metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            return Err(CacheError::Shared(folder));
        }
        let mut config = wasmtime::CacheConfig::new();
        config.with_directory(&folder);
        wasmtime::Cache::new(config)
            .map(Self)
            .map_err(|error| CacheError::Engine(folder, format!("{error:#}")))
    }

    /// The folder that is used where none is set: what a service manager has made for it, or
    /// the user's own. None where there is neither.
    #[must_use]
    pub fn usual_folder() -> Option<PathBuf> {
        let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        given("CACHE_DIRECTORY")
            .or_else(|| given("XDG_CACHE_HOME").map(|folder| folder.join("reprieve")))
            .or_else(|| given("HOME").map(|folder| folder.join(".cache/reprieve")))
            .filter(|folder| folder.is_absolute())
    }

    pub(super) fn wasmtime(&self) -> wasmtime::Cache {
        self.0.clone()
    }

    /// Components whose code was found, and whose code had to be made.
    #[must_use]
    pub fn hits_and_misses(&self) -> (usize, usize) {
        (self.0.cache_hits(), self.0.cache_misses())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("compiled/policies");
        Cache::open(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Cache::open(&folder), Err(CacheError::Shared(_))));
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Cache::open(&file), Err(CacheError::Io(..))));
    }
}
