//! Rotation: full files are renamed with a timestamp, compressed, and deleted if there are too many.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{MODE, directory_of};
use crate::config::Rotation;

/// Extensions of compressed files, and of files while they are being compressed.
const COMPRESSED: &str = ".zst";
const PART: &str = ".zst.part";
/// The timestamp in a name, such as `20261127T220723.123Z`, which sorts by time.
const MOMENT: &str = "%Y%m%dT%H%M%S.%3fZ";
const MOMENT_LENGTH: usize = 20;

/// Renames a file and returns its new path.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let mut now = Timestamp::now().as_millisecond();
    loop {
        let moment = Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX).strftime(MOMENT).to_string();
        let aside = beside(path, &format!(".{moment}"));
        if !aside.exists() && !beside(&aside, COMPRESSED).exists() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
        now += 1;
    }
}

/// Deletes the oldest files beyond the limit and compresses the latest. Errors are logged and do not
/// stop the decision log.
pub(super) fn tidy(path: &Path, aside: PathBuf, rotation: Rotation) {
    if let Err(why) = prune(path, rotation.keep) {
        tracing::warn!(target: "decision-log", "old files of the decision log at {} cannot be deleted: {why}", path.display());
    }
    if rotation.compress && rotation.keep > 0 {
        // In a thread of its own: it takes a while, and lines must not wait.
        let spawned = std::thread::Builder::new().name("decision-log-zst".to_owned()).spawn(move || {
            if let Err(why) = compress(&aside) {
                tracing::warn!(target: "decision-log", "{} cannot be compressed: {why}", aside.display());
            }
        });
        if let Err(why) = spawned {
            tracing::warn!(target: "decision-log", "no thread to compress the decision log: {why}");
        }
    }
}

fn prune(path: &Path, keep: u32) -> io::Result<()> {
    let old = old_files(path)?;
    let surplus = old.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    for file in &old[..surplus] {
        match fs::remove_file(file) {
            // It has just been compressed and is found under its new name next time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// The rotated files, oldest first.
fn old_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|other| {
            let rest = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| is_moment(rest.strip_suffix(COMPRESSED).unwrap_or(rest)))
        });
        if is_ours {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn is_moment(text: &str) -> bool {
    let fits = |(byte, at): (u8, usize)| match at {
        8 => byte == b'T',
        15 => byte == b'.',
        19 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == MOMENT_LENGTH && text.bytes().zip(0..).all(fits)
}

fn compress(aside: &Path) -> io::Result<()> {
    let part = beside(aside, PART);
    let written = (|| {
        let mut options = OpenOptions::new();
        let target = options.write(true).create(true).truncate(true).mode(MODE).open(&part)?;
        zstd::stream::copy_encode(File::open(aside)?, &target, 0)?;
        target.sync_all()?;
        fs::rename(&part, beside(aside, COMPRESSED))
    })();
    match written {
        Ok(()) => fs::remove_file(aside),
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// A path with a suffix.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut longer = path.as_os_str().to_owned();
    longer.push(more);
    longer.into()
}
