//! What a policy remembers about a user: four numbers, as an entry of the policy's namespace. So it
//! counts towards its quota, is forgotten with it, and is written together with the call's other
//! writes.

use reprieve_store::{Namespace, Unavailable};

use super::types::Memory;
use crate::MemoryKey;
use crate::instance::Meter;

pub(crate) const NUMBERS: usize = 4;
const NUMBER: usize = size_of::<u32>();

/// Four numbers as they are stored: little-endian, without the zeros at the end. Empty: nothing is
/// remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    bytes: [u8; NUMBERS * NUMBER],
    length: usize,
}

impl Stored {
    pub(super) fn new(memory: Memory) -> Self {
        let numbers = [memory.first, memory.second, memory.third, memory.fourth];
        let mut stored = Self::default();
        for (index, number) in numbers.into_iter().enumerate() {
            let end = (index + 1) * NUMBER;
            stored.bytes[end - NUMBER..end].copy_from_slice(&number.to_le_bytes());
            if number != 0 {
                stored.length = end;
            }
        }
        stored
    }

    /// From an entry of the store. One that this code has not written counts as nothing remembered.
    fn parse(value: &[u8]) -> Self {
        let mut stored = Self::default();
        if let Some(bytes) = stored.bytes.get_mut(..value.len())
            && value.len().is_multiple_of(NUMBER)
        {
            bytes.copy_from_slice(value);
            stored.length = value.len();
        }
        stored
    }

    pub(super) fn numbers(self) -> Memory {
        let number = |index: usize| {
            let mut bytes = [0; NUMBER];
            bytes.copy_from_slice(&self.bytes[index * NUMBER..(index + 1) * NUMBER]);
            u32::from_le_bytes(bytes)
        };
        Memory { first: number(0), second: number(1), third: number(2), fourth: number(3) }
    }

    /// The entry's value; None if nothing is remembered.
    pub(super) fn value(&self) -> Option<&[u8]> {
        (self.length > 0).then(|| &self.bytes[..self.length])
    }
}

/// The value of the entry that remembers these numbers; None if all are 0.
pub(crate) fn entry([first, second, third, fourth]: [u32; NUMBERS]) -> Option<Vec<u8>> {
    Stored::new(Memory { first, second, third, fourth }).value().map(<[u8]>::to_vec)
}

/// The user and the numbers of an entry of the store, if it is what a policy remembers about a user.
#[must_use]
pub fn remembered<'k>(key: &'k str, value: &[u8]) -> Option<(&'k str, [u32; NUMBERS])> {
    let user = key.strip_prefix(MemoryKey::PREFIX)?;
    let Memory { first, second, third, fourth } = Stored::parse(value).numbers();
    Some((user, [first, second, third, fourth]))
}

pub(super) async fn read(
    namespace: &Namespace,
    meter: &Meter,
    key: &MemoryKey,
) -> Result<Stored, Unavailable> {
    meter
        .ask(namespace.get_with(key.stored(), |value| value.map_or_else(Stored::default, Stored::parse)))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stored_without_the_zeros_at_the_end() {
        for (numbers, length) in [
            ([0, 0, 0, 0], 0),
            ([1, 0, 0, 0], 4),
            ([0, u32::MAX, 0, 0], 8),
            ([0, 0, 7, 0], 12),
            ([1, 2, 3, 0x0102_0304], 16),
        ] {
            let [first, second, third, fourth] = numbers;
            let stored = Stored::new(Memory { first, second, third, fourth });
            let value = stored.value().unwrap_or_default();
            assert_eq!(value.len(), length, "{numbers:?}");
            let read = Stored::parse(value).numbers();
            assert_eq!([read.first, read.second, read.third, read.fourth], numbers);
        }
    }

    #[test]
    fn an_entry_of_another_kind_counts_as_nothing() {
        for value in [&b"x"[..], b"12345", &[1; 20]] {
            assert_eq!(Stored::parse(value).value(), None);
        }
    }
}
