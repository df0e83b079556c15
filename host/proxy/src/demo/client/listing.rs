//! The replies about the maildrop in one session, and the check that they are consistent.

use std::collections::HashSet;

use super::fault::Fault;

/// Replies to STAT, LIST and UIDL, if requested.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    totals: Option<(u64, u64)>,
    sizes: Option<Vec<(u64, u64)>>,
    unique_ids: Option<Vec<(u64, String)>>,
}

impl Listing {
    /// Records the text of a positive reply to STAT.
    pub(crate) fn stat(&mut self, text: &str) -> Result<(), Fault> {
        let mut words = text.split(' ');
        let totals = (|| Some((number(words.next()?)?, number(words.next()?)?)))()
            .ok_or_else(|| Fault::contradiction(format!("invalid reply to STAT: {text:?}")))?;
        same("STAT", &mut self.totals, totals)
    }

    /// Records the lines of a reply to LIST.
    pub(crate) fn list(&mut self, lines: &[Vec<u8>]) -> Result<(), Fault> {
        let mut sizes = Vec::new();
        for line in lines {
            let (message, size) = pair("LIST", line)?;
            // Servers may append more after the size (RFC 1939, section 5).
            let size = size.split(' ').next().and_then(number);
            let size = size.ok_or_else(|| Fault::contradiction("LIST has a message without a size"))?;
            sizes.push((message, size));
        }
        same("LIST", &mut self.sizes, sizes)
    }

    /// Records the lines of a reply to UIDL.
    pub(crate) fn uidl(&mut self, lines: &[Vec<u8>]) -> Result<(), Fault> {
        let mut unique_ids = Vec::new();
        for line in lines {
            let (message, id) = pair("UIDL", line)?;
            if id.is_empty() || id.len() > 70 || !id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
                return Err(Fault::contradiction(format!("UIDL has the invalid unique-id {id:?}")));
            }
            unique_ids.push((message, id.to_owned()));
        }
        same("UIDL", &mut self.unique_ids, unique_ids)
    }

    /// Checks that the replies agree with each other and with earlier sessions: unique-ids that the
    /// client left on the server are present, and those that it deleted are not.
    pub(crate) fn check(&self, left: &HashSet<String>, deleted: &HashSet<String>) -> Result<(), Fault> {
        if let (Some((count, bytes)), Some(sizes)) = (self.totals, &self.sizes) {
            let sum: u64 = sizes.iter().map(|(_, size)| size).sum();
            if count != sizes.len() as u64 || bytes != sum {
                return Err(Fault::contradiction(format!(
                    "STAT reports {count} messages of {bytes} bytes, LIST {} of {sum}",
                    sizes.len()
                )));
            }
        }
        let unique_ids = self.unique_ids();
        let numbers: Vec<u64> = unique_ids.iter().map(|(number, _)| *number).collect();
        if let Some((count, _)) = self.totals
            && self.unique_ids.is_some()
            && count != numbers.len() as u64
        {
            return Err(Fault::contradiction(format!(
                "STAT reports {count} messages, UIDL {}",
                numbers.len()
            )));
        }
        if let (Some(sizes), Some(_)) = (&self.sizes, &self.unique_ids)
            && !sizes.iter().map(|(number, _)| number).eq(&numbers)
        {
            return Err(Fault::contradiction("LIST and UIDL report different messages"));
        }
        if numbers.iter().zip(1..).any(|(number, expected)| *number != expected) {
            return Err(Fault::contradiction("the messages are not numbered consecutively from 1"));
        }
        let shown: HashSet<&str> = unique_ids.iter().map(|(_, id)| id.as_str()).collect();
        if shown.len() != unique_ids.len() {
            return Err(Fault::contradiction("two messages share a unique-id"));
        }
        if let Some(gone) = left.iter().find(|id| !shown.contains(id.as_str())) {
            return Err(Fault::contradiction(format!(
                "message {gone} is missing although it was not deleted"
            )));
        }
        if let Some(back) = deleted.iter().find(|id| shown.contains(id.as_str())) {
            return Err(Fault::contradiction(format!("message {back} is present although it was deleted")));
        }
        Ok(())
    }

    /// Numbers and unique-ids of the messages.
    pub(crate) fn unique_ids(&self) -> &[(u64, String)] {
        self.unique_ids.as_deref().unwrap_or_default()
    }

    /// The size of a message according to LIST, in bytes.
    pub(crate) fn size(&self, message: u64) -> Option<u64> {
        self.sizes.as_ref()?.iter().find(|(number, _)| *number == message).map(|(_, size)| *size)
    }
}

/// Checks that repeating a command in a session gives the same reply: the maildrop is locked.
fn same<T: PartialEq>(command: &str, earlier: &mut Option<T>, reply: T) -> Result<(), Fault> {
    match earlier {
        Some(earlier) if *earlier != reply => {
            Err(Fault::contradiction(format!("{command} got different replies within one session")))
        }
        _ => {
            *earlier = Some(reply);
            Ok(())
        }
    }
}

fn pair<'a>(command: &str, line: &'a [u8]) -> Result<(u64, &'a str), Fault> {
    let text = std::str::from_utf8(line).ok();
    text.and_then(|text| text.split_once(' '))
        .and_then(|(message, rest)| Some((number(message)?, rest)))
        .ok_or_else(|| {
            Fault::contradiction(format!(
                "{command} has the invalid line {:?}",
                String::from_utf8_lossy(line)
            ))
        })
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<Vec<u8>> {
        text.iter().map(|line| line.as_bytes().to_vec()).collect()
    }

    fn ids(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn listing(stat: &str, list: &[&str], uidl: &[&str]) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        listing.stat(stat)?;
        listing.list(&lines(list))?;
        listing.uidl(&lines(uidl))?;
        Ok(listing)
    }

    fn fault(stat: &str, list: &[&str], uidl: &[&str], left: &[&str], deleted: &[&str]) -> String {
        match listing(stat, list, uidl).and_then(|listing| listing.check(&ids(left), &ids(deleted))) {
            Ok(()) => String::new(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn consistent_replies_are_accepted() {
        assert_eq!(fault("2 30", &["1 10", "2 20"], &["1 a", "2 b"], &["a"], &["c"]), "");
        assert_eq!(fault("0 0", &[], &[], &[], &["c"]), "");
    }

    #[test]
    fn inconsistent_replies_are_detected() {
        assert!(fault("2 30", &["1 10"], &["1 a"], &[], &[]).contains("STAT reports 2"));
        assert!(fault("1 11", &["1 10"], &["1 a"], &[], &[]).contains("STAT reports 1"));
        assert!(fault("1 10", &["1 10"], &["2 a"], &[], &[]).contains("different"));
        assert!(fault("2 30", &["1 10", "3 20"], &["1 a", "3 b"], &[], &[]).contains("numbered"));
        assert!(fault("2 30", &["1 10", "2 20"], &["1 a", "2 a"], &[], &[]).contains("share"));
        assert!(fault("nothing", &[], &[], &[], &[]).contains("STAT"));
        assert!(fault("0 0", &["x"], &[], &[], &[]).contains("LIST has"));
    }

    #[test]
    fn missing_and_reappearing_messages_are_detected() {
        assert!(fault("0 0", &[], &[], &["a"], &[]).contains("missing"));
        assert!(fault("1 10", &["1 10"], &["1 a"], &[], &["a"]).contains("present"));
    }

    #[test]
    fn repeated_commands_must_have_the_same_reply() {
        let mut listing = listing("1 10", &["1 10"], &["1 a"]).unwrap();
        assert!(listing.uidl(&lines(&["1 a"])).is_ok());
        assert!(listing.uidl(&lines(&["1 b"])).is_err());
    }
}
