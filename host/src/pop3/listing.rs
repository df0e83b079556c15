//! What a relayed session shows of the maildrop, gathered from the replies that pass by.

use std::collections::BTreeSet;

use super::command::{Number, number};
use super::snapshot::{Row, Snapshot, is_unique_id};

/// More messages than this are not remembered: a listing of them takes longer to show than a
/// login takes, and a hostile mail server must not fill the memory.
const MOST_MESSAGES: usize = 200_000;

/// A listing that the host lacks for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// UIDL without arguments.
    UniqueIds,
    /// LIST without arguments.
    Sizes,
}

#[derive(Debug)]
struct Column<T> {
    rows: Vec<(Number, T)>,
    /// Messages that were marked as deleted, and so left out, when it was listed.
    left_out: usize,
}

/// The maildrop of one session: its listing at login and the deletions since.
#[derive(Debug, Default)]
pub struct Listing {
    /// Messages at login, by STAT.
    count: Option<usize>,
    sizes: Option<Column<u64>>,
    unique_ids: Option<Column<Box<[u8]>>>,
    coming_sizes: Vec<(Number, u64)>,
    coming_unique_ids: Vec<(Number, Box<[u8]>)>,
    deleted: BTreeSet<Number>,
    unknowable: bool,
}

impl Listing {
    /// The positive status line of STAT: `+OK count octets`.
    pub fn stat(&mut self, status: &[u8]) {
        let count = status.split(|&octet| octet == b' ').nth(1).and_then(number);
        match count {
            Some(count) => self.count = Some(count as usize + self.deleted.len()),
            None => self.unknowable = true,
        }
    }

    /// A row of LIST: `number size`.
    pub fn size_row(&mut self, row: &[u8]) {
        let mut words = row.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
        let size = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
        match (words.next().and_then(number), words.next().and_then(size)) {
            (Some(message), Some(size)) if self.coming_sizes.len() < MOST_MESSAGES => {
                self.coming_sizes.push((message, size));
            }
            _ => self.unknowable = true,
        }
    }

    /// A row of UIDL: `number unique-id`.
    pub fn unique_id_row(&mut self, row: &[u8]) {
        let mut words = row.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
        match (words.next().and_then(number), words.next()) {
            (Some(message), Some(id)) if is_unique_id(id) && self.coming_unique_ids.len() < MOST_MESSAGES => {
                self.coming_unique_ids.push((message, id.into()));
            }
            _ => self.unknowable = true,
        }
    }

    /// The end of a LIST.
    pub fn sizes_end(&mut self) {
        let rows = std::mem::take(&mut self.coming_sizes);
        self.sizes = Some(Column { rows, left_out: self.deleted.len() });
    }

    /// The end of a UIDL.
    pub fn unique_ids_end(&mut self) {
        let rows = std::mem::take(&mut self.coming_unique_ids);
        self.unique_ids = Some(Column { rows, left_out: self.deleted.len() });
    }

    /// The mail server has acknowledged a DELE.
    pub fn deleted(&mut self, message: Number) {
        self.deleted.insert(message);
    }

    /// The mail server has acknowledged a RSET: what was left out is there again.
    pub fn reset(&mut self) {
        self.deleted.clear();
        self.sizes.take_if(|column| column.left_out > 0);
        self.unique_ids.take_if(|column| column.left_out > 0);
    }

    /// The mail server has refused to list: there is no snapshot to be had.
    pub fn refused(&mut self) {
        self.unknowable = true;
    }

    /// Whether any message is marked as deleted.
    #[must_use]
    pub fn has_deletions(&self) -> bool {
        !self.deleted.is_empty()
    }

    /// What must still be asked for before a snapshot can be taken.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        if self.unknowable || self.is_emptied() {
            None
        } else if self.unique_ids.is_none() {
            Some(Missing::UniqueIds)
        } else if self.sizes.is_none() {
            Some(Missing::Sizes)
        } else {
            None
        }
    }

    /// The maildrop as the session leaves it, if it is known beyond doubt.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        let totals = [
            self.count,
            self.sizes.as_ref().map(|column| column.rows.len() + column.left_out),
            self.unique_ids.as_ref().map(|column| column.rows.len() + column.left_out),
        ];
        let mut totals = totals.into_iter().flatten();
        let total = totals.next()?;
        if self.unknowable || totals.any(|other| other != total) {
            return None;
        }
        if self.is_emptied() {
            return Some(Snapshot::default());
        }
        let (sizes, unique_ids) = (self.sizes.as_ref()?, self.unique_ids.as_ref()?);
        let kept = |number: &Number| !self.deleted.contains(number);
        let left_sizes: Vec<_> = sizes.rows.iter().filter(|(number, _)| kept(number)).collect();
        let left_ids: Vec<_> = unique_ids.rows.iter().filter(|(number, _)| kept(number)).collect();
        if !left_sizes.iter().map(|row| row.0).eq(left_ids.iter().map(|row| row.0))
            || !left_sizes.is_sorted_by(|a, b| a.0 < b.0)
        {
            return None;
        }
        let mut distinct: Vec<&[u8]> = left_ids.iter().map(|row| &*row.1).collect();
        distinct.sort_unstable();
        if distinct.windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        Snapshot::pack(
            left_sizes.iter().zip(&left_ids).map(|(size, id)| Row { size: size.1, unique_id: &id.1 }),
        )
    }

    /// Whether every message that there was is deleted, so that there is nothing to ask.
    fn is_emptied(&self) -> bool {
        let all_of = |numbers: Option<usize>| numbers == Some(self.deleted.len());
        all_of(self.count)
            || all_of(self.sizes.as_ref().map(|column| column.rows.len() + column.left_out))
            || all_of(self.unique_ids.as_ref().map(|column| column.rows.len() + column.left_out))
    }
}

/// The rows of a whole UIDL reply, for [`super::relay::Relay::translated`].
#[derive(Debug, Default)]
pub struct UniqueIds {
    rows: Vec<(Number, Box<[u8]>)>,
}

impl UniqueIds {
    /// Takes a row; false where it is none, or one too many.
    #[must_use]
    pub fn row(&mut self, row: &[u8]) -> bool {
        let mut words = row.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
        match (words.next().and_then(number), words.next()) {
            (Some(number), Some(id)) if is_unique_id(id) && self.rows.len() < MOST_MESSAGES => {
                self.rows.push((number, id.into()));
                true
            }
            _ => false,
        }
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[(Number, Box<[u8]>)] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Listing {
        let mut listing = Listing::default();
        listing.stat(b"+OK 3 123");
        for row in [&b"1 100"[..], b"2 20", b"3 3"] {
            listing.size_row(row);
        }
        listing.sizes_end();
        for row in [&b"1 aa"[..], b"2 bb", b"3 cc"] {
            listing.unique_id_row(row);
        }
        listing.unique_ids_end();
        listing
    }

    fn ids(snapshot: &Snapshot) -> Vec<String> {
        snapshot.rows().map(|(_, row)| String::from_utf8_lossy(row.unique_id).into_owned()).collect()
    }

    #[test]
    fn a_whole_listing_makes_a_snapshot() {
        let listing = whole();
        assert_eq!(listing.missing(), None);
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa", "bb", "cc"]);
    }

    #[test]
    fn confirmed_deletions_leave_the_snapshot() {
        let mut listing = whole();
        listing.deleted(2);
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa", "cc"]);
        listing.reset();
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa", "bb", "cc"]);
    }

    #[test]
    fn what_the_client_did_not_ask_for_is_missing() {
        let mut listing = Listing::default();
        assert_eq!(listing.missing(), Some(Missing::UniqueIds));
        listing.stat(b"+OK 1 5");
        assert_eq!(listing.missing(), Some(Missing::UniqueIds));
        listing.unique_id_row(b"1 aa");
        listing.unique_ids_end();
        assert_eq!(listing.missing(), Some(Missing::Sizes));
        assert_eq!(listing.snapshot(), None);
        listing.size_row(b"1 5");
        listing.sizes_end();
        assert_eq!(listing.missing(), None);
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa"]);
    }

    #[test]
    fn an_emptied_maildrop_needs_no_questions() {
        let mut listing = Listing::default();
        listing.stat(b"+OK 0 0");
        assert_eq!(listing.missing(), None);
        assert_eq!(listing.snapshot().unwrap().count(), 0);

        let mut listing = Listing::default();
        listing.stat(b"+OK 2 10");
        listing.deleted(1);
        listing.deleted(2);
        assert_eq!(listing.missing(), None);
        assert_eq!(listing.snapshot().unwrap().count(), 0);
    }

    #[test]
    fn a_listing_taken_after_a_deletion_is_not_trusted_after_a_reset() {
        let mut listing = Listing::default();
        listing.deleted(1);
        listing.unique_id_row(b"2 bb");
        listing.unique_ids_end();
        listing.size_row(b"2 20");
        listing.sizes_end();
        assert_eq!(ids(&listing.snapshot().unwrap()), ["bb"]);
        listing.reset();
        assert_eq!(listing.missing(), Some(Missing::UniqueIds));
        assert_eq!(listing.snapshot(), None);
    }

    #[test]
    fn listings_that_contradict_each_other_make_no_snapshot() {
        let mut listing = whole();
        listing.stat(b"+OK 4 123");
        assert_eq!(listing.snapshot(), None);

        let mut listing = whole();
        listing.size_row(b"1 1");
        listing.size_row(b"2 1");
        listing.size_row(b"4 1");
        listing.sizes_end();
        assert_eq!(listing.snapshot(), None);
    }

    #[test]
    fn unique_ids_that_are_not_unique_make_no_snapshot() {
        let mut listing = whole();
        for row in [&b"1 aa"[..], b"2 aa", b"3 cc"] {
            listing.unique_id_row(row);
        }
        listing.unique_ids_end();
        assert_eq!(listing.snapshot(), None);
    }

    #[test]
    fn rows_that_are_none_make_no_snapshot() {
        for row in [&b"x aa"[..], b"1", b"", b"1 \xff"] {
            let mut listing = whole();
            listing.unique_id_row(row);
            assert_eq!(listing.snapshot(), None, "{}", row.escape_ascii());
        }
    }
}
