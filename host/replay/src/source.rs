//! A log to read: a file or standard input. Compression is recognised by the first bytes.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use flate2::read::MultiGzDecoder;

use reprieve_store::clock::{Clock as _, SystemClock};

/// The largest zstd window that is accepted, as a power of two: 128 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A log to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A file, which may be compressed.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl From<&str> for LogSource {
    /// A path, or `-` for standard input.
    fn from(name: &str) -> Self {
        if name == "-" { Self::Stdin } else { Self::Path(PathBuf::from(name)) }
    }
}

impl LogSource {
    /// Name in reports and messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Size in bytes, before decompression. None if it is unknown.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Path(path) => {
                path.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
            }
            Self::Stdin => None,
        }
    }

    /// Modification time in milliseconds since 1970; the current time if it is unknown.
    #[must_use]
    pub fn modified_ms(&self) -> u64 {
        let modified = match self {
            Self::Path(path) => path.metadata().and_then(|file| file.modified()).ok(),
            Self::Stdin => None,
        };
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or_else(|| SystemClock.now_ms())
    }

    /// Opens the log. `bytes_read` counts the bytes that are read, before decompression.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn open(&self, bytes_read: &Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
        match self {
            Self::Path(path) => {
                reject_directory(path)?;
                decompress(CountingReader { source: File::open(path)?, bytes_read: bytes_read.clone() })
            }
            Self::Stdin => decompress(CountingReader { source: io::stdin(), bytes_read: bytes_read.clone() }),
        }
    }
}

fn reject_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::other("it is a directory; name the log files in it"));
    }
    Ok(())
}

/// Decompresses the source if its first bytes are those of a compressed file.
fn decompress(mut source: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut first = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut first)?;
    let is_gzip = first.starts_with(&GZIP_MAGIC);
    let is_zstd = first == ZSTD_MAGIC;
    let whole = Cursor::new(first).chain(source);
    if is_gzip {
        // A file that was appended to has more than one member.
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    if is_zstd {
        let mut decoder = zstd::Decoder::new(whole)?;
        decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(whole))
}

struct CountingReader<R> {
    source: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.read(into)?;
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        decompress(Cursor::new(bytes.to_vec()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_logs_are_recognised_by_their_first_bytes() {
        assert_eq!(read(b"plain\n").unwrap(), "plain\n");
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read(&[gzip("one\n"), gzip("two\n")].concat()).unwrap(), "one\ntwo\n");
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        assert_eq!(read(&[zstd("one\n"), zstd("two\n")].concat()).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_truncated_or_damaged_file_is_an_error_not_a_panic() {
        let whole = gzip("a log that is long enough to be truncated\n");
        assert!(read(&whole[..whole.len() - 9]).is_err());
        assert!(read(&[&ZSTD_MAGIC[..], &[0xff; 40]].concat()).is_err());
        assert!(read(&[&GZIP_MAGIC[..], &[0xff; 40]].concat()).is_err());
    }

    #[test]
    fn a_directory_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let error = LogSource::Path(directory.path().to_owned()).open(&Arc::default()).err().unwrap();
        assert!(error.to_string().contains("name the log files in it"));
    }
}
