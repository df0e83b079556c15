//! Builds a snapshot from the replies that pass through a relayed session.

use std::collections::BTreeSet;

use super::command::{MessageNumber, number};
use super::snapshot::{Row, Snapshot, is_unique_id};

/// Messages of a snapshot at most. Showing a longer listing would cost more than relief saves, and a
/// hostile mail server must not exhaust the memory.
const MAX_MESSAGES: usize = 200_000;

/// Why a session leaves no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// The mail server has not sent all listings.
    Incomplete,
    /// The mail server has refused a listing, RSET or QUIT.
    Refused,
    /// A reply is not exactly as in RFC 1939.
    Malformed,
    /// The listings contradict each other.
    Contradictory,
    /// There are more than 200,000 messages.
    TooLarge,
}

/// A listing that is still needed for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// UIDL without arguments.
    UniqueIds,
    /// LIST without arguments.
    Sizes,
}

/// One of the listings: sizes or unique-ids.
#[derive(Debug)]
struct Column<T> {
    rows: Vec<(MessageNumber, T)>,
    /// Number of messages that were deleted, and so left out, when this was listed.
    left_out: usize,
}

impl<T> Column<T> {
    /// Number of messages at login.
    fn count(&self) -> usize {
        self.rows.len() + self.left_out
    }
}

/// The reply to STAT.
#[derive(Clone, Copy, Debug)]
struct Totals {
    /// Number of messages at login: those that STAT counts, and those that were deleted before.
    messages: usize,
    /// None if messages were deleted before: then STAT does not count their bytes.
    bytes: Option<u64>,
}

/// The maildrop in one session: its listing at login, and the deletions since then.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    totals: Option<Totals>,
    sizes: Option<Column<u64>>,
    unique_ids: Option<Column<Box<[u8]>>>,
    /// Rows of a LIST that has not ended.
    partial_sizes: Vec<(MessageNumber, u64)>,
    /// Rows of a UIDL that has not ended.
    partial_unique_ids: Vec<(MessageNumber, Box<[u8]>)>,
    deleted: BTreeSet<MessageNumber>,
    /// [`Snapshot::digest`] of the listing at login, once a message was deleted; 0 before.
    found: u64,
    error: Option<SnapshotError>,
}

/// Splits a row into its number and the rest after one space. Rows such as `01 a` or `1  a` are
/// refused: a posed session would show them differently from the mail server.
fn split_row(row: &[u8]) -> Option<(MessageNumber, &[u8])> {
    let space = memchr::memchr(b' ', row)?;
    let (digits, rest) = (&row[..space], &row[space + 1..]);
    Some((number(digits).filter(|_| !digits.starts_with(b"0"))?, rest))
}

/// Parses a row of LIST: `number size`. RFC 1939, section 5, allows more after the size, which a
/// snapshot could not keep; no server is known to send it.
fn parse_size(row: &[u8]) -> Option<(MessageNumber, u64)> {
    let (message, size) = split_row(row)?;
    Some((message, plain_number(size)?))
}

/// Parses a number without leading zeros, as a posed session writes it.
fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.len() > 1 && digits.starts_with(b"0") || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Parses a row of UIDL: `number unique-id` (RFC 1939, section 7).
fn parse_unique_id(row: &[u8]) -> Option<(MessageNumber, &[u8])> {
    split_row(row).filter(|(_, id)| is_unique_id(id))
}

impl Listing {
    /// Adds the reply to STAT, `+OK count size`. RFC 1939 allows more after the size; then there is no
    /// snapshot, because a posed session would not show it.
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
            None => self.fail(SnapshotError::Malformed),
        }
    }

    /// Adds a row of LIST.
    pub fn add_size(&mut self, row: &[u8]) {
        match parse_size(row) {
            Some(_) if self.partial_sizes.len() >= MAX_MESSAGES => {
                self.fail(SnapshotError::TooLarge);
            }
            Some(row) => self.partial_sizes.push(row),
            None => self.fail(SnapshotError::Malformed),
        }
    }

    /// Adds a row of UIDL.
    pub fn add_unique_id(&mut self, row: &[u8]) {
        match parse_unique_id(row) {
            Some(_) if self.partial_unique_ids.len() >= MAX_MESSAGES => {
                self.fail(SnapshotError::TooLarge);
            }
            Some((message, id)) => self.partial_unique_ids.push((message, id.into())),
            None => self.fail(SnapshotError::Malformed),
        }
    }

    /// Ends a LIST.
    pub fn end_sizes(&mut self) {
        let rows = std::mem::take(&mut self.partial_sizes);
        self.sizes = Some(Column { rows, left_out: self.deleted.len() });
    }

    /// Ends a UIDL.
    pub fn end_unique_ids(&mut self) {
        let rows = std::mem::take(&mut self.partial_unique_ids);
        self.unique_ids = Some(Column { rows, left_out: self.deleted.len() });
    }

    /// Notes that the mail server has acknowledged a DELE.
    pub fn deleted(&mut self, message: MessageNumber) {
        if self.found == 0 {
            self.found = self.snapshot().map_or(0, |snapshot| snapshot.digest());
        }
        self.deleted.insert(message);
    }

    /// Notes that the mail server has acknowledged a RSET. Listings that lack messages are dropped.
    pub fn reset(&mut self) {
        self.deleted.clear();
        self.sizes.take_if(|column| column.left_out > 0);
        self.unique_ids.take_if(|column| column.left_out > 0);
    }

    /// Gives up the snapshot. The first reason is kept: later ones may follow from it.
    pub fn fail(&mut self, why: SnapshotError) {
        self.error.get_or_insert(why);
        (self.partial_sizes, self.partial_unique_ids) = (Vec::new(), Vec::new());
    }

    /// Number of deleted messages.
    #[must_use]
    pub fn deletions(&self) -> usize {
        self.deleted.len()
    }

    /// [`Snapshot::digest`] of the listing at login. `left`: the maildrop as the session leaves it.
    #[must_use]
    pub fn found(&self, left: &Snapshot) -> u64 {
        if self.found == 0 { left.digest() } else { self.found }
    }

    /// Whether the mail server has listed a message that is not in a snapshot.
    #[must_use]
    pub fn goes_beyond(&self, snapshot: &Snapshot) -> bool {
        let rows = self.unique_ids.iter().flat_map(|column| &column.rows);
        snapshot.lacks_any(rows.map(|(_, id)| &**id))
    }

    /// The next listing that is needed for a snapshot.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        if self.error.is_some() || self.is_empty() {
            None
        } else if self.unique_ids.is_none() {
            Some(Missing::UniqueIds)
        } else if self.sizes.is_none() {
            Some(Missing::Sizes)
        } else {
            None
        }
    }

    /// The maildrop as the session leaves it: the messages at login without the deleted ones.
    ///
    /// # Errors
    /// Why it is not known beyond doubt.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        if let Some(why) = self.error {
            return Err(why);
        }
        let mut counts = self.counts();
        let count = counts.next().ok_or(SnapshotError::Incomplete)?;
        if counts.any(|other| other != count) {
            return Err(SnapshotError::Contradictory);
        }
        let is_kept = |number: &MessageNumber| !self.deleted.contains(number);
        if self.is_empty() {
            let has_bytes = matches!(self.totals, Some(Totals { messages: 0, bytes: Some(1..) }));
            let has_rows = self.sizes.iter().flat_map(|column| &column.rows).any(|row| is_kept(&row.0))
                || self.unique_ids.iter().flat_map(|column| &column.rows).any(|row| is_kept(&row.0));
            return if has_bytes || has_rows {
                Err(SnapshotError::Contradictory)
            } else {
                Ok(Snapshot::default())
            };
        }
        let (Some(sizes), Some(unique_ids)) = (&self.sizes, &self.unique_ids) else {
            return Err(SnapshotError::Incomplete);
        };
        if let Some(Totals { bytes: Some(bytes), .. }) = self.totals
            && sizes.left_out == 0
            && sizes.rows.iter().try_fold(0_u64, |sum, row| sum.checked_add(row.1)) != Some(bytes)
        {
            // A posed session would answer STAT with the sum of the sizes.
            return Err(SnapshotError::Contradictory);
        }
        let kept_sizes: Vec<_> = sizes.rows.iter().filter(|(number, _)| is_kept(number)).collect();
        let kept_ids: Vec<_> = unique_ids.rows.iter().filter(|(number, _)| is_kept(number)).collect();
        let mut distinct: Vec<&[u8]> = kept_ids.iter().map(|row| &*row.1).collect();
        distinct.sort_unstable();
        let last = sizes.rows.last().map(|row| row.0).max(self.deleted.last().copied());
        if last.is_some_and(|last| last as usize > count)
            || !kept_sizes.iter().map(|row| row.0).eq(kept_ids.iter().map(|row| row.0))
            || !kept_sizes.is_sorted_by(|a, b| a.0 < b.0)
            || distinct.windows(2).any(|pair| pair[0] == pair[1])
        {
            return Err(SnapshotError::Contradictory);
        }
        let rows = kept_sizes.iter().zip(&kept_ids).map(|(size, id)| Row { size: size.1, unique_id: &id.1 });
        Snapshot::pack(rows).ok_or(SnapshotError::Malformed)
    }

    /// Whether all messages are deleted, or there were none, so that no listing is needed.
    fn is_empty(&self) -> bool {
        self.counts().any(|count| count == self.deleted.len())
    }

    /// Number of messages at login, according to each reply that shows it.
    fn counts(&self) -> impl Iterator<Item = usize> {
        let totals = self.totals.map(|totals| totals.messages);
        let sizes = self.sizes.as_ref().map(Column::count);
        let unique_ids = self.unique_ids.as_ref().map(Column::count);
        [totals, sizes, unique_ids].into_iter().flatten()
    }
}

/// The rows of a complete UIDL reply, for [`Relay::translated`](super::relay::Relay::translated).
#[derive(Debug, Default)]
pub struct UniqueIds {
    rows: Vec<(MessageNumber, Box<[u8]>)>,
}

impl UniqueIds {
    /// Adds a row. Returns false if it is malformed or exceeds the limit of messages.
    #[must_use]
    pub fn add(&mut self, row: &[u8]) -> bool {
        match parse_unique_id(row) {
            Some((number, id)) if self.rows.len() < MAX_MESSAGES => {
                self.rows.push((number, id.into()));
                true
            }
            _ => false,
        }
    }

    /// Whether there is a message that is not in a snapshot.
    #[must_use]
    pub fn go_beyond(&self, snapshot: &Snapshot) -> bool {
        snapshot.lacks_any(self.rows.iter().map(|(_, id)| &**id))
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[(MessageNumber, Box<[u8]>)] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Listing {
        let mut listing = Listing::default();
        listing.stat(b"+OK 3 123");
        for row in [&b"1 100"[..], b"2 20", b"3 3"] {
            listing.add_size(row);
        }
        listing.end_sizes();
        for row in [&b"1 aa"[..], b"2 bb", b"3 cc"] {
            listing.add_unique_id(row);
        }
        listing.end_unique_ids();
        listing
    }

    fn ids(snapshot: &Snapshot) -> Vec<String> {
        snapshot.rows().map(|(_, row)| String::from_utf8_lossy(row.unique_id).into_owned()).collect()
    }

    #[test]
    fn complete_listings_make_a_snapshot() {
        let listing = complete();
        assert_eq!(listing.missing(), None);
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa", "bb", "cc"]);
    }

    #[test]
    fn deleted_messages_are_not_in_the_snapshot() {
        let mut listing = complete();
        listing.deleted(2);
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa", "cc"]);
        listing.reset();
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa", "bb", "cc"]);
    }

    #[test]
    fn listings_that_the_client_did_not_ask_for_are_missing() {
        let mut listing = Listing::default();
        assert_eq!(listing.missing(), Some(Missing::UniqueIds));
        listing.stat(b"+OK 1 5");
        assert_eq!(listing.missing(), Some(Missing::UniqueIds));
        listing.add_unique_id(b"1 aa");
        listing.end_unique_ids();
        assert_eq!(listing.missing(), Some(Missing::Sizes));
        assert_eq!(listing.snapshot(), Err(SnapshotError::Incomplete));
        listing.add_size(b"1 5");
        listing.end_sizes();
        assert_eq!(listing.missing(), None);
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa"]);
    }

    #[test]
    fn an_empty_maildrop_needs_no_listings() {
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
    fn rset_drops_a_listing_that_was_taken_after_a_deletion() {
        let mut listing = Listing::default();
        listing.deleted(1);
        listing.add_unique_id(b"2 bb");
        listing.end_unique_ids();
        listing.add_size(b"2 20");
        listing.end_sizes();
        assert_eq!(ids(&listing.snapshot().unwrap()), ["bb"]);
        listing.reset();
        assert_eq!(listing.missing(), Some(Missing::UniqueIds));
        assert_eq!(listing.snapshot(), Err(SnapshotError::Incomplete));
        for row in [b"1 aa", b"2 bb"] {
            listing.add_unique_id(row);
        }
        listing.end_unique_ids();
        assert_eq!(listing.missing(), Some(Missing::Sizes));
    }

    #[test]
    fn listings_that_contradict_each_other_make_no_snapshot() {
        let mut listing = complete();
        listing.stat(b"+OK 4 123");
        assert_eq!(listing.snapshot(), Err(SnapshotError::Contradictory));

        let mut listing = complete();
        listing.add_size(b"1 1");
        listing.add_size(b"2 1");
        listing.add_size(b"4 1");
        listing.end_sizes();
        assert_eq!(listing.snapshot(), Err(SnapshotError::Contradictory));
    }

    #[test]
    fn duplicate_unique_ids_make_no_snapshot() {
        let mut listing = complete();
        for row in [&b"1 aa"[..], b"2 aa", b"3 cc"] {
            listing.add_unique_id(row);
        }
        listing.end_unique_ids();
        assert_eq!(listing.snapshot(), Err(SnapshotError::Contradictory));
    }

    /// A posed session writes rows in one form, so rows of any other form make no snapshot.
    #[test]
    fn rows_that_are_not_exactly_as_in_the_rfc_make_no_snapshot() {
        let long = [b"1 ", &[b'x'; 71][..]].concat();
        let unique_ids: [&[u8]; 13] = [
            b"x aa", b"1", b"", b"1 \xff", b"1 aa x", b"1  aa", b" 1 aa", b"1 aa ", b"1\taa", b"01 aa",
            b"1 a\ta", b"0 aa", &long,
        ];
        for row in unique_ids {
            let mut listing = complete();
            listing.add_unique_id(row);
            assert_eq!(listing.snapshot(), Err(SnapshotError::Malformed), "{}", row.escape_ascii());
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
            let mut listing = complete();
            listing.add_size(row);
            assert_eq!(listing.snapshot(), Err(SnapshotError::Malformed), "{}", row.escape_ascii());
        }
        for (status, is_accepted) in [
            ("+OK 3 123", true),
            ("+OK 3 123 bytes", false),
            ("+OK 3 123 ", false),
            ("+OK  3 123", false),
            ("+OK 03 123", false),
            ("+OK 3 0123", false),
            ("+OK 3", false),
            ("+OK x 1", false),
        ] {
            let mut listing = complete();
            listing.stat(status.as_bytes());
            assert_eq!(listing.snapshot().is_ok(), is_accepted, "{status}");
        }
    }

    #[test]
    fn a_maildrop_is_empty_only_if_each_listed_message_was_deleted() {
        for (sizes, unique_ids, deleted, is_empty) in [
            (&[&b"1 5"[..]][..], &[&b"1 a"[..]][..], &[1][..], true),
            (&[b"1 5"], &[b"2 a"], &[1], false),
            (&[b"2 5"], &[b"1 a"], &[1], false),
            (&[b"1 5", b"3 5"], &[b"1 a", b"2 b"], &[1, 2], false),
            (&[b"1 5", b"2 5"], &[b"1 a", b"2 b"], &[1, 2], true),
        ] {
            let mut listing = Listing::default();
            sizes.iter().for_each(|row| listing.add_size(row));
            listing.end_sizes();
            unique_ids.iter().for_each(|row| listing.add_unique_id(row));
            listing.end_unique_ids();
            deleted.iter().for_each(|&number| listing.deleted(number));
            let expected = if is_empty { Ok(Snapshot::default()) } else { Err(SnapshotError::Contradictory) };
            assert_eq!(listing.snapshot(), expected, "{deleted:?}");
        }
    }

    #[test]
    fn totals_and_numbers_that_a_posed_session_would_change_make_no_snapshot() {
        let mut listing = complete();
        listing.stat(b"+OK 3 124");
        assert_eq!(listing.snapshot(), Err(SnapshotError::Contradictory));
        let mut empty = Listing::default();
        empty.stat(b"+OK 0 100");
        assert_eq!(empty.snapshot(), Err(SnapshotError::Contradictory));
        // After a deletion, STAT counts the other messages.
        let mut listing = complete();
        listing.deleted(1);
        listing.stat(b"+OK 2 23");
        assert_eq!(ids(&listing.snapshot().unwrap()), ["bb", "cc"]);
        // Numbers with a gap: a posed session would close it.
        let mut listing = Listing::default();
        for row in [&b"1 10"[..], b"3 10"] {
            listing.add_size(row);
        }
        listing.end_sizes();
        for row in [&b"1 aa"[..], b"3 cc"] {
            listing.add_unique_id(row);
        }
        listing.end_unique_ids();
        assert_eq!(listing.snapshot(), Err(SnapshotError::Contradictory));
    }

    #[test]
    fn a_number_that_occurs_twice_makes_no_snapshot() {
        let mut listing = Listing::default();
        for number in [1, 1, 3] {
            listing.add_size(format!("{number} 10").as_bytes());
        }
        listing.end_sizes();
        for (number, id) in [(1, "aa"), (1, "bb"), (3, "cc")] {
            listing.add_unique_id(format!("{number} {id}").as_bytes());
        }
        listing.end_unique_ids();
        assert_eq!(listing.snapshot(), Err(SnapshotError::Contradictory));
    }

    #[test]
    fn sizes_that_were_listed_after_a_deletion_need_not_add_up_to_those_before() {
        let mut listing = complete();
        listing.deleted(2);
        listing.add_size(b"1 100");
        listing.add_size(b"3 3");
        listing.end_sizes();
        assert_eq!(ids(&listing.snapshot().unwrap()), ["aa", "cc"]);
    }

    #[test]
    fn what_was_found_is_the_listing_before_the_first_deletion() {
        let mut listing = complete();
        let whole = listing.snapshot().unwrap();
        assert_eq!(listing.found(&whole), whole.digest());
        listing.deleted(2);
        listing.deleted(3);
        let left = listing.snapshot().unwrap();
        assert_ne!(left.digest(), whole.digest());
        assert_eq!((listing.found(&left), listing.deletions()), (whole.digest(), 2));
    }

    #[test]
    fn a_listing_goes_beyond_a_snapshot_that_lacks_a_message_of_it() {
        let listing = complete();
        let mut unique_ids = UniqueIds::default();
        assert!(unique_ids.add(b"1 aa") && unique_ids.add(b"2 bb") && !unique_ids.add(b"3  cc"));
        assert_eq!(unique_ids.rows().len(), 2);
        let snapshot = |ids: &[&'static str]| {
            Snapshot::pack(ids.iter().map(|id| Row { size: 1, unique_id: id.as_bytes() })).unwrap()
        };
        for (ids, listing_is_beyond, rows_are_beyond) in [
            (&["cc", "bb", "aa", "dd"][..], false, false),
            (&["aa", "bb"], true, false),
            (&["aa"], true, true),
            (&[], true, true),
        ] {
            assert_eq!(listing.goes_beyond(&snapshot(ids)), listing_is_beyond, "{ids:?}");
            assert_eq!(unique_ids.go_beyond(&snapshot(ids)), rows_are_beyond, "{ids:?}");
        }
        assert!(!Listing::default().goes_beyond(&snapshot(&[])));
    }

    #[test]
    fn too_many_messages_make_no_snapshot() {
        let mut listing = Listing::default();
        for number in 1..=MAX_MESSAGES + 1 {
            listing.add_size(format!("{number} 1").as_bytes());
        }
        listing.end_sizes();
        assert_eq!(listing.missing(), None, "no other listing is asked for");
        assert_eq!(listing.snapshot(), Err(SnapshotError::TooLarge));

        let mut listing = Listing::default();
        let mut unique_ids = UniqueIds::default();
        for number in 1..=MAX_MESSAGES {
            let row = format!("{number} {number}");
            listing.add_unique_id(row.as_bytes());
            assert!(unique_ids.add(row.as_bytes()));
        }
        assert_eq!(listing.snapshot(), Err(SnapshotError::Incomplete));
        listing.add_unique_id(b"200001 200001");
        assert_eq!(listing.snapshot(), Err(SnapshotError::TooLarge));
        assert!(!unique_ids.add(b"200001 200001"));
    }
}
