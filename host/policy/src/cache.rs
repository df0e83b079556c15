//! The cache of compiled policies on disk. Its directory contains machine code that will be run, so it
//! must be writable by Reprieve's user only.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::compile::Code;
use super::digest;

/// Extensions of code files, and of files being written.
const EXTENSIONS: [&str; 2] = [".code", ".new"];
/// Total size in bytes; beyond it the least recently used files are removed.
const LARGEST: u64 = 512 << 20;
/// Size of the digest at the beginning of a file.
const DIGEST: usize = 32;

/// The directory of compiled code.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    hits: AtomicUsize,
    misses: AtomicUsize,
}

/// Why a directory cannot be used, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be created or read.
    #[error("the directory for compiled policies, {0}, cannot be used: {1}")]
    Io(PathBuf, io::Error),
    /// Other users may write to it.
    #[error(
        "the directory for compiled policies, {0}, can be written by others, who could have Reprieve run their code; run: chmod 700 {0}"
    )]
    Shared(PathBuf),
    /// It belongs to another user.
    #[error(
        "the directory for compiled policies, {0}, belongs to user {1}, and Reprieve runs as user {2}, who must not run that user's code; give the directory to the user that Reprieve runs as: chown {2} {0}"
    )]
    Foreign(PathBuf, u32, u32),
}

impl Cache {
    /// Opens the directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// If it cannot be created, or other users may write to it.
    pub fn open(directory: &Path) -> Result<Self, CacheError> {
        let failed = |error| CacheError::Io(directory.to_owned(), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let path = directory.canonicalize().map_err(failed)?;
        let metadata = path.metadata().map_err(failed)?;
        let own = nix::unistd::geteuid().as_raw();
        // Errors name the directory as the administrator does, who may not know where a link leads.
        if metadata.uid() != own {
            return Err(CacheError::Foreign(directory.to_owned(), metadata.uid(), own));
        }
        if is_shared(&metadata) {
            return Err(CacheError::Shared(directory.to_owned()));
        }
        Ok(Self(Arc::new(Directory { path, hits: AtomicUsize::new(0), misses: AtomicUsize::new(0) })))
    }

    /// The owner of a directory, if this process runs as root and the directory belongs to another user
    /// alone: the service's directory when an administrator runs `reprieve check`.
    #[must_use]
    pub fn of_a_service_user(directory: &Path) -> Option<u32> {
        let metadata = directory.metadata().ok()?;
        let fits = metadata.is_dir() && metadata.uid() != 0 && !is_shared(&metadata);
        (fits && nix::unistd::geteuid().is_root()).then(|| metadata.uid())
    }

    /// The default directory: the service manager's cache directory, or the user's. None without either.
    #[must_use]
    pub fn usual_folder() -> Option<PathBuf> {
        let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        given("CACHE_DIRECTORY")
            .or_else(|| given("XDG_CACHE_HOME").map(|directory| directory.join("reprieve")))
            .or_else(|| given("HOME").map(|directory| directory.join(".cache/reprieve")))
            .filter(|directory| directory.is_absolute())
    }

    /// Loads the code under a key by `load`, if it exists and is intact.
    pub(super) fn get<T>(&self, key: &str, load: impl FnOnce(Code) -> Option<T>) -> Option<T> {
        let path = self.file(key, EXTENSIONS[0]);
        let loaded = File::open(&path).and_then(unpack).ok().and_then(load);
        let counter = if loaded.is_some() { &self.0.hits } else { &self.0.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        if loaded.is_some()
            && let Ok(file) = File::open(&path)
        {
            // The access time is for `remove_old`.
            let _ = file.set_modified(SystemTime::now());
        }
        loaded
    }

    /// Stores code under a key. If that fails, the next start compiles again.
    pub(super) fn put(&self, key: &str, code: &File) {
        if let Err(error) = self.write(key, code).and_then(|()| self.remove_old()) {
            tracing::warn!(directory = %self.0.path.display(), %error, "cannot store a compiled policy");
        }
    }

    fn write(&self, key: &str, code: &File) -> io::Result<()> {
        let new = self.file(&format!("{key}-{}", std::process::id()), EXTENSIONS[1]);
        let written =
            Self::fill(&new, code).and_then(|()| std::fs::rename(&new, self.file(key, EXTENSIONS[0])));
        if written.is_err() {
            // A full disk needs the space.
            let _ = std::fs::remove_file(new);
        }
        written
    }

    /// Writes a new file of the cache.
    fn fill(new: &Path, mut code: &File) -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(new)?;
        // Room for the digest, which is known at the end.
        file.write_all(&[0; DIGEST])?;
        zstd::stream::copy_encode(&mut code, &mut file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        code.rewind()?;
        file.seek(SeekFrom::Start(DIGEST as u64))?;
        let digest = digest::of_all(&mut file)?;
        file.rewind()?;
        file.write_all(&digest)
    }

    fn remove_old(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.0.path)? {
            let path = entry?.path();
            let ours = path
                .to_str()
                .is_some_and(|path| EXTENSIONS.iter().any(|extension| path.ends_with(extension)));
            // Another process may have removed it.
            if let Some(metadata) = ours.then(|| path.metadata().ok()).flatten() {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort_unstable();
        let mut sum: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if sum <= LARGEST {
                break;
            }
            let _ = std::fs::remove_file(path);
            sum -= size;
        }
        Ok(())
    }

    fn file(&self, key: &str, ending: &str) -> PathBuf {
        self.0.path.join(format!("{key}{ending}"))
    }

    /// Cache hits and misses.
    #[must_use]
    pub fn hits_and_misses(&self) -> (usize, usize) {
        (self.0.hits.load(Ordering::Relaxed), self.0.misses.load(Ordering::Relaxed))
    }
}

/// The code in a file, if its digest matches.
fn unpack(mut file: File) -> io::Result<Code> {
    let mut expected = [0; DIGEST];
    file.read_exact(&mut expected)?;
    if digest::of_all(&mut file)? != expected {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.seek(SeekFrom::Start(DIGEST as u64))?;
    let mut code = Code::new()?;
    zstd::stream::copy_decode(file, &mut code)?;
    Ok(code)
}

fn is_shared(metadata: &std::fs::Metadata) -> bool {
    metadata.mode() & 0o022 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_cannot_be_finished_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        // Reading a directory fails when the new file has been begun.
        cache.put("key", &File::open(directory.path()).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("compiled/policies");
        Cache::open(&directory).unwrap();
        assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Cache::open(&directory), Err(CacheError::Shared(_))));
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Cache::open(&file), Err(CacheError::Io(..))));
    }
}
