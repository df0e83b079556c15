//! What a relayed session shows of the maildrop, gathered from the replies that pass by.

use std::collections::BTreeSet;

use super::command::{Number, number};
use super::snapshot::{Row, Snapshot, is_unique_id};

/// More messages than this are not remembered: a listing of them takes longer to show than a
/// login takes, and a hostile mail server must not fill the memory.
const MOST_MESSAGES: usize = 200_000;

/// Why a session's maildrop cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknowable {
    /// The session has not been told all of it.
    Incomplete,
    /// The mail server refuses to list.
    Refused,
    /// A reply is not what RFC 1939 allows.
    Malformed,
    /// Its listings contradict each other.
    Contradictory,
    /// There are more messages than may be remembered.
    TooLarge,
}

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

/// What STAT said.
#[derive(Clone, Copy, Debug)]
struct Totals {
    messages: usize,
    /// None if messages were marked as deleted: then it is not the sum of all.
    bytes: Option<u64>,
}

/// The maildrop of one session: its listing at login and the deletions since.
#[derive(Debug, Default)]
pub struct Listing {
    /// Messages at login, by STAT.
    totals: Option<Totals>,
    sizes: Option<Column<u64>>,
    unique_ids: Option<Column<Box<[u8]>>>,
    coming_sizes: Vec<(Number, u64)>,
    coming_unique_ids: Vec<(Number, Box<[u8]>)>,
    deleted: BTreeSet<Number>,
    unknowable: Option<Unknowable>,
}

/// Takes a row apart: a number, one space and the rest. Anything else would be shown by a
/// posed session other than the mail server shows it: `01 a`, or `1  a`.
fn split_row(row: &[u8]) -> Option<(Number, &[u8])> {
    let space = memchr::memchr(b' ', row)?;
    let (digits, rest) = (&row[..space], &row[space + 1..]);
    Some((number(digits).filter(|_| !digits.starts_with(b"0"))?, rest))
}

/// A row of LIST: `number size` (RFC 1939, section 5, calls it a scan listing). That standard
/// lets more follow the size; nothing that a snapshot holds, and no server is known that does.
fn size_row(row: &[u8]) -> Option<(Number, u64)> {
    let (message, size) = split_row(row)?;
    Some((message, plain_number(size)?))
}

/// A number as a posed session writes it: digits, without zeros in front.
fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.len() > 1 && digits.starts_with(b"0") || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A row of UIDL: `number unique-id` (RFC 1939, section 7).
fn unique_id_row(row: &[u8]) -> Option<(Number, &[u8])> {
    split_row(row).filter(|(_, id)| is_unique_id(id))
}

impl Listing {
    /// The positive status line of STAT: `+OK count size`. RFC 1939 lets more follow, which a
    /// posed session would not show.
    pub fn stat(&mut self, status: &[u8]) {
        let totals = status.strip_prefix(b"+OK ").and_then(|text| {
            let space = memchr::memchr(b' ', text)?;
            let (count, bytes) = (plain_number(&text[..space])?, plain_number(&text[space + 1..])?);
            Some((usize::try_from(count).ok()?, bytes))
        });
        match totals {
            Some((count, bytes)) => {
                self.totals = Some(Totals {
                    messages: count.saturating_add(self.deleted.len()),
                    bytes: self.deleted.is_empty().then_some(bytes),
                });
            }
            None => self.cannot_be_known(Unknowable::Malformed),
        }
    }

    /// A row of LIST.
    pub fn size_row(&mut self, row: &[u8]) {
        match size_row(row) {
            Some(_) if self.coming_sizes.len() >= MOST_MESSAGES => {
                self.cannot_be_known(Unknowable::TooLarge);
            }
            Some(row) => self.coming_sizes.push(row),
            None => self.cannot_be_known(Unknowable::Malformed),
        }
    }

    /// A row of UIDL.
    pub fn unique_id_row(&mut self, row: &[u8]) {
        match unique_id_row(row) {
            Some(_) if self.coming_unique_ids.len() >= MOST_MESSAGES => {
                self.cannot_be_known(Unknowable::TooLarge);
            }
            Some((message, id)) => self.coming_unique_ids.push((message, id.into())),
            None => self.cannot_be_known(Unknowable::Malformed),
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

    /// There is no snapshot to be had. The first reason counts: later ones may follow from it.
    pub fn cannot_be_known(&mut self, why: Unknowable) {
        self.unknowable.get_or_insert(why);
        // What came until now is of no use any more.
        (self.coming_sizes, self.coming_unique_ids) = (Vec::new(), Vec::new());
    }

    /// Whether any message is marked as deleted.
    #[must_use]
    pub fn has_deletions(&self) -> bool {
        !self.deleted.is_empty()
    }

    /// What must still be asked for before a snapshot can be taken.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        if self.unknowable.is_some() || self.is_emptied() {
            None
        } else if self.unique_ids.is_none() {
            Some(Missing::UniqueIds)
        } else if self.sizes.is_none() {
            Some(Missing::Sizes)
        } else {
            None
        }
    }

    /// The maildrop as the session leaves it.
    ///
    /// # Errors
    /// Why it is not known beyond doubt.
    pub fn snapshot(&self) -> Result<Snapshot, Unknowable> {
        if let Some(why) = self.unknowable {
            return Err(why);
        }
        let counts = [
            self.totals.map(|totals| totals.messages),
            self.sizes.as_ref().map(|column| column.rows.len() + column.left_out),
            self.unique_ids.as_ref().map(|column| column.rows.len() + column.left_out),
        ];
        let mut counts = counts.into_iter().flatten();
        let count = counts.next().ok_or(Unknowable::Incomplete)?;
        if counts.any(|other| other != count) {
            return Err(Unknowable::Contradictory);
        }
        if self.is_emptied() {
            return match self.totals {
                Some(Totals { messages: 0, bytes: Some(1..) }) => Err(Unknowable::Contradictory),
                _ => Ok(Snapshot::default()),
            };
        }
        let (Some(sizes), Some(unique_ids)) = (&self.sizes, &self.unique_ids) else {
            return Err(Unknowable::Incomplete);
        };
        if let Some(Totals { bytes: Some(bytes), .. }) = self.totals
            && sizes.left_out == 0
            && sizes.rows.iter().try_fold(0_u64, |sum, row| sum.checked_add(row.1)) != Some(bytes)
        {
            // A posed STAT says what the sizes come to.
            return Err(Unknowable::Contradictory);
        }
        let kept = |number: &Number| !self.deleted.contains(number);
        let left_sizes: Vec<_> = sizes.rows.iter().filter(|(number, _)| kept(number)).collect();
        let left_ids: Vec<_> = unique_ids.rows.iter().filter(|(number, _)| kept(number)).collect();
        let mut distinct: Vec<&[u8]> = left_ids.iter().map(|row| &*row.1).collect();
        distinct.sort_unstable();
        let last = sizes.rows.last().map(|row| row.0).max(self.deleted.last().copied());
        if last.is_some_and(|last| last as usize > count)
            || !left_sizes.iter().map(|row| row.0).eq(left_ids.iter().map(|row| row.0))
            || !left_sizes.is_sorted_by(|a, b| a.0 < b.0)
            || distinct.windows(2).any(|pair| pair[0] == pair[1])
        {
            return Err(Unknowable::Contradictory);
        }
        let rows = left_sizes.iter().zip(&left_ids).map(|(size, id)| Row { size: size.1, unique_id: &id.1 });
        Snapshot::pack(rows).ok_or(Unknowable::Malformed)
    }

    /// Whether every message that there was is deleted, so that there is nothing to ask.
    fn is_emptied(&self) -> bool {
        let all_of = |numbers: Option<usize>| numbers == Some(self.deleted.len());
        all_of(self.totals.map(|totals| totals.messages))
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
        match unique_id_row(row) {
            Some((number, id)) if self.rows.len() < MOST_MESSAGES => {
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
        assert_eq!(listing.snapshot(), Err(Unknowable::Incomplete));
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
        assert_eq!(listing.snapshot(), Err(Unknowable::Incomplete));
    }

    #[test]
    fn listings_that_contradict_each_other_make_no_snapshot() {
        let mut listing = whole();
        listing.stat(b"+OK 4 123");
        assert_eq!(listing.snapshot(), Err(Unknowable::Contradictory));

        let mut listing = whole();
        listing.size_row(b"1 1");
        listing.size_row(b"2 1");
        listing.size_row(b"4 1");
        listing.sizes_end();
        assert_eq!(listing.snapshot(), Err(Unknowable::Contradictory));
    }

    #[test]
    fn unique_ids_that_are_not_unique_make_no_snapshot() {
        let mut listing = whole();
        for row in [&b"1 aa"[..], b"2 aa", b"3 cc"] {
            listing.unique_id_row(row);
        }
        listing.unique_ids_end();
        assert_eq!(listing.snapshot(), Err(Unknowable::Contradictory));
    }

    /// A posed session writes rows anew: what it would write otherwise than the mail server did
    /// makes no snapshot.
    #[test]
    fn rows_that_are_not_exactly_as_in_the_rfc_make_no_snapshot() {
        let long = [b"1 ", &[b'x'; 71][..]].concat();
        let unique_ids: [&[u8]; 13] = [
            b"x aa", b"1", b"", b"1 \xff", b"1 aa x", b"1  aa", b" 1 aa", b"1 aa ", b"1\taa", b"01 aa",
            b"1 a\ta", b"0 aa", &long,
        ];
        for row in unique_ids {
            let mut listing = whole();
            listing.unique_id_row(row);
            assert_eq!(listing.snapshot(), Err(Unknowable::Malformed), "{}", row.escape_ascii());
        }
        let sizes: [&[u8]; 11] = [
            b"x 1",
            b"1",
            b"",
            b"1 ",
            b"1 x",
            b"1 1 x",
            b"1  1",
            b"1 1 ",
            b"01 1",
            b"1 01",
            b"1 99999999999999999999",
        ];
        for row in sizes {
            let mut listing = whole();
            listing.size_row(row);
            assert_eq!(listing.snapshot(), Err(Unknowable::Malformed), "{}", row.escape_ascii());
        }
        for (status, is_known) in [
            ("+OK 3 123", true),
            ("+OK 3 123 octets", false),
            ("+OK 3 123 ", false),
            ("+OK  3 123", false),
            ("+OK 03 123", false),
            ("+OK 3 0123", false),
            ("+OK 3", false),
            ("+OK x 1", false),
        ] {
            let mut listing = whole();
            listing.stat(status.as_bytes());
            assert_eq!(listing.snapshot().is_ok(), is_known, "{status}");
        }
    }

    #[test]
    fn totals_and_numbers_that_a_posed_session_would_show_otherwise_make_no_snapshot() {
        let mut listing = whole();
        listing.stat(b"+OK 3 124");
        assert_eq!(listing.snapshot(), Err(Unknowable::Contradictory));
        let mut empty = Listing::default();
        empty.stat(b"+OK 0 100");
        assert_eq!(empty.snapshot(), Err(Unknowable::Contradictory));
        // After a deletion STAT tells of the rest.
        let mut listing = whole();
        listing.deleted(1);
        listing.stat(b"+OK 2 23");
        assert_eq!(ids(&listing.snapshot().unwrap()), ["bb", "cc"]);
        // Numbers with a gap: the next session would be shown others.
        let mut listing = Listing::default();
        for row in [&b"1 10"[..], b"3 10"] {
            listing.size_row(row);
        }
        listing.sizes_end();
        for row in [&b"1 aa"[..], b"3 cc"] {
            listing.unique_id_row(row);
        }
        listing.unique_ids_end();
        assert_eq!(listing.snapshot(), Err(Unknowable::Contradictory));
    }

    #[test]
    fn more_messages_than_may_be_remembered_are_named_as_the_reason() {
        let mut listing = Listing::default();
        for number in 1..=MOST_MESSAGES + 1 {
            listing.size_row(format!("{number} 1").as_bytes());
        }
        listing.sizes_end();
        assert_eq!(listing.missing(), None, "nothing more is asked for");
        assert_eq!(listing.snapshot(), Err(Unknowable::TooLarge));
    }
}
