//! From octets as they arrive to lines, within bounds.

use zeroize::Zeroize;

/// The longest command, its CR LF included (RFC 2449, section 4).
pub const COMMAND_LIMIT: usize = 255;
/// The longest continuation of a SASL exchange, its CR LF included. Access tokens are longer
/// than commands; RFC 5034 sets no limit.
pub const CONTINUATION_LIMIT: usize = 12_288;

/// What [`LineBuffer::next_line`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole line, which [`LineBuffer::line`] shows, without its end.
    Line,
    /// A line that is longer than allowed. Said once; the line itself is dropped.
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
            // A growing Vec would leave a copy of its octets behind.
            let mut larger =
                Vec::with_capacity((self.octets.len() + octets.len()).next_power_of_two().max(64));
            larger.extend_from_slice(&self.octets);
            self.octets.zeroize();
            self.octets = larger;
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
                    if end + 1 - start > limit {
                        return Next::TooLong;
                    }
                    let text = if end > start && self.octets[end - 1] == b'\r' { end - 1 } else { end };
                    self.line = start..text;
                    return Next::Line;
                }
                None => {
                    self.searched = self.octets.len();
                    if self.discarding {
                        self.start = self.octets.len();
                        self.compact();
                    } else if self.octets.len() - self.start >= limit {
                        self.discarding = true;
                        self.start = self.octets.len();
                        self.compact();
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
