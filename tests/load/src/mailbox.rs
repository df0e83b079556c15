//! The mailbox that the stub server shows and the load program checks: generated, the same for
//! every user, and known octet by octet at both ends without being sent or stored.
//!
//! It must not know who speaks to whom.

use std::fmt::Write as _;

/// Octets of a line of a body, its end included and dot-stuffing left out.
const LINE: usize = 78;
/// Every so many lines one begins with a dot, which is doubled on the wire.
const DOT_EVERY: usize = 16;
/// Bodies begin at different lines of the text that they share, so that a message that goes on
/// as another one is noticed.
const BEGINNINGS: usize = 64;
/// Octets of what comes before a body.
const HEADER: usize = 57;
/// What ends a multi-line reply.
const END: &[u8] = b".\r\n";

/// Messages of one size, numbered from one.
pub(crate) struct Mailbox {
    messages: u32,
    size: usize,
    /// The text that bodies are cut from, as it is on the wire: with leading dots doubled.
    text: Vec<u8>,
}

/// What RETR and TOP send after their status line, the final dot included: three slices to be
/// written or compared one after the other.
pub(crate) struct Wire<'a> {
    head: Vec<u8>,
    body: &'a [u8],
    tail: Vec<u8>,
}

impl Wire<'_> {
    /// The octets, in order.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.body, &self.tail]
    }
}

impl Mailbox {
    /// The smallest message: a header and a line.
    pub(crate) const SMALLEST: u32 = 64;
    /// The largest message, which is held in memory.
    pub(crate) const LARGEST: u32 = 256 << 20;
    /// As many messages as their numbers have room for in a header.
    pub(crate) const MOST: u32 = 99_999_999;

    /// `size` is bounded by the command line to what can be made.
    pub(crate) fn new(messages: u32, size: u32) -> Self {
        let size = size.clamp(Self::SMALLEST, Self::LARGEST) as usize;
        let mut mailbox = Self { messages, size, text: Vec::new() };
        if messages > 0 {
            let lines = mailbox.whole_lines() + BEGINNINGS;
            mailbox.text.reserve(on_the_wire(lines));
            for number in 0..lines {
                mailbox.text.extend_from_slice(line(number).as_bytes());
            }
        }
        mailbox
    }

    /// How many messages there are.
    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    /// Octets of each message, as LIST tells them.
    pub(crate) fn size(&self) -> u64 {
        self.size as u64
    }

    /// Octets of all messages, as STAT tells them.
    pub(crate) fn octets(&self) -> u64 {
        u64::from(self.messages) * self.size()
    }

    /// A message's unique-id. It tells the size, so that a client that meets stubs with different
    /// mailboxes does not take one's messages for another's.
    pub(crate) fn unique_id(&self, number: u32) -> String {
        format!("load.{}.{number:08}", self.size)
    }

    /// The whole message.
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
        let first = number as usize * 7 % BEGINNINGS;
        &self.text[on_the_wire(first)..on_the_wire(first + lines)]
    }

    /// Lines of full length; what is left of the size is the last line.
    fn whole_lines(&self) -> usize {
        let body = self.size - HEADER;
        // One octet is no line: it goes with the last full one.
        if body % LINE == 1 { body / LINE - 1 } else { body / LINE }
    }

    fn last_line(&self) -> Vec<u8> {
        let rest = self.size - HEADER - self.whole_lines() * LINE;
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

/// Octets of the first lines of the text on the wire.
fn on_the_wire(lines: usize) -> usize {
    lines * LINE + lines.div_ceil(DOT_EVERY)
}

/// A line of the text: its number, so that no place of the text looks like another, and letters
/// that follow from it.
fn line(number: usize) -> String {
    let dot = if number.is_multiple_of(DOT_EVERY) { ".." } else { "|" };
    let mut line = format!("{dot}{number:08x} ");
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let width = LINE - 2 + usize::from(dot.len() == 2);
    while line.len() < width {
        // Xorshift: quick, and long enough without a repetition.
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

    /// As a client would: without the doubled dots and the end.
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
    fn messages_have_exactly_the_size_that_is_asked_for() {
        for size in (64..400).chain([1_000, 20_000, 1_000_000]) {
            let mailbox = Mailbox::new(3, size);
            for number in 1..=3 {
                assert_eq!(received(&mailbox.message(number)).len(), size as usize, "message {number}");
            }
        }
    }

    #[test]
    fn a_line_that_begins_with_a_dot_is_doubled_and_none_looks_like_the_end() {
        let mailbox = Mailbox::new(1, 20_000);
        let sent = sent(&mailbox.message(1));
        assert!(sent.contains("\r\n.."));
        assert_eq!(sent.matches("\r\n.\r\n").count(), 1);
        assert!(
            sent.split("\r\n").all(|line| !line.starts_with('.') || line.starts_with("..") || line == ".")
        );
    }

    #[test]
    fn no_message_is_like_another_in_header_or_body() {
        let mailbox = Mailbox::new(40, 2_000);
        let mut messages: Vec<_> = (1..=40).map(|number| sent(&mailbox.message(number))).collect();
        let mut bodies: Vec<_> = messages.iter().map(|message| message[HEADER..].to_string()).collect();
        messages.sort();
        messages.dedup();
        bodies.sort();
        bodies.dedup();
        assert_eq!((messages.len(), bodies.len()), (40, 40));
    }

    #[test]
    fn no_line_of_a_large_message_comes_twice() {
        let message = sent(&Mailbox::new(1, 1_000_000).message(1));
        let mut lines: Vec<_> = message.lines().collect();
        let all = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), all);
    }

    #[test]
    fn the_top_of_a_message_is_its_beginning() {
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
