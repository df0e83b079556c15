//! Checks that STAT, LIST and UIDL agree with each other and with the known messages.

use std::collections::HashSet;

use crate::mailbox::Mailbox;

/// The numbers of a STAT reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Stat {
    /// Parses the text after +OK. Further words after the two numbers are allowed and ignored.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self { messages: number(words.next()?)?, bytes: number(words.next()?)? })
    }
}

/// Collects and checks the lines of LIST and UIDL.
pub(crate) struct Listing<'a> {
    stat: Stat,
    /// The expected messages, if known.
    mailbox: Option<&'a Mailbox>,
    sizes: Vec<u64>,
    ids: HashSet<Vec<u8>>,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(stat: Stat, mailbox: Option<&'a Mailbox>) -> Self {
        Self { stat, mailbox, sizes: Vec::new(), ids: HashSet::new() }
    }

    /// Adds a line of LIST.
    pub(crate) fn size_line(&mut self, line: &[u8]) -> Result<(), String> {
        let next = self.sizes.len() as u64 + 1;
        let text = std::str::from_utf8(line).unwrap_or_default();
        let mut words = text.split(' ');
        let numbers = (words.next().and_then(number), words.next().and_then(number));
        let (Some(message), Some(size)) = numbers else {
            return Err(format!("the line `{}` is not a number and a size", line.escape_ascii()));
        };
        if message != next || next > self.stat.messages {
            return Err(format!("a line for message {message} instead of {}", self.expected(next)));
        }
        if let Some(mailbox) = self.mailbox
            && size != mailbox.size()
        {
            return Err(format!("message {message} has {size} bytes instead of {}", mailbox.size()));
        }
        self.sizes.push(size);
        Ok(())
    }

    /// Adds a line of UIDL.
    pub(crate) fn id_line(&mut self, line: &[u8]) -> Result<(), String> {
        let next = self.ids.len() as u64 + 1;
        let (message, id) = match memchr::memchr(b' ', line) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let Some(message) = std::str::from_utf8(message).ok().and_then(number) else {
            return Err(format!("the line `{}` does not begin with a number", line.escape_ascii()));
        };
        if message != next || next > self.stat.messages {
            return Err(format!("a line for message {message} instead of {}", self.expected(next)));
        }
        if id.is_empty() || id.len() > 70 || !id.iter().all(|byte| (0x21..=0x7e).contains(byte)) {
            return Err(format!("`{}` is not a unique-id", id.escape_ascii()));
        }
        if let Some(mailbox) = self.mailbox {
            let expected = mailbox.unique_id(u32::try_from(message).unwrap_or(0));
            if id != expected.as_bytes() {
                return Err(format!("message {message} is `{}` instead of `{expected}`", id.escape_ascii()));
            }
        }
        if !self.ids.insert(id.to_vec()) {
            return Err(format!("two messages have the unique-id `{}`", id.escape_ascii()));
        }
        Ok(())
    }

    /// The sizes, after the last line of LIST; an error if they do not add up to STAT.
    pub(crate) fn sizes(&self) -> Result<&[u64], String> {
        let listed = Stat { messages: self.sizes.len() as u64, bytes: self.sizes.iter().sum() };
        if listed == self.stat { Ok(&self.sizes) } else { Err(self.differs("LIST", listed)) }
    }

    /// An error if lines are missing after the last line of UIDL.
    pub(crate) fn ids_are_complete(&self) -> Result<(), String> {
        let messages = self.ids.len() as u64;
        if messages == self.stat.messages {
            return Ok(());
        }
        Err(format!("UIDL lists {messages} messages, but STAT says {}", self.stat.messages))
    }

    fn differs(&self, command: &str, listed: Stat) -> String {
        let Stat { messages, bytes } = self.stat;
        format!(
            "{command} lists {} messages with {} bytes, but STAT says {messages} with {bytes}",
            listed.messages, listed.bytes
        )
    }

    fn expected(&self, message: u64) -> String {
        if message > self.stat.messages { "none".to_string() } else { message.to_string() }
    }
}

/// Parses digits only; `parse` alone would accept a sign.
fn number(word: &str) -> Option<u64> {
    if word.bytes().all(|byte| byte.is_ascii_digit()) { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Stat = Stat { messages: 2, bytes: 300 };

    #[test]
    fn stat_is_two_numbers() {
        assert_eq!(Stat::parse("2 300"), Some(TWO));
        assert_eq!(Stat::parse("2 300 of mail"), Some(TWO));
        for wrong in ["", "2", "two 300", "+2 300", "2  300", "-1 5"] {
            assert_eq!(Stat::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn listings_that_agree_are_accepted() {
        let mut listing = Listing::new(TWO, None);
        listing.size_line(b"1 100").unwrap();
        listing.size_line(b"2 200").unwrap();
        assert_eq!(listing.sizes(), Ok(&[100, 200][..]));
        listing.id_line(b"1 a").unwrap();
        listing.id_line(b"2 b").unwrap();
        listing.ids_are_complete().unwrap();
    }

    #[test]
    fn sizes_must_agree_with_stat() {
        let mut listing = Listing::new(TWO, None);
        listing.size_line(b"1 100").unwrap();
        assert!(listing.sizes().is_err(), "a message is missing");
        listing.size_line(b"2 201").unwrap();
        assert!(listing.sizes().is_err(), "an byte too many");
        assert!(listing.size_line(b"3 1").is_err(), "a message too many");
        assert!(Listing::new(TWO, None).size_line(b"2 200").is_err(), "not in order");
        assert!(Listing::new(TWO, None).size_line(b"1").is_err());
    }

    #[test]
    fn unique_ids_are_unique_and_well_formed() {
        let mut listing = Listing::new(TWO, None);
        listing.id_line(b"1 a").unwrap();
        assert!(listing.id_line(b"2 a").is_err(), "twice the same");
        assert!(listing.ids_are_complete().is_err(), "one is missing");
        for wrong in [&b"1"[..], b"1 ", b"1 a b", b"1 \x7f", b"x a", b"2 a"] {
            assert!(Listing::new(TWO, None).id_line(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn each_line_is_compared_with_a_known_mailbox() {
        let mailbox = Mailbox::new(2, 150);
        let mut listing = Listing::new(TWO, Some(&mailbox));
        listing.size_line(b"1 150").unwrap();
        assert!(listing.size_line(b"2 151").is_err());
        listing.id_line(format!("1 {}", mailbox.unique_id(1)).as_bytes()).unwrap();
        assert!(listing.id_line(format!("2 {}", mailbox.unique_id(1)).as_bytes()).is_err());
    }
}
