//! The tables of the file.

use redb::TableDefinition;

use crate::NEVER;

/// Version of this format.
pub(super) const VERSION: u64 = 1;

/// Entries. Key: eight bytes of the namespace's number, big-endian, and the key. Value: expiry
/// time in milliseconds since 1970 (eight bytes, little-endian, all ones for never) and the value.
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Namespaces by name: the current number, which `clear` changes, and the bytes in use.
pub(super) const NAMESPACES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("namespaces");
/// The file itself: `format` (version), `closed` (1 if it was closed properly) and `crashes` (how
/// often it was not).
pub(super) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The stored key of an entry.
pub(super) fn key(namespace: u64, key: &[u8]) -> Vec<u8> {
    [&namespace.to_be_bytes(), key].concat()
}

/// Splits a stored key into the namespace's number and the key.
pub(super) fn split(key: &[u8]) -> Option<(u64, &[u8])> {
    let (namespace, key) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*namespace), key))
}

/// The stored value of an entry.
pub(super) fn pack(value: &[u8], expires: u64) -> Vec<u8> {
    [&expires.to_le_bytes(), value].concat()
}

/// Splits a stored value into the value and its expiry time.
pub(super) fn unpack(stored: &[u8]) -> (&[u8], u64) {
    match stored.split_first_chunk() {
        Some((expires, value)) => (value, u64::from_le_bytes(*expires)),
        None => (stored, NEVER),
    }
}
