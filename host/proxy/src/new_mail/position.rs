//! The position in a log up to which all signals have been applied, in a small file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How often the file is written at most. After a crash, what was applied since is applied again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Reads and writes a position.
#[derive(Debug)]
pub(super) struct PositionFile {
    path: PathBuf,
    saved: Option<Instant>,
    /// Whether the last attempt to write failed, so that the error is logged once.
    has_failed: bool,
}

impl PositionFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, saved: None, has_failed: false }
    }

    /// The position. None if there is none, or if it is damaged.
    pub(super) fn load<P: DeserializeOwned>(&self) -> Option<P> {
        let read = open_regular(&self.path).and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map(|_| bytes)
        });
        match read {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .inspect_err(|error| {
                    tracing::warn!("cannot use the position in {}: {error}", self.path.display());
                })
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("cannot read the position in {}: {error}", self.path.display());
                None
            }
        }
    }

    /// Whether the file may be written again.
    pub(super) fn is_due(&self) -> bool {
        self.saved.is_none_or(|at| at.elapsed() >= SAVE_INTERVAL)
    }

    /// Writes the position, whole or not at all. Returns whether it was written; an error is logged.
    pub(super) fn save(&mut self, position: &impl Serialize) -> bool {
        self.saved = Some(Instant::now());
        let written = serde_json::to_vec(position).map_err(io::Error::from).and_then(|bytes| {
            let unfinished = self.path.with_extension("unfinished");
            // What is there may be a pipe, which would block.
            let _ = fs::remove_file(&unfinished);
            let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
            file.write_all(&bytes)?;
            fs::rename(&unfinished, &self.path)
        });
        if let Err(error) = &written
            && !self.has_failed
        {
            let path = self.path.display();
            tracing::warn!("cannot write the position {path}: {error}; a restart will miss deliveries");
        }
        self.has_failed = written.is_err();
        written.is_ok()
    }
}

/// Opens a regular file for reading. A pipe, which would block, is an error.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// The files beside a log whose names begin with its name: the log itself and what it was rotated to.
/// A folder with more files than the limit has other problems.
pub(super) fn siblings(log: &Path) -> Vec<PathBuf> {
    const MAX_SIBLINGS: usize = 1000;
    let Some(name) = log.file_name() else { return Vec::new() };
    let folder = log.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let begins = |path: &PathBuf| {
        path.file_name().is_some_and(|other| other.as_encoded_bytes().starts_with(name.as_encoded_bytes()))
    };
    entries.flatten().map(|entry| entry.path()).filter(begins).take(MAX_SIBLINGS).collect()
}
