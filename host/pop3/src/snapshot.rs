//! The listing of a maildrop as the user's clients last saw it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, LazyLock};

use super::command::MessageNumber;

/// Sizes and unique-ids of all messages, in the order of their numbers.
///
/// They are packed into one block, because millions of users may have one: the size of a message
/// as a variable-length number (LEB128), the length of its unique-id in one byte, the unique-id.
/// Twenty messages with ids of 24 characters take 560 bytes in one allocation, and 960 in 21 as a
/// `Vec<(u64, Box<[u8]>)>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    rows: Box<[u8]>,
    count: u32,
    bytes: u64,
}

/// One message of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Size in bytes, as LIST shows it.
    pub size: u64,
    /// Unique-id: 1 to 70 characters in the range 0x21 to 0x7E (RFC 1939, section 7).
    pub unique_id: &'a [u8],
}

/// Whether the bytes are a valid unique-id (RFC 1939, section 7).
#[must_use]
pub(crate) fn is_unique_id(bytes: &[u8]) -> bool {
    (1..=70).contains(&bytes.len()) && bytes.iter().all(|byte| (0x21..=0x7E).contains(byte))
}

impl Snapshot {
    /// Packs rows, which are in the order of their numbers. None if a unique-id is not valid.
    #[must_use]
    pub fn pack<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Option<Self> {
        let mut packed = Vec::new();
        let mut count = 0_u32;
        let mut bytes = 0_u64;
        for row in rows {
            if !is_unique_id(row.unique_id) {
                return None;
            }
            let mut size = row.size;
            while size >= 0x80 {
                packed.push(u8::try_from(size & 0x7F).unwrap_or(0) | 0x80);
                size >>= 7;
            }
            packed.push(u8::try_from(size).unwrap_or(0));
            packed.push(u8::try_from(row.unique_id.len()).ok()?);
            packed.extend_from_slice(row.unique_id);
            count = count.checked_add(1)?;
            bytes = bytes.checked_add(row.size)?;
        }
        Some(Self { rows: packed.into_boxed_slice(), count, bytes })
    }

    /// A snapshot from what [`packed`](Self::packed), [`count`](Self::count) and
    /// [`bytes`](Self::bytes) returned. None if they are something else: a session would show less than
    /// STAT promises, or something that is no listing.
    #[must_use]
    pub fn from_packed(rows: Box<[u8]>, count: u32, bytes: u64) -> Option<Self> {
        let mut rest = &*rows;
        let mut sum = 0_u64;
        for _ in 0..count {
            let (row, tail) = unpack(rest)?;
            if !is_unique_id(row.unique_id) {
                return None;
            }
            sum = sum.checked_add(row.size)?;
            rest = tail;
        }
        (rest.is_empty() && sum == bytes).then_some(Self { rows, count, bytes })
    }

    /// A hash of the rows, never 0: two snapshots of one process with the same rows have the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.rows);
        hasher.finish().max(1)
    }

    /// Whether a unique-id is not in the snapshot.
    #[must_use]
    pub fn lacks_any<'a>(&self, unique_ids: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let known: HashSet<_> = self.rows().map(|(_, row)| row.unique_id).collect();
        unique_ids.into_iter().any(|unique_id| !known.contains(unique_id))
    }

    /// The packed rows, to store them.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        &self.rows
    }

    /// Number of messages.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Sum of the sizes of all messages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The snapshot behind a pointer. Empty ones, which many users have, share one allocation.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        static EMPTY: LazyLock<Arc<Snapshot>> = LazyLock::new(Arc::default);
        if self.count == 0 { EMPTY.clone() } else { Arc::new(self) }
    }

    /// Bytes of memory that it takes; none if it is empty, because those are [shared](Self::shared).
    #[must_use]
    pub fn footprint(&self) -> usize {
        if self.count == 0 { 0 } else { size_of::<Self>() + self.rows.len() }
    }

    /// The messages with their numbers, from 1.
    pub fn rows(&self) -> impl Iterator<Item = (MessageNumber, Row<'_>)> {
        let mut rest = &*self.rows;
        (1..=self.count).map_while(move |number| {
            let (row, tail) = unpack(rest)?;
            rest = tail;
            Some((number, row))
        })
    }
}

/// The first of some packed rows, and the others.
fn unpack(packed: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let mut rest = packed;
    let mut size = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        size |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            let (&length, tail) = rest.split_first()?;
            let (unique_id, tail) = tail.split_at_checked(usize::from(length))?;
            return Some((Row { size, unique_id }, tail));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_rows_equal_the_packed_ones() {
        let given = [
            Row { size: 0, unique_id: b"a" },
            Row { size: 127, unique_id: b"!~" },
            Row { size: 128, unique_id: &[b'x'; 70] },
            Row { size: 5_000_000_000, unique_id: b"000000005f3a" },
        ];
        let snapshot = Snapshot::pack(given).unwrap();
        assert_eq!(snapshot.count(), 4);
        assert_eq!(snapshot.bytes(), 5_000_000_255);
        let back: Vec<_> = snapshot.rows().collect();
        assert_eq!(back, given.into_iter().enumerate().map(|(i, r)| (i as u32 + 1, r)).collect::<Vec<_>>());
    }

    #[test]
    fn an_invalid_unique_id_makes_no_snapshot() {
        for wrong in [&b""[..], b"a b", b"\x7f", &[b'x'; 71]] {
            assert!(Snapshot::pack([Row { size: 1, unique_id: wrong }]).is_none());
        }
    }

    #[test]
    fn only_what_was_packed_is_a_snapshot() {
        let rows = [Row { size: 5, unique_id: b"a" }, Row { size: 300, unique_id: b"bc" }];
        let whole = Snapshot::pack(rows).unwrap();
        let from = |rows: &[u8], count, bytes| Snapshot::from_packed(rows.into(), count, bytes);
        assert_eq!(from(whole.packed(), 2, 305), Some(whole.clone()));
        assert_eq!(from(&[], 0, 0), Some(Snapshot::default()));
        for (rows, count, bytes) in [
            (whole.packed(), 1, 305),
            (whole.packed(), 3, 305),
            (whole.packed(), 2, 304),
            (&whole.packed()[1..], 2, 305),
            (&whole.packed()[..whole.packed().len() - 1], 2, 305),
            (b"\x05\x00", 1, 5),
            (b"\x05\x01\n", 1, 5),
            // A size without an end, and sizes without a sum.
            (&[0xFF; 40], 1, u64::MAX),
            (b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x01a\x01\x01b", 2, 0),
        ] {
            assert_eq!(from(rows, count, bytes), None, "{}", rows.escape_ascii());
        }
    }

    #[test]
    fn empty_snapshots_share_one_allocation_and_take_no_memory() {
        let one = Snapshot::pack([Row { size: 5, unique_id: b"abc" }]).unwrap();
        assert_eq!(one.footprint(), size_of::<Snapshot>() + one.packed().len());
        assert_eq!(Snapshot::default().footprint(), 0);
        let [first, second] = [Snapshot::default(), Snapshot::default()].map(Snapshot::shared);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(*one.clone().shared(), one);
    }

    #[test]
    fn twenty_messages_fit_into_a_kilobyte() {
        let id = b"0123456789abcdef01234567";
        let snapshot = Snapshot::pack((0..20).map(|_| Row { size: 20_000, unique_id: id })).unwrap();
        assert!(snapshot.footprint() <= 1024, "{}", snapshot.footprint());
    }

    proptest::proptest! {
        #[test]
        fn a_snapshot_is_a_list_of_rows(
            rows in proptest::collection::vec(
                (proptest::num::u64::ANY, proptest::collection::vec(0x21_u8..=0x7E, 1..=70)), 0..40,
            ),
        ) {
            // Sizes up to 64 bits, whose sum fits.
            let rows: Vec<_> = rows.into_iter().map(|(size, id)| (size >> (size % 58 + 6), id)).collect();
            let packed = Snapshot::pack(rows.iter().map(|(size, id)| Row { size: *size, unique_id: id })).unwrap();
            let stored = Snapshot::from_packed(packed.packed().into(), packed.count(), packed.bytes()).unwrap();
            proptest::prop_assert_eq!(&stored, &packed);
            let unpacked: Vec<_> = stored.rows().map(|(number, it)| (number, it.size, it.unique_id.to_vec())).collect();
            let expected: Vec<_> = (1..).zip(&rows).map(|(number, (size, id))| (number, *size, id.clone())).collect();
            proptest::prop_assert_eq!(unpacked, expected);
            proptest::prop_assert_eq!(packed.bytes(), rows.iter().map(|row| row.0).sum::<u64>());
        }
    }
}
