//! Lines in a file. It notices that the file was renamed or deleted, and rotates the file itself at
//! a size limit.

mod rotation;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::directory_of;
use super::writer::Sink;
use crate::config::Rotation;

/// Readable by owner and group.
const MODE: u32 = 0o640;
/// How long it continues with the old file after a failed rotation.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    rotation: Option<Rotation>,
    /// Created by us and still empty.
    is_new: bool,
    /// Whether the last byte written ends a line.
    at_line_start: bool,
    rotate_after: Option<Instant>,
    /// Whether it has been logged that the file cannot be reopened.
    told: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> Result<Self, String> {
        let (file, is_new) = open(path).map_err(|why| {
            let directory = directory_of(path);
            if why.kind() == io::ErrorKind::PermissionDenied {
                format!(
                    "cannot write to {0}: {why}; let the user that Reprieve runs as write there, for instance: \
                     install -o reprieve -g reprieve -m 640 /dev/null {0}",
                    path.display()
                )
            } else if directory.is_dir() {
                format!("cannot write to {}: {why}", path.display())
            } else {
                format!(
                    "there is no directory {0}; create it for who writes there, for instance: install -d -m 750 -o \
                     reprieve -g reprieve {0}",
                    directory.display()
                )
            }
        })?;
        // Pipes and terminals cannot be rotated.
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
            && let Err(why) = nix::unistd::access(directory_of(path), nix::unistd::AccessFlags::W_OK)
        {
            return Err(format!(
                "cannot rotate {}: the user that Reprieve runs as may not change its directory ({why}); let that \
                 user write there, or set rotate-size = \"off\" and rotate it by other means",
                path.display()
            ));
        }
        Ok(opened)
    }

    /// Keeps the file, even if it is empty.
    pub(super) fn kept(mut self) -> Self {
        self.is_new = false;
        self
    }

    /// Opens the file at the path if it is not the one that is open. True if so.
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
                tracing::info!(target: "decision-log", path = %self.path.display(), "the decision log continues in a new file");
                self.file = file;
                self.told = false;
                true
            }
            Err(why) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::error!(
                        target: "decision-log",
                        "the decision log's file was renamed, and there cannot be a new one at {}: {why}; lines \
                         continue into the renamed one",
                        self.path.display()
                    );
                }
                false
            }
        }
    }

    /// Bytes until the size limit; unlimited without rotation.
    fn room(&self) -> io::Result<Option<(u64, u64)>> {
        let Some(rotation) = &self.rotation else { return Ok(None) };
        if self.rotate_after.is_some_and(|after| Instant::now() < after) {
            return Ok(None);
        }
        // Checked each time: another program may truncate the file or write to it.
        let size = self.file.metadata()?.len();
        Ok(Some((size, rotation.size.saturating_sub(size))))
    }

    /// Rotates the file. False if it must continue with the old one.
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
                    "the decision log cannot rotate {}: {why}; it continues in the same file",
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
            // The line was torn; it is written whole to the new file.
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
                    // A torn line, a line longer than the limit, or a failed rotation.
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
        // If a line is torn, the next write repairs it.
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

/// A standard stream by its path. It may be a pipe of root's, which the service user can write to
/// but not reopen.
fn standard(path: &Path) -> Option<io::Result<OwnedFd>> {
    match path.to_str()? {
        "/dev/stdout" => Some(io::stdout().as_fd().try_clone_to_owned()),
        "/dev/stderr" => Some(io::stderr().as_fd().try_clone_to_owned()),
        _ => None,
    }
}

/// Opens a file for appending; also returns whether it is new.
fn open(path: &Path) -> io::Result<(File, bool)> {
    if let Some(stream) = standard(path) {
        return Ok((stream?.into(), false));
    }
    let mut options = OpenOptions::new();
    options.append(true).mode(MODE);
    let before = std::fs::metadata(path).map(|metadata| metadata.file_type());
    // A pipe is opened for reading too, so that opening does not wait for a reader.
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
        // A previous writer was cut off within a line; the next line must not be joined to it.
        let _ = (&file).write(b"\n");
    }
    Ok((file, is_new))
}

#[cfg(test)]
mod tests;
