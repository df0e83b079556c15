//! One file of a log, and how far it has been read.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use memchr::{memchr_iter, memrchr};
use reprieve_replay::delivery;
use serde::{Deserialize, Serialize};

use super::super::deliveries::{Gap, LoggedDelivery};
use super::super::position::open_regular;

/// Maximum length of a line in bytes: that of the replay.
pub(super) const LINE_LIMIT: usize = 64 << 10;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// How many bytes before a position identify it: the last line or a part of it, with its time.
const FINGERPRINT_BYTES: u64 = 256;

/// A position in a file, which is recognised after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) struct Mark {
    pub(super) inode: u64,
    /// In bytes from the beginning: where the next line begins.
    pub(super) offset: u64,
    /// Hash of the bytes before it, in hexadecimal.
    pub(super) fingerprint: String,
}

/// A file that is read to its end again and again.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    mark: Mark,
    /// Lines that begin before this offset were written before the follower started.
    old_until: u64,
    /// The line at the offset is the rest of one that is too long.
    is_in_long_line: bool,
    /// Length of the file when it was read to its end; None if there may be more.
    seen_bytes: Option<u64>,
}

/// What was read at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) deliveries: Vec<LoggedDelivery>,
    pub(super) gaps: Vec<Gap>,
    mark: Mark,
    is_in_long_line: bool,
    seen_bytes: Option<u64>,
}

/// What a file has.
#[derive(Debug)]
pub(super) enum Next {
    /// No whole line beyond the position.
    Nothing,
    /// The position is no longer in the file.
    Truncated,
    /// Lines, which count as read when they are committed.
    Batch(Batch),
}

impl Tail {
    /// Opens a file at its beginning or end.
    pub(super) fn open(path: &Path, at_end: bool) -> io::Result<Self> {
        let file = open_regular(path)?;
        let metadata = file.metadata()?;
        let offset = if at_end { whole_lines(&file, metadata.len())? } else { 0 };
        let mark = Mark { inode: metadata.ino(), offset, fingerprint: fingerprint(&file, offset)? };
        Ok(Self { file, mark, old_until: 0, is_in_long_line: false, seen_bytes: None })
    }

    /// Opens a file at a position. None if the file does not have it.
    pub(super) fn resume(path: &Path, mark: &Mark) -> io::Result<Option<Self>> {
        let file = open_regular(path)?;
        let metadata = file.metadata()?;
        if metadata.len() < mark.offset || fingerprint(&file, mark.offset)? != mark.fingerprint {
            return Ok(None);
        }
        let mark = Mark { inode: metadata.ino(), ..mark.clone() };
        Ok(Some(Self { file, mark, old_until: metadata.len(), is_in_long_line: false, seen_bytes: None }))
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Lines that the file has now were written before the follower started.
    pub(super) fn contents_are_old(&mut self) {
        self.old_until = self.file.metadata().map_or(0, |metadata| metadata.len());
    }

    /// Whether the file has no name any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Continues at the beginning.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.mark = Mark { offset: 0, fingerprint: fingerprint(&self.file, 0)?, inode: self.mark.inode };
        (self.old_until, self.is_in_long_line, self.seen_bytes) = (0, false, None);
        Ok(())
    }

    /// Reads on. The position moves only when the batch is committed.
    pub(super) fn next(&mut self, now_ms: u64) -> io::Result<Next> {
        let length = self.file.metadata()?.len();
        if length < self.mark.offset {
            return Ok(Next::Truncated);
        }
        if self.seen_bytes == Some(length) {
            return Ok(Next::Nothing);
        }
        if fingerprint(&self.file, self.mark.offset)? != self.mark.fingerprint {
            return Ok(Next::Truncated);
        }
        let mut buffer = vec![
            0;
            usize::try_from(length - self.mark.offset)
                .map_or(BUFFER_BYTES, |more| more.min(BUFFER_BYTES))
        ];
        let bytes = read_at(&self.file, &mut buffer, self.mark.offset)?;
        let buffer = &buffer[..bytes];
        let is_end = self.mark.offset + bytes as u64 >= length;
        let complete = match memrchr(b'\n', buffer) {
            Some(at) => at + 1,
            None if bytes > LINE_LIMIT => 0,
            None => {
                self.seen_bytes = is_end.then_some(length);
                return Ok(Next::Nothing);
            }
        };
        self.batch(buffer, complete, is_end.then_some(length), now_ms).map(Next::Batch)
    }

    /// `complete`: bytes of complete lines in `buffer`; 0 if it is a part of a line that is too long.
    fn batch(&self, buffer: &[u8], complete: usize, length: Option<u64>, now_ms: u64) -> io::Result<Batch> {
        let (mut deliveries, mut gaps) = (Vec::new(), Vec::new());
        let mut is_in_long_line = self.is_in_long_line;
        let mut start = 0;
        for end in memchr_iter(b'\n', &buffer[..complete]) {
            let line = &buffer[start..end];
            let offset = self.mark.offset + start as u64;
            start = end + 1;
            if std::mem::take(&mut is_in_long_line) {
                continue;
            }
            if line.len() > LINE_LIMIT {
                gaps.push(Gap::LineTooLong);
                continue;
            }
            match delivery::parse_line(&String::from_utf8_lossy(line)) {
                Ok(Some(found)) => {
                    let logged_ms = found.at_ms().filter(|_| offset < self.old_until);
                    let at_ms = logged_ms.map_or(now_ms, |logged_ms| logged_ms.min(now_ms));
                    deliveries.push(LoggedDelivery { users: found.users, at_ms });
                }
                Ok(None) => {}
                Err(why) => gaps.push(Gap::Malformed(why)),
            }
        }
        let read = if complete == 0 { buffer.len() } else { complete };
        if complete == 0 {
            if !is_in_long_line {
                gaps.push(Gap::LineTooLong);
            }
            is_in_long_line = true;
        }
        let offset = self.mark.offset + read as u64;
        let mark = Mark { offset, fingerprint: fingerprint(&self.file, offset)?, inode: self.mark.inode };
        Ok(Batch { deliveries, gaps, mark, is_in_long_line, seen_bytes: length })
    }

    /// Moves behind a batch.
    pub(super) fn commit(&mut self, batch: Batch) {
        self.mark = batch.mark;
        self.is_in_long_line = batch.is_in_long_line;
        self.seen_bytes = batch.seen_bytes;
    }
}

/// The length of the whole lines of a file: the last line may be incomplete.
fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let start = length.saturating_sub(LINE_LIMIT as u64);
    let mut buffer = vec![0; usize::try_from(length - start).unwrap_or(0)];
    let bytes = read_at(file, &mut buffer, start)?;
    Ok(memrchr(b'\n', &buffer[..bytes]).map_or(start, |at| start + at as u64 + 1))
}

fn fingerprint(file: &File, offset: u64) -> io::Result<String> {
    let mut buffer = [0; FINGERPRINT_BYTES as usize];
    let length = offset.min(FINGERPRINT_BYTES);
    let buffer = &mut buffer[..usize::try_from(length).unwrap_or(0)];
    let bytes = read_at(file, buffer, offset - length)?;
    Ok(blake3::hash(&buffer[..bytes]).to_hex()[..32].to_owned())
}

/// Fills the buffer, unless the file ends before. Returns the number of bytes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
