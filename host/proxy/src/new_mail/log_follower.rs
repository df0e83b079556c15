//! Follows a mail log for deliveries: through rotation by renaming and by copying, through truncation,
//! and on from the last position after a restart.
//!
//! The file is polled: a poll that finds nothing is three `stat` calls. The position is written after
//! the signals have been applied, so that a crash repeats signals and never skips any.

mod tail;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::deliveries::{Backoff, Deliveries, Gap, NotWritten, now_ms};
use super::position::{PositionFile, siblings};
use tail::{Mark, Next, Tail};

/// How often the file is looked at: a signal is later than its line by up to this time.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The longest pause between attempts to apply signals.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often an unreadable file is tried. Each attempt reports a gap: signals are complete only after
/// the last of them.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Follows one log file.
#[derive(Debug)]
pub(crate) struct LogFollower {
    path: PathBuf,
    /// The file that now has the log's name; None if there is none, or it cannot be read.
    current: Option<Tail>,
    /// Files that had it before, oldest first: programs write to a renamed file until they open the
    /// new one.
    older: Vec<Tail>,
    position_file: PositionFile,
    /// What the position file has.
    saved: Vec<Mark>,
    /// The error that was logged last.
    problem: Option<String>,
    has_started: bool,
}

/// The files of a log in which a follower has to read on, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
struct Position {
    files: Vec<Mark>,
}

impl LogFollower {
    /// Follows the log at `path`, which need not exist yet. `position` is the file with the position
    /// in it, which must be in a folder that Reprieve can write to.
    pub(crate) fn new(path: PathBuf, position: PathBuf) -> Self {
        Self {
            path,
            current: None,
            older: Vec::new(),
            position_file: PositionFile::new(position),
            saved: Vec::new(),
            problem: None,
            has_started: false,
        }
    }

    /// Follows the log until `stop`. Files are read by short blocking calls.
    pub(crate) async fn run(mut self, deliveries: &impl Deliveries, stop: CancellationToken) {
        let mut backoff = Backoff::new(POLL_INTERVAL, LONGEST_PAUSE);
        loop {
            let pause = match self.poll(deliveries).await {
                Ok(()) => {
                    backoff.reset();
                    if self.problem.is_some() { RETRY_INTERVAL } else { POLL_INTERVAL }
                }
                Err(NotWritten) => backoff.pause(),
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                self.save();
                return;
            }
        }
    }

    /// Reads everything that the log has now.
    async fn poll(&mut self, deliveries: &impl Deliveries) -> Result<(), NotWritten> {
        let found = if self.has_started { self.find() } else { self.start(deliveries) };
        match found {
            Ok(()) => self.works_again(),
            Err(error) => self.report(&error, deliveries),
        }
        let read = self.read_all(deliveries).await;
        if self.position_file.is_due() {
            self.save();
        }
        read
    }

    /// Finds the remembered position. Is called again until it succeeds.
    fn start(&mut self, deliveries: &impl Deliveries) -> io::Result<()> {
        let Some(Position { files }) = self.position_file.load() else {
            let opened = Tail::open(&self.path, true);
            self.has_started = is_found_or_missing(&opened);
            self.current = Some(opened?);
            deliveries.missed(Gap::NoPosition);
            return Ok(());
        };
        self.older.clear();
        let mut is_whole = !files.is_empty();
        for mark in &files {
            match self.resume(mark) {
                Some((path, tail)) if path == self.path => self.current = Some(tail),
                Some((_, tail)) => self.older.push(tail),
                None => is_whole = false,
            }
        }
        if self.current.is_none() {
            is_whole &= self.nothing_between();
        }
        if !is_whole {
            deliveries.missed(Gap::RotatedAway);
        }
        if self.current.is_none() {
            // All of the new file follows the position, unless something between them is lost.
            let opened = Tail::open(&self.path, !is_whole);
            self.has_started = is_found_or_missing(&opened);
            let mut tail = opened?;
            tail.contents_are_old();
            self.current = Some(tail);
        }
        self.has_started = true;
        Ok(())
    }

    /// The file that has this position: the log itself, or one that it was renamed or copied to.
    fn resume(&self, mark: &Mark) -> Option<(PathBuf, Tail)> {
        let mut candidates = siblings(&self.path);
        let inode = |path: &PathBuf| std::fs::metadata(path).map(|metadata| metadata.ino()).ok();
        candidates.sort_by_key(|path| (inode(path) != Some(mark.inode), *path != self.path));
        candidates.into_iter().find_map(|path| {
            let tail = Tail::resume(&path, mark).ok()??;
            // An empty file has every position at its beginning.
            (mark.offset > 0 || tail.mark().inode == mark.inode).then_some((path, tail))
        })
    }

    /// Whether no other file of the log was written to after those that are being read.
    fn nothing_between(&self) -> bool {
        let known: Vec<u64> = self.older.iter().map(|tail| tail.mark().inode).collect();
        let files: Vec<_> = siblings(&self.path)
            .into_iter()
            .filter(|path| *path != self.path)
            .filter_map(|path| std::fs::metadata(path).ok())
            .collect();
        let last = files
            .iter()
            .filter(|file| known.contains(&file.ino()))
            .filter_map(|file| file.modified().ok())
            .max();
        !known.is_empty()
            && files.iter().all(|file| known.contains(&file.ino()) || file.modified().ok() <= last)
    }

    /// Opens the log if another file has its name now.
    fn find(&mut self) -> io::Result<()> {
        let inode = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata.ino(),
            // Between the renaming of the log and its next line.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.current.is_some() => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.current.as_ref().is_some_and(|tail| tail.mark().inode == inode) {
            return Ok(());
        }
        let tail = Tail::open(&self.path, false)?;
        self.older.extend(self.current.replace(tail));
        Ok(())
    }

    /// Reads all files to their ends.
    async fn read_all(&mut self, deliveries: &impl Deliveries) -> Result<(), NotWritten> {
        let mut at = 0;
        while at < self.older.len() {
            let is_readable = read(&mut self.older[at], deliveries).await?;
            let is_last = at + 1 == self.older.len();
            if !is_readable {
                deliveries.missed(Gap::Truncated);
            }
            if !is_readable || !is_last || self.older[at].is_deleted() {
                self.older.remove(at);
            } else {
                at += 1;
            }
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        if !read(current, deliveries).await? {
            self.truncated(deliveries);
            if let Some(current) = &mut self.current {
                read(current, deliveries).await?;
            }
        }
        Ok(())
    }

    /// The log was truncated: perhaps after it was copied, and then the copy has the rest.
    fn truncated(&mut self, deliveries: &impl Deliveries) {
        // Lines that were written between the copying and the truncation are nowhere.
        deliveries.missed(Gap::Truncated);
        let Some(mark) = self.current.as_ref().map(|tail| tail.mark().clone()) else { return };
        let copy = self.resume(&mark).filter(|(path, _)| *path != self.path);
        self.older.extend(copy.map(|(_, tail)| tail));
        if let Some(current) = &mut self.current
            && current.restart().is_err()
        {
            self.current = None;
        }
    }

    /// Writes the position if it has changed.
    fn save(&mut self) {
        let files: Vec<Mark> =
            self.older.iter().chain(&self.current).map(|tail| tail.mark().clone()).collect();
        if files != self.saved && !files.is_empty() {
            let position = Position { files };
            if self.position_file.save(&position) {
                self.saved = position.files;
            }
        }
    }

    /// Reports a gap, and logs an error once.
    fn report(&mut self, error: &io::Error, deliveries: &impl Deliveries) {
        deliveries.missed(Gap::Unreadable);
        let text = error.to_string();
        if self.problem.as_ref() != Some(&text) {
            let path = self.path.display();
            tracing::warn!(
                "cannot read the mail log {path}: {text}; until then, new mail is not noticed in it"
            );
            self.problem = Some(text);
        }
    }

    fn works_again(&mut self) {
        if self.problem.take().is_some() {
            tracing::info!("the mail log {} can be read again", self.path.display());
        }
    }
}

/// Whether a file could be opened, or does not exist yet: then all that it will have is new.
fn is_found_or_missing(opened: &io::Result<Tail>) -> bool {
    opened.as_ref().err().is_none_or(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Reads a file to its end. False if the position is no longer in it.
async fn read(tail: &mut Tail, deliveries: &impl Deliveries) -> Result<bool, NotWritten> {
    loop {
        match tail.next(now_ms()) {
            Ok(Next::Nothing) => return Ok(true),
            Ok(Next::Truncated) => return Ok(false),
            Err(error) => {
                tracing::debug!("cannot read on in a mail log: {error}");
                deliveries.missed(Gap::Unreadable);
                return Ok(true);
            }
            Ok(Next::Batch(batch)) => {
                if !batch.deliveries.is_empty() {
                    deliveries.delivered(&batch.deliveries).await?;
                }
                batch.gaps.iter().for_each(|gap| deliveries.missed(*gap));
                tail.commit(batch);
            }
        }
    }
}

#[cfg(test)]
mod tests;
