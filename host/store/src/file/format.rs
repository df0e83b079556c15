//! What stands in the file.

use redb::TableDefinition;

use crate::NEVER;

/// The version of this format.
pub(super) const VERSION: u64 = 1;

/// Entries: eight octets of the namespace's present number and the key; when it expires
/// (milliseconds since 1970, least significant octet first, all ones for never) and the value.
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Namespaces by their names: the present number, which `clear` changes, and octets in use.
pub(super) const NAMESPACES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("namespaces");
/// The file itself: its format, whether it was closed as it should be, and how often not.
pub(super) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The key of an entry.
pub(super) fn key(namespace: u64, key: &[u8]) -> Vec<u8> {
    [&namespace.to_be_bytes(), key].concat()
}

/// Namespace and key.
pub(super) fn split(key: &[u8]) -> Option<(u64, &[u8])> {
    let (namespace, key) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*namespace), key))
}

/// What is written of an entry.
pub(super) fn pack(value: &[u8], expires: u64) -> Vec<u8> {
    [&expires.to_le_bytes(), value].concat()
}

/// Value and when it expires.
pub(super) fn unpack(stored: &[u8]) -> (&[u8], u64) {
    match stored.split_first_chunk() {
        Some((expires, value)) => (value, u64::from_le_bytes(*expires)),
        None => (stored, NEVER),
    }
}
