//! Lines of whatever octets somebody calls a log. None takes more memory than its limit.

use std::io::{self, Read};

use memchr::memchr;

/// The longest line that is read; of longer ones only their end is looked for.
pub(super) const LINE_LIMIT: usize = 64 << 10;
const BUFFER: usize = 256 << 10;

/// A line, without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than the limit: it was skipped.
    TooLong,
}

/// Reads lines.
pub(super) struct Lines<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: vec![0; BUFFER].into(), start: 0, end: 0, ended: false }
    }

    /// The next line; none at the end. After an error there are no more.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut looked_at = 0;
        let mut too_long = false;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = memchr(b'\n', &unread[looked_at..]) {
                let length = looked_at + at;
                let line = self.start..self.start + length;
                self.start += length + 1;
                return Ok(Some(self.line(line, too_long)));
            }
            looked_at = unread.len();
            if self.ended {
                let line = self.start..self.end;
                self.start = self.end;
                let is_line = too_long || !line.is_empty();
                return Ok(is_line.then(|| self.line(line, too_long)));
            }
            if looked_at > LINE_LIMIT {
                too_long = true;
                self.start = self.end;
                looked_at = 0;
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
                Ok(octets) => self.end += octets,
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

    /// Gives a few octets at a time.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(into.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn all(octets: &[u8], drip: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(Dripping(octets, drip));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Whole(octets) => Some(octets.to_vec()),
                Line::TooLong => None,
            });
        }
        all
    }

    #[test]
    fn lines_end_in_any_way_and_may_be_too_long() {
        let mut log = b"one\r\n\ntwo\n".to_vec();
        log.resize(log.len() + 1_000_000, b'x');
        log.extend_from_slice(b"\nthree\n");
        log.resize(log.len() + LINE_LIMIT, b'y');
        log.extend_from_slice(b"\nlast");
        for drip in [7, 4096, 100_000, usize::MAX] {
            let lines = all(&log, drip);
            assert_eq!(lines.len(), 7, "{drip}");
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
        fn nothing_is_lost_between_reads(octets in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..2000), drip in 1_usize..50) {
            let lines: Vec<_> = all(&octets, drip).into_iter().map(Option::unwrap).collect();
            let mut expected: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let expected: Vec<_> = expected.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
