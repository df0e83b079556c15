//! Where a log is: a file or standard input, plain or compressed. Its first octets tell, not its
//! name.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use flate2::read::MultiGzDecoder;

use reprieve_store::clock::{Clock as _, SystemClock};

/// Of a window of which zstd speaks, the most that is believed, as a power of two: 128 MiB.
const ZSTD_WINDOW: u32 = 27;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// A file.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl From<&str> for LogFile {
    /// `-` is standard input.
    fn from(name: &str) -> Self {
        if name == "-" { Self::Stdin } else { Self::Path(PathBuf::from(name)) }
    }
}

impl LogFile {
    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Octets that it has, as it is kept; none where that is not known.
    #[must_use]
    pub fn octets(&self) -> Option<u64> {
        match self {
            Self::Path(path) => {
                path.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
            }
            Self::Stdin => None,
        }
    }

    /// When it was written last, in milliseconds since 1970; now, where that is not known.
    #[must_use]
    pub fn written_ms(&self) -> u64 {
        let modified = match self {
            Self::Path(path) => path.metadata().and_then(|file| file.modified()).ok(),
            Self::Stdin => None,
        };
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or_else(|| SystemClock.now_ms())
    }

    /// Opens it. `read` counts the octets that were taken from it, as it is kept.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn open(&self, read: &Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
        match self {
            Self::Path(path) => {
                refuse_folder(path)?;
                unpacked(Counting { source: File::open(path)?, read: read.clone() })
            }
            Self::Stdin => unpacked(Counting { source: io::stdin(), read: read.clone() }),
        }
    }
}

fn refuse_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::other("it is a folder; name the logs in it"));
    }
    Ok(())
}

/// Looks at the first octets.
fn unpacked(mut source: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut first = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut first)?;
    let is_gzip = first.starts_with(&GZIP);
    let is_zstd = first == ZSTD;
    let whole = Cursor::new(first).chain(source);
    if is_gzip {
        // Logs that were appended to have more than one member.
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    if is_zstd {
        let mut decoder = zstd::Decoder::new(whole)?;
        decoder.window_log_max(ZSTD_WINDOW)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(whole))
}

struct Counting<R> {
    source: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let octets = self.source.read(into)?;
        self.read.fetch_add(octets as u64, Ordering::Relaxed);
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(octets: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        unpacked(Cursor::new(octets.to_vec()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_logs_are_known_by_their_first_octets() {
        assert_eq!(read(b"plain\n").unwrap(), "plain\n");
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read(&[gzip("one\n"), gzip("two\n")].concat()).unwrap(), "one\ntwo\n");
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        assert_eq!(read(&[zstd("one\n"), zstd("two\n")].concat()).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error_and_no_panic() {
        let whole = gzip("a log that is long enough to be cut off\n");
        assert!(read(&whole[..whole.len() - 9]).is_err());
        assert!(read(&[&ZSTD[..], &[0xff; 40]].concat()).is_err());
        assert!(read(&[&GZIP[..], &[0xff; 40]].concat()).is_err());
    }

    #[test]
    fn a_folder_is_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let error = LogFile::Path(folder.path().to_owned()).open(&Arc::default()).err().unwrap();
        assert!(error.to_string().contains("name the logs in it"));
    }
}
