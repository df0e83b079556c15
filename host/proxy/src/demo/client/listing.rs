//! What a client was told of its maildrop in one session. Everything said must fit together.

use std::collections::HashSet;

use super::fault::Fault;

/// Answers to STAT, LIST and UIDL, as far as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    totals: Option<(u64, u64)>,
    sizes: Option<Vec<(u64, u64)>>,
    unique_ids: Option<Vec<(u64, String)>>,
}

impl Listing {
    /// Takes the text of a positive answer to STAT.
    pub(crate) fn stat(&mut self, text: &str) -> Result<(), Fault> {
        let mut words = text.split(' ');
        let totals = (|| Some((number(words.next()?)?, number(words.next()?)?)))()
            .ok_or_else(|| Fault::contradiction(format!("STAT was answered with {text:?}")))?;
        same("STAT", &mut self.totals, totals)
    }

    /// Takes the lines of an answer to LIST.
    pub(crate) fn list(&mut self, lines: &[Vec<u8>]) -> Result<(), Fault> {
        let mut sizes = Vec::new();
        for line in lines {
            let (message, size) = pair("LIST", line)?;
            // More may follow the size (RFC 1939, section 5).
            let size = size.split(' ').next().and_then(number);
            let size = size.ok_or_else(|| Fault::contradiction("LIST shows a message without a size"))?;
            sizes.push((message, size));
        }
        same("LIST", &mut self.sizes, sizes)
    }

    /// Takes the lines of an answer to UIDL.
    pub(crate) fn uidl(&mut self, lines: &[Vec<u8>]) -> Result<(), Fault> {
        let mut unique_ids = Vec::new();
        for line in lines {
            let (message, id) = pair("UIDL", line)?;
            if id.is_empty() || id.len() > 70 || !id.bytes().all(|octet| (0x21..=0x7e).contains(&octet)) {
                return Err(Fault::contradiction(format!("UIDL shows {id:?}, which is no unique-id")));
            }
            unique_ids.push((message, id.to_owned()));
        }
        same("UIDL", &mut self.unique_ids, unique_ids)
    }

    /// Checks that what was said fits together, and with what the client knows: ids that it
    /// has seen and left on the server are there, ids that it deleted are not.
    pub(crate) fn check(&self, left: &HashSet<String>, deleted: &HashSet<String>) -> Result<(), Fault> {
        if let (Some((count, octets)), Some(sizes)) = (self.totals, &self.sizes) {
            let sum: u64 = sizes.iter().map(|(_, size)| size).sum();
            if count != sizes.len() as u64 || octets != sum {
                return Err(Fault::contradiction(format!(
                    "STAT tells {count} messages of {octets} octets, LIST {} of {sum}",
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
            return Err(Fault::contradiction(format!("STAT tells {count} messages, UIDL {}", numbers.len())));
        }
        if let (Some(sizes), Some(_)) = (&self.sizes, &self.unique_ids)
            && !sizes.iter().map(|(number, _)| number).eq(&numbers)
        {
            return Err(Fault::contradiction("LIST and UIDL tell of different messages"));
        }
        if numbers.iter().zip(1..).any(|(number, expected)| *number != expected) {
            return Err(Fault::contradiction("the messages are not numbered from 1 on"));
        }
        let shown: HashSet<&str> = unique_ids.iter().map(|(_, id)| id.as_str()).collect();
        if shown.len() != unique_ids.len() {
            return Err(Fault::contradiction("two messages share a unique-id"));
        }
        if let Some(gone) = left.iter().find(|id| !shown.contains(id.as_str())) {
            return Err(Fault::contradiction(format!("message {gone} is gone though nobody deleted it")));
        }
        if let Some(back) = deleted.iter().find(|id| shown.contains(id.as_str())) {
            return Err(Fault::contradiction(format!("message {back} is there again though it was deleted")));
        }
        Ok(())
    }

    /// Numbers and unique-ids of the messages.
    pub(crate) fn unique_ids(&self) -> &[(u64, String)] {
        self.unique_ids.as_deref().unwrap_or_default()
    }

    /// The size that LIST gave for a message.
    pub(crate) fn size(&self, message: u64) -> Option<u64> {
        self.sizes.as_ref()?.iter().find(|(number, _)| *number == message).map(|(_, size)| *size)
    }
}

/// Within a session the maildrop does not move, so the same question has the same answer.
fn same<T: PartialEq>(command: &str, said: &mut Option<T>, now: T) -> Result<(), Fault> {
    match said {
        Some(before) if *before != now => {
            Err(Fault::contradiction(format!("{command} was answered differently within one session")))
        }
        _ => {
            *said = Some(now);
            Ok(())
        }
    }
}

fn pair<'a>(command: &str, line: &'a [u8]) -> Result<(u64, &'a str), Fault> {
    let text = std::str::from_utf8(line).ok();
    text.and_then(|text| text.split_once(' '))
        .and_then(|(message, rest)| Some((number(message)?, rest)))
        .ok_or_else(|| {
            Fault::contradiction(format!("{command} shows the line {:?}", String::from_utf8_lossy(line)))
        })
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
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

    fn complaint(stat: &str, list: &[&str], uidl: &[&str], left: &[&str], deleted: &[&str]) -> String {
        match listing(stat, list, uidl).and_then(|listing| listing.check(&ids(left), &ids(deleted))) {
            Ok(()) => String::new(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn answers_that_fit_are_taken() {
        assert_eq!(complaint("2 30", &["1 10", "2 20"], &["1 a", "2 b"], &["a"], &["c"]), "");
        assert_eq!(complaint("0 0", &[], &[], &[], &["c"]), "");
    }

    #[test]
    fn answers_that_contradict_each_other_are_not() {
        assert!(complaint("2 30", &["1 10"], &["1 a"], &[], &[]).contains("STAT tells 2"));
        assert!(complaint("1 11", &["1 10"], &["1 a"], &[], &[]).contains("STAT tells 1"));
        assert!(complaint("1 10", &["1 10"], &["2 a"], &[], &[]).contains("different"));
        assert!(complaint("2 30", &["1 10", "3 20"], &["1 a", "3 b"], &[], &[]).contains("numbered"));
        assert!(complaint("2 30", &["1 10", "2 20"], &["1 a", "2 a"], &[], &[]).contains("share"));
        assert!(complaint("nothing", &[], &[], &[], &[]).contains("STAT"));
        assert!(complaint("0 0", &["x"], &[], &[], &[]).contains("LIST shows"));
    }

    #[test]
    fn a_maildrop_that_shrank_or_came_back_is_noticed() {
        assert!(complaint("0 0", &[], &[], &["a"], &[]).contains("gone"));
        assert!(complaint("1 10", &["1 10"], &["1 a"], &[], &["a"]).contains("again"));
    }

    #[test]
    fn a_second_answer_must_be_the_first() {
        let mut listing = listing("1 10", &["1 10"], &["1 a"]).unwrap();
        assert!(listing.uidl(&lines(&["1 a"])).is_ok());
        assert!(listing.uidl(&lines(&["1 b"])).is_err());
    }
}
