//! The mailbox that the stub serves and the load generator checks: generated messages, the same for
//! every user. Both sides can compute every byte without exchanging or storing the messages.
//!
//! Must not know about connections.

use std::fmt::Write as _;

/// Length of a line of the body, with its end and without dot-stuffing.
const LINE_BYTES: usize = 78;
/// One in this many lines begins with a dot, which is doubled on the wire (RFC 1939, section 3).
const DOT_EVERY: usize = 16;
/// Number of different first lines of bodies, so that a message that continues as another one is
/// noticed.
const FIRST_LINES: usize = 64;
/// Length of the header, with the empty line.
const HEADER_BYTES: usize = 57;
/// The end of a multi-line reply.
const END: &[u8] = b".\r\n";

/// Messages of one size, numbered from one.
pub(crate) struct Mailbox {
    messages: u32,
    size: usize,
    /// Bodies are slices of this text, which is dot-stuffed.
    text: Vec<u8>,
}

/// The reply to RETR or TOP after its status line, with the final dot, as three slices to write or
/// compare in order.
pub(crate) struct Wire<'a> {
    head: Vec<u8>,
    body: &'a [u8],
    tail: Vec<u8>,
}

impl Wire<'_> {
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.body, &self.tail]
    }
}

impl Mailbox {
    /// Minimum size of a message: a header and a line.
    pub(crate) const MIN_SIZE: u32 = 64;
    /// Maximum size of a message. One is held in memory.
    pub(crate) const MAX_SIZE: u32 = 256 << 20;
    /// Maximum number of messages: their numbers have eight digits in a header.
    pub(crate) const MAX_MESSAGES: u32 = 99_999_999;

    /// `size` is limited to the range from `MIN_SIZE` to `MAX_SIZE`.
    pub(crate) fn new(messages: u32, size: u32) -> Self {
        let size = size.clamp(Self::MIN_SIZE, Self::MAX_SIZE) as usize;
        let mut mailbox = Self { messages, size, text: Vec::new() };
        if messages > 0 {
            let lines = mailbox.whole_lines() + FIRST_LINES;
            mailbox.text.reserve(stuffed_bytes(lines));
            for number in 0..lines {
                mailbox.text.extend_from_slice(line(number).as_bytes());
            }
        }
        mailbox
    }

    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    /// Size of each message in bytes, as in LIST.
    pub(crate) fn size(&self) -> u64 {
        self.size as u64
    }

    /// Total size in bytes, as in STAT.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.messages) * self.size()
    }

    /// A message's unique-id. It contains the size, so that stubs with different mailboxes have
    /// different unique-ids.
    pub(crate) fn unique_id(&self, number: u32) -> String {
        format!("load.{}.{number:08}", self.size)
    }

    pub(crate) fn message(&self, number: u32) -> Wire<'_> {
        let mut tail = self.last_line();
        tail.extend_from_slice(END);
        Wire { head: header(number), body: self.lines(number, self.whole_lines()), tail }
    }

    /// The header and the first `lines` lines of the body.
    pub(crate) fn top(&self, number: u32, lines: usize) -> Wire<'_> {
        if lines > self.whole_lines() {
            return self.message(number);
        }
        Wire { head: header(number), body: self.lines(number, lines), tail: END.to_vec() }
    }

    fn lines(&self, number: u32, lines: usize) -> &[u8] {
        let first = number as usize * 7 % FIRST_LINES;
        &self.text[stuffed_bytes(first)..stuffed_bytes(first + lines)]
    }

    /// Number of full lines in the body; the last line has the rest of the size.
    fn whole_lines(&self) -> usize {
        let body = self.size - HEADER_BYTES;
        // A rest of one byte is too short for a line; the last full line takes it.
        if body % LINE_BYTES == 1 { body / LINE_BYTES - 1 } else { body / LINE_BYTES }
    }

    fn last_line(&self) -> Vec<u8> {
        let rest = self.size - HEADER_BYTES - self.whole_lines() * LINE_BYTES;
        let mut line = vec![b'-'; rest.saturating_sub(2)];
        if rest > 0 {
            line.extend_from_slice(b"\r\n");
        }
        line
    }
}

fn header(number: u32) -> Vec<u8> {
    format!("From: load@example.invalid\r\nSubject: message {number:08}\r\n\r\n").into_bytes()
}

/// Length of the first `lines` lines of the text with dot-stuffing.
fn stuffed_bytes(lines: usize) -> usize {
    lines * LINE_BYTES + lines.div_ceil(DOT_EVERY)
}

/// A line of the text: its number, so that no two lines are equal, and hexadecimal digits that depend
/// on it.
fn line(number: usize) -> String {
    let dot = if number.is_multiple_of(DOT_EVERY) { ".." } else { "|" };
    let mut line = format!("{dot}{number:08x} ");
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let width = LINE_BYTES - 2 + usize::from(dot.len() == 2);
    while line.len() < width {
        // Xorshift, a fast pseudo-random generator.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let _ = write!(line, "{state:016x}");
    }
    line.truncate(width);
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(wire: &Wire<'_>) -> String {
        String::from_utf8(wire.parts().concat()).unwrap()
    }

    /// The message as a client gets it: without dot-stuffing and the final dot.
    fn received(wire: &Wire<'_>) -> String {
        let sent = sent(wire);
        let content = sent.strip_suffix(".\r\n").expect("the end of a multi-line reply");
        content
            .split_inclusive("\r\n")
            .map(|line| {
                assert!(line.ends_with("\r\n"));
                line.strip_prefix('.').unwrap_or(line)
            })
            .collect()
    }

    #[test]
    fn messages_have_exactly_the_requested_size() {
        for size in (64..400).chain([1_000, 20_000, 1_000_000]) {
            let mailbox = Mailbox::new(3, size);
            for number in 1..=3 {
                assert_eq!(received(&mailbox.message(number)).len(), size as usize, "message {number}");
            }
        }
    }

    #[test]
    fn leading_dots_are_doubled_and_no_line_looks_like_the_end() {
        let mailbox = Mailbox::new(1, 20_000);
        let sent = sent(&mailbox.message(1));
        assert!(sent.contains("\r\n.."));
        assert_eq!(sent.matches("\r\n.\r\n").count(), 1);
        assert!(
            sent.split("\r\n").all(|line| !line.starts_with('.') || line.starts_with("..") || line == ".")
        );
    }

    #[test]
    fn no_two_messages_have_equal_headers_or_bodies() {
        let mailbox = Mailbox::new(40, 2_000);
        let mut messages: Vec<_> = (1..=40).map(|number| sent(&mailbox.message(number))).collect();
        let mut bodies: Vec<_> = messages.iter().map(|message| message[HEADER_BYTES..].to_string()).collect();
        messages.sort();
        messages.dedup();
        bodies.sort();
        bodies.dedup();
        assert_eq!((messages.len(), bodies.len()), (40, 40));
    }

    #[test]
    fn no_two_lines_of_a_large_message_are_equal() {
        let message = sent(&Mailbox::new(1, 1_000_000).message(1));
        let mut lines: Vec<_> = message.lines().collect();
        let all = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), all);
    }

    #[test]
    fn top_returns_the_beginning_of_the_message() {
        let mailbox = Mailbox::new(2, 5_000);
        let whole = received(&mailbox.message(2));
        for lines in [0, 1, 17] {
            let top = received(&mailbox.top(2, lines));
            assert!(whole.starts_with(&top));
            assert_eq!(top.matches("\r\n").count(), 3 + lines);
        }
        assert_eq!(received(&mailbox.top(2, 10_000)), whole);
    }
}
