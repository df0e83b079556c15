//! A maildrop's listing as the user's clients last saw it.

use std::sync::{Arc, LazyLock};

use super::command::Number;

/// Sizes and unique-ids of a maildrop, in the order of its numbers, packed into one block:
/// for each message its size as a variable-length number, the length of its unique-id in one
/// octet, and the unique-id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    rows: Box<[u8]>,
    count: u32,
    octets: u64,
}

/// One message of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Size in octets, as LIST tells it.
    pub size: u64,
    /// Unique-id: 1 to 70 characters in the range 0x21 to 0x7E (RFC 1939, section 7).
    pub unique_id: &'a [u8],
}

/// Whether the octets can be a unique-id.
#[must_use]
pub fn is_unique_id(octets: &[u8]) -> bool {
    (1..=70).contains(&octets.len()) && octets.iter().all(|octet| (0x21..=0x7E).contains(octet))
}

impl Snapshot {
    /// Packs rows in the order of their numbers. None where a unique-id is none.
    #[must_use]
    pub fn pack<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Option<Self> {
        let mut packed = Vec::new();
        let mut count = 0_u32;
        let mut octets = 0_u64;
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
            octets = octets.checked_add(row.size)?;
        }
        Some(Self { rows: packed.into_boxed_slice(), count, octets })
    }

    /// Takes back what [`Snapshot::packed`] gave, with its number of messages and octets.
    #[must_use]
    pub fn from_packed(rows: Box<[u8]>, count: u32, octets: u64) -> Self {
        Self { rows, count, octets }
    }

    /// The packed rows.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        &self.rows
    }

    /// Messages in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Their sizes' sum, in octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The snapshot for many to hold. Of the empty one, which is most users', there is one for all.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        static EMPTY: LazyLock<Arc<Snapshot>> = LazyLock::new(Arc::default);
        if self.count == 0 { EMPTY.clone() } else { Arc::new(self) }
    }

    /// Octets of memory that it takes. The empty one takes none: see [`Snapshot::shared`].
    #[must_use]
    pub fn footprint(&self) -> usize {
        if self.count == 0 { 0 } else { size_of::<Self>() + self.rows.len() }
    }

    /// The messages with their numbers, from 1.
    pub fn rows(&self) -> impl Iterator<Item = (Number, Row<'_>)> {
        let mut rest = &*self.rows;
        (1..=self.count).map_while(move |number| {
            let mut size = 0_u64;
            let mut shift = 0;
            loop {
                let (&octet, tail) = rest.split_first()?;
                rest = tail;
                size |= u64::from(octet & 0x7F) << shift;
                if octet < 0x80 {
                    break;
                }
                shift += 7;
            }
            let (&length, tail) = rest.split_first()?;
            let (unique_id, tail) = tail.split_at_checked(usize::from(length))?;
            rest = tail;
            Some((number, Row { size, unique_id }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_packed() {
        let given = [
            Row { size: 0, unique_id: b"a" },
            Row { size: 127, unique_id: b"!~" },
            Row { size: 128, unique_id: &[b'x'; 70] },
            Row { size: 5_000_000_000, unique_id: b"000000005f3a" },
        ];
        let snapshot = Snapshot::pack(given).unwrap();
        assert_eq!(snapshot.count(), 4);
        assert_eq!(snapshot.octets(), 5_000_000_255);
        let back: Vec<_> = snapshot.rows().collect();
        assert_eq!(back, given.into_iter().enumerate().map(|(i, r)| (i as u32 + 1, r)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_unique_id_makes_no_snapshot() {
        for wrong in [&b""[..], b"a b", b"\x7f", &[b'x'; 71]] {
            assert!(Snapshot::pack([Row { size: 1, unique_id: wrong }]).is_none());
        }
    }

    #[test]
    fn twenty_messages_fit_into_a_kilobyte() {
        let id = b"0123456789abcdef01234567";
        let snapshot = Snapshot::pack((0..20).map(|_| Row { size: 20_000, unique_id: id })).unwrap();
        assert!(snapshot.footprint() <= 1024, "{}", snapshot.footprint());
    }
}
