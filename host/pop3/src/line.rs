//! From octets as they arrive to lines, within bounds.

use zeroize::Zeroize;

/// The longest command in bytes, its CR LF included (RFC 2449, section 4).
pub const COMMAND_LIMIT: usize = 255;
/// The longest line in bytes that carries a login, its CR LF included: USER, PASS, APOP, AUTH
/// and the lines of a SASL exchange. Access tokens are longer than commands; RFC 5034 sets no
/// limit, and mail servers take longer passwords than RFC 2449 allows. A client that has not
/// logged in can make the host hold this much.
pub const LOGIN_LIMIT: usize = 12_288;
/// A buffer that holds less than this much need not become smaller.
const SMALL: usize = 4096;

/// What [`LineBuffer::next_line`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole line, which [`LineBuffer::line`] shows, without its end.
    Line,
    /// A line that is longer than allowed. Said once; the line itself is dropped.
    /// [`LineBuffer::line`] shows what was there of it.
    TooLong,
    /// More octets are needed.
    Incomplete,
}

/// Octets that have arrived and are not yet used. Holds at most the limit and one read; what
/// it lets go is wiped, because commands carry secrets.
#[derive(Default)]
pub struct LineBuffer {
    octets: Vec<u8>,
    start: usize,
    line: std::ops::Range<usize>,
    /// Octets before this have been searched for a line's end.
    searched: usize,
    discarding: bool,
}

impl LineBuffer {
    /// Adds octets that have arrived.
    pub fn push(&mut self, octets: &[u8]) {
        if self.start > 0 {
            self.compact();
        }
        if self.octets.capacity() - self.octets.len() < octets.len() {
            self.replace((self.octets.len() + octets.len()).next_power_of_two().max(64));
        }
        self.octets.extend_from_slice(octets);
    }

    /// Finds the next line of at most `limit` octets, its end included.
    pub fn next_line(&mut self, limit: usize) -> Next {
        loop {
            let from = self.searched.max(self.start);
            let end = memchr::memchr(b'\n', &self.octets[from..]).map(|at| from + at);
            match end {
                Some(end) => {
                    let start = self.start;
                    self.start = end + 1;
                    self.searched = end + 1;
                    if std::mem::take(&mut self.discarding) {
                        continue;
                    }
                    let text = if end > start && self.octets[end - 1] == b'\r' { end - 1 } else { end };
                    self.line = start..text;
                    return if end + 1 - start > limit { Next::TooLong } else { Next::Line };
                }
                None => {
                    self.searched = self.octets.len();
                    if self.discarding {
                        self.start = self.octets.len();
                        self.compact();
                    } else if self.octets.len() - self.start >= limit {
                        self.discarding = true;
                        self.line = self.start..self.octets.len();
                        self.start = self.octets.len();
                        return Next::TooLong;
                    } else {
                        self.compact();
                    }
                    return Next::Incomplete;
                }
            }
        }
    }

    /// The line that [`next_line`](Self::next_line) found last.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.octets[self.line.clone()]
    }

    /// Whether octets wait that belong to no line that was taken.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.start < self.octets.len()
    }

    /// What waits and belongs to no line that was taken.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.octets[self.start..]
    }

    /// Drops everything that has arrived: what came before a TLS handshake must not be taken
    /// for a command inside it (RFC 2595, section 4).
    pub fn discard(&mut self) {
        self.octets.zeroize();
        *self = Self::default();
    }

    /// Moves to a buffer of another size: a Vec that grows or shrinks would leave a copy behind.
    fn replace(&mut self, capacity: usize) {
        let mut other = Vec::with_capacity(capacity);
        other.extend_from_slice(&self.octets);
        self.octets.zeroize();
        self.octets = other;
    }

    fn compact(&mut self) {
        self.line = 0..0;
        if self.start == self.octets.len() {
            // Nothing is in flight: an idle connection keeps no buffer.
            self.octets.zeroize();
            self.octets = Vec::new();
        } else if self.start > 0 {
            let rest = self.octets.len() - self.start;
            self.octets.copy_within(self.start.., 0);
            self.octets[rest..].zeroize();
            self.octets.truncate(rest);
        }
        if self.octets.capacity() > SMALL && self.octets.capacity() / 2 > self.octets.len() {
            // A read brings more at once than a line that is waited for needs.
            self.replace(self.octets.len());
        }
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl std::fmt::Debug for LineBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The octets may be a password.
        f.debug_struct("LineBuffer")
            .field("waiting", &(self.octets.len() - self.start))
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
                    Next::Line => found.push(Ok(buffer.line().to_vec())),
                    Next::TooLong => found.push(Err(())),
                    Next::Incomplete => break,
                }
            }
        }
        found
    }

    fn ok(text: &str) -> Result<Vec<u8>, ()> {
        Ok(text.as_bytes().to_vec())
    }

    #[test]
    fn pipelined_lines_come_one_by_one() {
        assert_eq!(lines(&[b"USER a\r\nPASS b\r\nSTAT\r\n"], 255), [ok("USER a"), ok("PASS b"), ok("STAT")]);
    }

    #[test]
    fn a_line_may_arrive_octet_by_octet() {
        let octets: Vec<[u8; 1]> = b"NOOP\r\nQUIT\n".iter().map(|&o| [o]).collect();
        let chunks: Vec<&[u8]> = octets.iter().map(<[u8; 1]>::as_slice).collect();
        assert_eq!(lines(&chunks, 255), [ok("NOOP"), ok("QUIT")]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_more_octet_does_not() {
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
            while buffer.next_line(COMMAND_LIMIT) == Next::TooLong {
                errors += 1;
            }
            assert!(buffer.octets.capacity() <= 32_768);
        }
        buffer.push(b"\r\nQUIT\r\n");
        assert_eq!(errors, 1);
        assert_eq!(buffer.next_line(COMMAND_LIMIT), Next::Line);
        assert_eq!(buffer.line(), b"QUIT");
    }

    #[test]
    fn a_line_that_is_not_whole_holds_about_its_own_length() {
        let mut buffer = LineBuffer::default();
        let mut most = 0;
        for _ in 0..200 {
            buffer.push(&[b'a'; 61]);
            assert_eq!(buffer.next_line(LOGIN_LIMIT), Next::Incomplete);
            most = most.max(buffer.octets.capacity());
        }
        // Lines that are used up came with it, as many as a read brings.
        buffer.discard();
        buffer.push(&[&b"NOOP\r\n".repeat(1000)[..], &[b'a'; LOGIN_LIMIT - 1][..]].concat());
        while buffer.next_line(LOGIN_LIMIT) == Next::Line {}
        most = most.max(buffer.octets.capacity());
        assert!(most <= 16 << 10, "{most} bytes for a line of up to {LOGIN_LIMIT}");
        buffer.discard();
        buffer.push(&[&b"NOOP\r\n".repeat(2000)[..], b"NO"].concat());
        while buffer.next_line(COMMAND_LIMIT) == Next::Line {}
        assert!(buffer.octets.capacity() <= SMALL);
    }

    #[test]
    fn the_beginning_of_a_line_that_is_too_long_is_shown() {
        for octets in [&b"PASS aaaaaaaaaaaaaaaa"[..], b"PASS aaaaaaaaaaaaaaaa\r\nQUIT\r\n"] {
            let mut buffer = LineBuffer::default();
            buffer.push(octets);
            assert_eq!(buffer.next_line(16), Next::TooLong);
            assert!(buffer.line().starts_with(b"PASS aaa"));
            assert!(!buffer.line().contains(&b'\n'));
        }
    }

    #[test]
    fn an_idle_buffer_holds_no_memory() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"NOOP\r\n");
        assert_eq!(buffer.next_line(255), Next::Line);
        assert_eq!(buffer.next_line(255), Next::Incomplete);
        assert_eq!(buffer.octets.capacity(), 0);
    }

    proptest::proptest! {
        #[test]
        fn however_octets_are_cut_the_lines_are_the_same(
            octets in proptest::collection::vec(proptest::sample::select(&b"ab\r\n"[..]), 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..10),
        ) {
            let whole = lines(&[&octets], 12);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(octets.len())).collect();
            cuts.extend([0, octets.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &octets[w[0]..w[1]]).collect();
            proptest::prop_assert_eq!(lines(&chunks, 12), whole);
        }
    }
}
