//! Cuts received bytes into lines of limited length.

use zeroize::Zeroize;

/// The longest command in bytes, including CR LF (RFC 2449, section 4).
pub const COMMAND_LIMIT: usize = 255;
/// The longest line in bytes, including CR LF, that carries a user name or secret: USER, PASS, APOP,
/// AUTH and the lines of a SASL exchange. Access tokens are longer than commands; RFC 5034 sets no
/// limit, and mail servers accept longer passwords than RFC 2449 allows. With one read it bounds the
/// input that is kept for a client that has not logged in.
pub const LOGIN_LIMIT: usize = 12_288;
/// Capacity in bytes up to which a buffer is not shrunk.
const KEPT_CAPACITY: usize = 4096;

/// The result of [`LineBuffer::next_line`].
#[derive(Debug, PartialEq, Eq)]
pub enum NextLine {
    /// A whole line, which [`LineBuffer::line`] returns without its line end.
    Line,
    /// A line over the limit, reported once and then discarded. [`LineBuffer::line`] returns the part
    /// of it that had arrived.
    TooLong,
    /// The line end has not arrived.
    Incomplete,
}

/// Received bytes that are not used yet: at most the limit and one read. They are wiped after use,
/// because commands carry secrets.
#[derive(Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    start: usize,
    line: std::ops::Range<usize>,
    /// Bytes before this index contain no line end.
    searched: usize,
    discarding: bool,
}

impl LineBuffer {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.compact();
        }
        if self.bytes.spare_capacity_mut().len() < bytes.len() {
            self.replace((self.bytes.len() + bytes.len()).next_power_of_two().max(64));
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Finds the next line, of at most `limit` bytes including its line end.
    pub fn next_line(&mut self, limit: usize) -> NextLine {
        loop {
            let from = self.searched.max(self.start);
            let end = memchr::memchr(b'\n', &self.bytes[from..]).map(|at| from + at);
            match end {
                Some(end) => {
                    let start = self.start;
                    self.start = end + 1;
                    if std::mem::take(&mut self.discarding) {
                        continue;
                    }
                    let text = if end > start && self.bytes[end - 1] == b'\r' { end - 1 } else { end };
                    self.line = start..text;
                    return if end + 1 - start > limit { NextLine::TooLong } else { NextLine::Line };
                }
                None => {
                    self.searched = self.bytes.len();
                    if self.discarding {
                        self.start = self.bytes.len();
                        self.compact();
                    } else if self.bytes.len() - self.start >= limit {
                        self.discarding = true;
                        self.line = self.start..self.bytes.len();
                        self.start = self.bytes.len();
                        return NextLine::TooLong;
                    } else {
                        self.compact();
                    }
                    return NextLine::Incomplete;
                }
            }
        }
    }

    /// The line that [`next_line`](Self::next_line) has found last.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.bytes[self.line.clone()]
    }

    /// Whether there are bytes after that line.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.start < self.bytes.len()
    }

    /// The bytes after that line: the beginning of the next one. Not the rest of a line that is being
    /// discarded.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        let rest = &self.bytes[self.start..];
        if !self.discarding {
            return rest;
        }
        memchr::memchr(b'\n', rest).map_or(&[], |end| &rest[end + 1..])
    }

    /// Drops all bytes. What was received before a TLS handshake must not be taken for a command
    /// after it (RFC 2595, section 4).
    pub fn discard(&mut self) {
        self.bytes.zeroize();
        *self = Self::default();
    }

    /// Moves the bytes to a buffer of another size. A `Vec` that grows or shrinks by itself leaves a
    /// copy behind that is not wiped.
    fn replace(&mut self, capacity: usize) {
        let mut resized = Vec::with_capacity(capacity);
        resized.extend_from_slice(&self.bytes);
        self.bytes.zeroize();
        self.bytes = resized;
    }

    fn compact(&mut self) {
        self.line = 0..0;
        if self.start == self.bytes.len() {
            // An idle connection keeps no buffer.
            self.bytes.zeroize();
            self.bytes = Vec::new();
        } else if self.start > 0 {
            let rest = self.bytes.len() - self.start;
            self.bytes.copy_within(self.start.., 0);
            self.bytes[rest..].zeroize();
            self.bytes.truncate(rest);
        }
        if self.bytes.capacity() > KEPT_CAPACITY && self.bytes.capacity() / 2 > self.bytes.len() {
            // One read can bring much more than the incomplete line that is left of it.
            self.replace(self.bytes.len());
        }
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl std::fmt::Debug for LineBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes may contain a password.
        f.debug_struct("LineBuffer")
            .field("unused_bytes", &(self.bytes.len() - self.start))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]], limit: usize) -> Vec<Result<Vec<u8>, ()>> {
        let mut buffer = LineBuffer::default();
        let mut found = Vec::new();
        for chunk in chunks {
            buffer.push(chunk);
            loop {
                match buffer.next_line(limit) {
                    NextLine::Line => found.push(Ok(buffer.line().to_vec())),
                    NextLine::TooLong => found.push(Err(())),
                    NextLine::Incomplete => break,
                }
            }
        }
        found
    }

    fn ok(text: &str) -> Result<Vec<u8>, ()> {
        Ok(text.as_bytes().to_vec())
    }

    #[test]
    fn pipelined_lines_are_returned_one_by_one() {
        assert_eq!(lines(&[b"USER a\r\nPASS b\r\nSTAT\r\n"], 255), [ok("USER a"), ok("PASS b"), ok("STAT")]);
    }

    #[test]
    fn a_line_may_arrive_byte_by_byte() {
        let bytes: Vec<[u8; 1]> = b"NOOP\r\nQUIT\n".iter().map(|&o| [o]).collect();
        let chunks: Vec<&[u8]> = bytes.iter().map(<[u8; 1]>::as_slice).collect();
        assert_eq!(lines(&chunks, 255), [ok("NOOP"), ok("QUIT")]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_more_byte_does_not() {
        let fits = [vec![b'x'; 253], b"\r\n".to_vec()].concat();
        let long = [vec![b'x'; 254], b"\r\n".to_vec()].concat();
        assert_eq!(lines(&[&fits], 255), [Ok(vec![b'x'; 253])]);
        assert_eq!(lines(&[&long, b"QUIT\r\n"], 255), [Err(()), ok("QUIT")]);
    }

    #[test]
    fn ten_megabytes_without_a_line_end_take_no_memory_and_one_error() {
        let mut buffer = LineBuffer::default();
        let mut errors = 0;
        for _ in 0..640 {
            buffer.push(&[b'a'; 16_384]);
            while buffer.next_line(COMMAND_LIMIT) == NextLine::TooLong {
                errors += 1;
            }
            assert!(buffer.bytes.capacity() <= 32_768);
        }
        buffer.push(b"\r\nQUIT\r\n");
        assert_eq!(errors, 1);
        assert_eq!(buffer.next_line(COMMAND_LIMIT), NextLine::Line);
        assert_eq!(buffer.line(), b"QUIT");
    }

    #[test]
    fn an_incomplete_line_takes_little_more_memory_than_its_length() {
        let mut buffer = LineBuffer::default();
        let mut largest = 0;
        for _ in 0..200 {
            buffer.push(&[b'a'; 61]);
            assert_eq!(buffer.next_line(LOGIN_LIMIT), NextLine::Incomplete);
            largest = largest.max(buffer.bytes.capacity());
        }
        // Now after whole lines, all received at once.
        buffer.discard();
        buffer.push(&[&b"NOOP\r\n".repeat(1000)[..], &[b'a'; LOGIN_LIMIT - 1][..]].concat());
        while buffer.next_line(LOGIN_LIMIT) == NextLine::Line {}
        largest = largest.max(buffer.bytes.capacity());
        assert!(largest <= 16 << 10, "{largest} bytes for a line of up to {LOGIN_LIMIT}");
        buffer.discard();
        buffer.push(&[&b"NOOP\r\n".repeat(2000)[..], b"NO"].concat());
        while buffer.next_line(COMMAND_LIMIT) == NextLine::Line {}
        assert!(buffer.bytes.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn the_beginning_of_a_line_that_is_too_long_is_returned() {
        for bytes in [&b"PASS aaaaaaaaaaaaaaaa"[..], b"PASS aaaaaaaaaaaaaaaa\r\nQUIT\r\n"] {
            let mut buffer = LineBuffer::default();
            buffer.push(bytes);
            assert_eq!(buffer.next_line(16), NextLine::TooLong);
            assert!(buffer.line().starts_with(b"PASS aaa"));
            assert!(!buffer.line().contains(&b'\n'));
        }
    }

    #[test]
    fn an_idle_buffer_holds_no_memory() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"NOOP\r\n");
        assert_eq!(buffer.next_line(255), NextLine::Line);
        assert_eq!(buffer.next_line(255), NextLine::Incomplete);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn lines_that_are_taken_as_they_arrive_take_no_memory() {
        let mut buffer = LineBuffer::default();
        for _ in 0..1000 {
            buffer.push(b"NOOP\r\n");
            assert_eq!(buffer.next_line(255), NextLine::Line);
            assert_eq!((buffer.line(), buffer.has_rest()), (&b"NOOP"[..], false));
        }
        assert_eq!(buffer.bytes.capacity(), 64);
    }

    #[test]
    fn a_buffer_keeps_its_size_while_it_is_small_or_half_full() {
        for (length, incomplete, is_kept) in [
            (KEPT_CAPACITY, 1, true),
            (2 * KEPT_CAPACITY, KEPT_CAPACITY + 1, true),
            (2 * KEPT_CAPACITY, 1, false),
        ] {
            let mut buffer = LineBuffer::default();
            buffer.push(
                &[&b"NOOP\n".repeat((length - incomplete) / 5)[..], &vec![b'a'; incomplete][..]].concat(),
            );
            assert_eq!(buffer.bytes.capacity(), length);
            while buffer.next_line(LOGIN_LIMIT) == NextLine::Line {}
            assert_eq!(buffer.bytes, vec![b'a'; incomplete]);
            assert_eq!(buffer.bytes.capacity() == length, is_kept, "{length} {incomplete}");
        }
    }

    #[test]
    fn what_follows_a_line_is_the_rest_but_not_the_end_of_a_line_that_is_too_long() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"STLS\r\nQUIT\r\nNO");
        for rest in [&b"QUIT\r\nNO"[..], b"NO"] {
            assert_eq!(buffer.next_line(12), NextLine::Line);
            assert_eq!((buffer.has_rest(), buffer.rest()), (true, rest));
        }
        buffer.push(b"OOOOOOOOOOP");
        assert_eq!(buffer.next_line(12), NextLine::TooLong);
        assert_eq!((buffer.has_rest(), buffer.rest()), (false, &b""[..]));
        buffer.push(b"OOP");
        assert_eq!(buffer.rest(), b"", "still the same line");
        buffer.push(b"P\r\nQUIT\r\n");
        assert_eq!(buffer.rest(), b"QUIT\r\n");
        buffer.discard();
        assert_eq!((buffer.has_rest(), buffer.rest(), buffer.line()), (false, &b""[..], &b""[..]));
        assert_eq!(buffer.next_line(12), NextLine::Incomplete);
    }

    #[test]
    fn debug_output_contains_no_received_bytes() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"USER a\r\nPASS b");
        assert_eq!(buffer.next_line(255), NextLine::Line);
        assert_eq!(format!("{buffer:?}"), "LineBuffer { unused_bytes: 6, .. }");
    }

    proptest::proptest! {
        #[test]
        fn the_lines_do_not_depend_on_how_the_bytes_arrive(
            bytes in proptest::collection::vec(proptest::sample::select(&b"ab\r\n"[..]), 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..10),
        ) {
            let whole = lines(&[&bytes], 12);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            proptest::prop_assert_eq!(lines(&chunks, 12), whole);
        }
    }
}
