//! Whether what a server tells of a maildrop agrees with itself, and with what must be in it.

use std::collections::HashSet;

use crate::mailbox::Mailbox;

/// What STAT tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) messages: u64,
    pub(crate) octets: u64,
}

impl Stat {
    /// Reads what follows +OK. More after the two numbers is allowed and means nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self { messages: number(words.next()?)?, octets: number(words.next()?)? })
    }
}

/// Collects the rows of LIST and UIDL, and says which of them is wrong.
pub(crate) struct Listing<'a> {
    stat: Stat,
    /// What must be in the maildrop, where that is known.
    mailbox: Option<&'a Mailbox>,
    sizes: Vec<u64>,
    ids: HashSet<Vec<u8>>,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(stat: Stat, mailbox: Option<&'a Mailbox>) -> Self {
        Self { stat, mailbox, sizes: Vec::new(), ids: HashSet::new() }
    }

    /// Takes a row of LIST.
    pub(crate) fn size_row(&mut self, row: &[u8]) -> Result<(), String> {
        let due = self.sizes.len() as u64 + 1;
        let text = std::str::from_utf8(row).unwrap_or_default();
        let mut words = text.split(' ');
        let numbers = (words.next().and_then(number), words.next().and_then(number));
        let (Some(message), Some(size)) = numbers else {
            return Err(format!("the row `{}` is not a number and a size", row.escape_ascii()));
        };
        if message != due || due > self.stat.messages {
            return Err(format!("a row for message {message}, where {} is due", self.due(due)));
        }
        if let Some(mailbox) = self.mailbox
            && size != mailbox.size()
        {
            return Err(format!("message {message} has {size} octets instead of {}", mailbox.size()));
        }
        self.sizes.push(size);
        Ok(())
    }

    /// Takes a row of UIDL.
    pub(crate) fn id_row(&mut self, row: &[u8]) -> Result<(), String> {
        let due = self.ids.len() as u64 + 1;
        let (message, id) = match memchr::memchr(b' ', row) {
            Some(at) => (&row[..at], &row[at + 1..]),
            None => (row, &b""[..]),
        };
        let Some(message) = std::str::from_utf8(message).ok().and_then(number) else {
            return Err(format!("the row `{}` does not begin with a number", row.escape_ascii()));
        };
        if message != due || due > self.stat.messages {
            return Err(format!("a row for message {message}, where {} is due", self.due(due)));
        }
        if id.is_empty() || id.len() > 70 || !id.iter().all(|octet| (0x21..=0x7e).contains(octet)) {
            return Err(format!("`{}` is no unique-id", id.escape_ascii()));
        }
        if let Some(mailbox) = self.mailbox {
            let expected = mailbox.unique_id(u32::try_from(message).unwrap_or(0));
            if id != expected.as_bytes() {
                return Err(format!("message {message} is `{}` instead of `{expected}`", id.escape_ascii()));
            }
        }
        if !self.ids.insert(id.to_vec()) {
            return Err(format!("two messages are `{}`", id.escape_ascii()));
        }
        Ok(())
    }

    /// After the last row of LIST: the sizes, if they are what STAT said.
    pub(crate) fn sizes(&self) -> Result<&[u64], String> {
        let listed = Stat { messages: self.sizes.len() as u64, octets: self.sizes.iter().sum() };
        if listed == self.stat { Ok(&self.sizes) } else { Err(self.differs("LIST", listed)) }
    }

    /// After the last row of UIDL.
    pub(crate) fn ids_are_complete(&self) -> Result<(), String> {
        let messages = self.ids.len() as u64;
        if messages == self.stat.messages {
            return Ok(());
        }
        Err(format!("UIDL shows {messages} messages, and STAT {}", self.stat.messages))
    }

    fn differs(&self, what: &str, listed: Stat) -> String {
        let Stat { messages, octets } = self.stat;
        format!(
            "{what} shows {} messages of {} octets, and STAT {messages} of {octets}",
            listed.messages, listed.octets
        )
    }

    fn due(&self, message: u64) -> String {
        if message > self.stat.messages { "none".to_string() } else { message.to_string() }
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(word: &str) -> Option<u64> {
    if word.bytes().all(|octet| octet.is_ascii_digit()) { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Stat = Stat { messages: 2, octets: 300 };

    #[test]
    fn stat_is_two_numbers() {
        assert_eq!(Stat::parse("2 300"), Some(TWO));
        assert_eq!(Stat::parse("2 300 of mail"), Some(TWO));
        for wrong in ["", "2", "two 300", "+2 300", "2  300", "-1 5"] {
            assert_eq!(Stat::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_listing_that_agrees_is_right() {
        let mut listing = Listing::new(TWO, None);
        listing.size_row(b"1 100").unwrap();
        listing.size_row(b"2 200").unwrap();
        assert_eq!(listing.sizes(), Ok(&[100, 200][..]));
        listing.id_row(b"1 a").unwrap();
        listing.id_row(b"2 b").unwrap();
        listing.ids_are_complete().unwrap();
    }

    #[test]
    fn sizes_that_stat_does_not_know_are_wrong() {
        let mut listing = Listing::new(TWO, None);
        listing.size_row(b"1 100").unwrap();
        assert!(listing.sizes().is_err(), "a message is missing");
        listing.size_row(b"2 201").unwrap();
        assert!(listing.sizes().is_err(), "an octet too many");
        assert!(listing.size_row(b"3 1").is_err(), "a message too many");
        assert!(Listing::new(TWO, None).size_row(b"2 200").is_err(), "not in order");
        assert!(Listing::new(TWO, None).size_row(b"1").is_err());
    }

    #[test]
    fn unique_ids_are_unique_and_well_formed() {
        let mut listing = Listing::new(TWO, None);
        listing.id_row(b"1 a").unwrap();
        assert!(listing.id_row(b"2 a").is_err(), "twice the same");
        assert!(listing.ids_are_complete().is_err(), "one is missing");
        for wrong in [&b"1"[..], b"1 ", b"1 a b", b"1 \x7f", b"x a", b"2 a"] {
            assert!(Listing::new(TWO, None).id_row(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn a_known_mailbox_is_held_against_each_row() {
        let mailbox = Mailbox::new(2, 150);
        let mut listing = Listing::new(TWO, Some(&mailbox));
        listing.size_row(b"1 150").unwrap();
        assert!(listing.size_row(b"2 151").is_err());
        listing.id_row(format!("1 {}", mailbox.unique_id(1)).as_bytes()).unwrap();
        assert!(listing.id_row(format!("2 {}", mailbox.unique_id(1)).as_bytes()).is_err());
    }
}
