//! The stored form of an entry in Redis: the generation in which it was written and its expiry
//! time (milliseconds since 1970, 0 for never), six bytes each, big-endian; then the value.

use super::super::{NEVER, Unavailable};

const HEADER_BYTES: usize = 12;

/// An entry as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredEntry<'a> {
    pub generation: u64,
    /// Milliseconds since 1970, or [`NEVER`].
    pub expires: u64,
    pub value: &'a [u8],
}

impl<'a> StoredEntry<'a> {
    /// None if the bytes are too short for an entry.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, value) = bytes.split_at_checked(HEADER_BYTES)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let expires = match number(&header[6..]) {
            0 => NEVER,
            expires => expires,
        };
        Some(Self { generation: number(&header[..6]), expires, value })
    }

    /// The value of a stored entry; None if it was written before this generation.
    ///
    /// # Errors
    /// If the bytes are too short for an entry.
    pub fn into_value(mut stored: Vec<u8>, generation: u64) -> Result<Option<Vec<u8>>, Unavailable> {
        let Some(entry) = StoredEntry::parse(&stored) else {
            return Err(Unavailable("it holds an entry that was not written by Reprieve".to_owned()));
        };
        if entry.generation < generation {
            return Ok(None);
        }
        stored.drain(..HEADER_BYTES);
        Ok(Some(stored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_of_twelve_bytes_and_the_value() {
        let bytes = b"\x00\x00\x00\x00\x01\x02\x01\x99\x00\x00\x00\x00value";
        let stored = StoredEntry::parse(bytes).unwrap();
        assert_eq!((stored.generation, stored.expires, stored.value), (258, 0x0199_0000_0000, &b"value"[..]));
        assert_eq!(StoredEntry::parse(&[0; 12]).unwrap().expires, NEVER);
        assert_eq!(StoredEntry::parse(&[0; 11]), None);
    }
}
