//! Lines of arbitrary bytes, with a limit of their length and so of memory.

use std::io::{self, Read};

use memchr::memchr;

/// Maximum length of a line in bytes; longer ones are skipped.
pub(super) const LINE_LIMIT: usize = 64 << 10;
const BUFFER_BYTES: usize = 256 << 10;

/// A line without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than [`LINE_LIMIT`]: skipped.
    TooLong,
}

/// Splits a source into lines.
pub(super) struct Lines<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0, ended: false }
    }

    /// The next line; none at the end and after an error.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        let mut too_long = false;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = memchr(b'\n', &unread[searched..]) {
                let length = searched + at;
                let line = self.start..self.start + length;
                self.start += length + 1;
                return Ok(Some(self.line(line, too_long)));
            }
            searched = unread.len();
            if self.ended {
                let line = self.start..self.end;
                self.start = self.end;
                let is_line = too_long || !line.is_empty();
                return Ok(is_line.then(|| self.line(line, too_long)));
            }
            if searched > LINE_LIMIT {
                too_long = true;
                self.start = self.end;
                searched = 0;
            }
            self.fill()?;
        }
    }

    fn line(&self, range: std::ops::Range<usize>, too_long: bool) -> Line<'_> {
        let line = &self.buffer[range];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if too_long || line.len() > LINE_LIMIT { Line::TooLong } else { Line::Whole(line) }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.end += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    (self.ended, self.start, self.end) = (true, 0, 0);
                    return Err(error);
                }
            }
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a few bytes per read.
    struct SlowSource<'a>(&'a [u8], usize);

    impl Read for SlowSource<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(into.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn all(bytes: &[u8], per_read: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(SlowSource(bytes, per_read));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
        all
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_may_be_too_long() {
        let mut log = b"one\r\n\ntwo\n".to_vec();
        log.resize(log.len() + 1_000_000, b'x');
        log.extend_from_slice(b"\nthree\n");
        log.resize(log.len() + LINE_LIMIT, b'y');
        log.extend_from_slice(b"\nlast");
        for per_read in [7, 4096, 100_000, usize::MAX] {
            let lines = all(&log, per_read);
            assert_eq!(lines.len(), 7, "{per_read}");
            assert_eq!(lines[0].as_deref(), Some(&b"one"[..]));
            assert_eq!(lines[1].as_deref(), Some(&b""[..]));
            assert_eq!(lines[3], None, "a megabyte");
            assert_eq!(lines[4].as_deref(), Some(&b"three"[..]));
            assert_eq!(lines[5].as_ref().map(Vec::len), Some(LINE_LIMIT));
            assert_eq!(lines[6].as_deref(), Some(&b"last"[..]));
        }
        assert!(all(b"", 1).is_empty());
        let mut long = Vec::new();
        long.resize(3 * LINE_LIMIT, b'z');
        assert_eq!(all(&long, 5000), [None]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_between_reads(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..2000), per_read in 1_usize..50) {
            let lines: Vec<_> = all(&bytes, per_read).into_iter().map(Option::unwrap).collect();
            let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let expected: Vec<_> = expected.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
