//! Lines in a file. It follows a file that somebody else has renamed or deleted, and begins a
//! new one itself when it has its size.

mod rotation;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::folder_of;
use super::writer::Sink;
use crate::config::Rotation;

/// Who may read: its owner and his group.
const MODE: u32 = 0o640;
/// How long it writes on where a new file could not be begun.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    rotation: Option<Rotation>,
    /// Nobody has written to it, and it was not there before.
    is_new: bool,
    /// Whether the last octet that was written ends a line.
    at_line_start: bool,
    rotate_after: Option<Instant>,
    /// Whether the log was told that the file cannot be opened again.
    told: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> Result<Self, String> {
        let (file, is_new) = open(path).map_err(|why| {
            let folder = folder_of(path);
            if why.kind() == io::ErrorKind::PermissionDenied {
                format!(
                    "cannot write to {0}: {why}; let the user that Reprieve runs as write there, for instance: \
                     install -o reprieve -g reprieve -m 640 /dev/null {0}",
                    path.display()
                )
            } else if folder.is_dir() {
                format!("cannot write to {}: {why}", path.display())
            } else {
                format!(
                    "there is no folder {0}; create it for who writes there, for instance: install -d -m 750 -o \
                     reprieve -g reprieve {0}",
                    folder.display()
                )
            }
        })?;
        // Only a file can be put aside, and not a pipe or a terminal.
        let rotation = rotation
            .filter(|_| standard(path).is_none() && file.metadata().is_ok_and(|metadata| metadata.is_file()));
        let opened = Self {
            path: path.to_owned(),
            file,
            rotation,
            is_new,
            at_line_start: true,
            rotate_after: None,
            told: false,
        };
        if rotation.is_some()
            && let Err(why) = nix::unistd::access(folder_of(path), nix::unistd::AccessFlags::W_OK)
        {
            return Err(format!(
                "cannot rotate {}: the user that Reprieve runs as may not change its folder ({why}); let that \
                 user write there, or set rotate-size = \"off\" and rotate it by other means",
                path.display()
            ));
        }
        Ok(opened)
    }

    /// It is written to from now on, and stays.
    pub(super) fn kept(mut self) -> Self {
        self.is_new = false;
        self
    }

    /// Opens the file at the path if that is another one than ours. True where it is.
    fn follow(&mut self) -> bool {
        let is_ours = match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            _ => false,
        };
        if is_ours {
            self.told = false;
            return false;
        }
        match open(&self.path) {
            Ok((file, _)) => {
                tracing::info!(target: "decision-log", path = %self.path.display(), "the decision log goes on in a new file");
                self.file = file;
                self.told = false;
                true
            }
            Err(why) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::error!(
                        target: "decision-log",
                        "the decision log's file was renamed, and there cannot be a new one at {}: {why}; lines \
                         go on into the renamed one",
                        self.path.display()
                    );
                }
                false
            }
        }
    }

    /// Octets that the file can still take; all that there are where it does not rotate.
    fn room(&self) -> io::Result<Option<(u64, u64)>> {
        let Some(rotation) = &self.rotation else { return Ok(None) };
        if self.rotate_after.is_some_and(|after| Instant::now() < after) {
            return Ok(None);
        }
        // Asked each time: somebody else may have cut it, or write to it too.
        let size = self.file.metadata()?.len();
        Ok(Some((size, rotation.size.saturating_sub(size))))
    }

    /// Puts the file aside and begins a new one. False where it goes on in the old one.
    fn rotate(&mut self) -> bool {
        let Some(rotation) = self.rotation else { return false };
        match rotation::put_aside(&self.path) {
            Ok(aside) => {
                self.rotate_after = None;
                let follows = self.follow();
                rotation::tidy(&self.path, aside, rotation);
                follows
            }
            Err(why) => {
                self.rotate_after = Some(Instant::now() + AGAIN);
                tracing::error!(
                    target: "decision-log",
                    "the decision log cannot rotate {}: {why}; it goes on in the same file",
                    self.path.display()
                );
                false
            }
        }
    }
}

impl Sink for LogFile {
    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
        if self.follow() && !self.at_line_start {
            // The line was torn: the new file gets it whole.
            *done = memchr::memrchr(b'\n', &batch[..*done]).map_or(0, |end| end + 1);
            self.at_line_start = true;
        }
        while *done < batch.len() {
            let rest = &batch[*done..];
            let mut length = rest.len();
            if let Some((size, room)) = self.room()?
                && length as u64 > room
            {
                let first = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                let within = &rest[..usize::try_from(room).unwrap_or(usize::MAX).min(length)];
                length = match memchr::memrchr(b'\n', within) {
                    Some(end) => end + 1,
                    None if self.at_line_start && size > 0 && self.rotate() => continue,
                    // A torn line, one that no file has room for, or a file that cannot be put
                    // aside.
                    None => first,
                };
            }
            match self.file.write(&rest[..length]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *done += count;
                    self.at_line_start = batch[*done - 1] == b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        // Where a line is torn, the next write sees to it.
        if self.at_line_start {
            self.follow();
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if self.is_new && self.file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A standard stream that a path names. It may be a pipe of root's, which the service user can
/// write to, but not open again.
fn standard(path: &Path) -> Option<io::Result<OwnedFd>> {
    match path.to_str()? {
        "/dev/stdout" => Some(io::stdout().as_fd().try_clone_to_owned()),
        "/dev/stderr" => Some(io::stderr().as_fd().try_clone_to_owned()),
        _ => None,
    }
}

/// Opens a file to write at its end, and whether it is new.
fn open(path: &Path) -> io::Result<(File, bool)> {
    if let Some(stream) = standard(path) {
        return Ok((stream?.into(), false));
    }
    let mut options = OpenOptions::new();
    options.append(true).mode(MODE);
    let before = std::fs::metadata(path).map(|metadata| metadata.file_type());
    // A pipe is opened at both ends: so nobody waits for a reader, and none is missed.
    options.read(before.as_ref().map_or(true, |kind| kind.is_file() || kind.is_fifo()));
    let (file, is_new) = match before {
        Ok(_) => (options.open(path)?, false),
        Err(_) => match options.clone().create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options.create(true).open(path)?, false)
            }
            Err(error) => return Err(error),
        },
    };
    let metadata = file.metadata()?;
    let mut last = [b'\n'];
    if metadata.is_file() && metadata.len() > 0 {
        file.read_exact_at(&mut last, metadata.len() - 1)?;
    }
    if last != *b"\n" {
        // Whoever wrote it was cut off within a line, which is not to spoil the next one.
        let _ = (&file).write(b"\n");
    }
    Ok((file, is_new))
}

#[cfg(test)]
mod tests;
