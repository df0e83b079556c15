//! Checks pages as they are read. A page must be what was read or written there before ([`PageSums`]), and
//! its children may not be larger than a page can be: the engine allocates as much memory as a page's
//! number says that the page has, up to 4 GiB, before it reads the page. One flipped bit in a branch of a
//! tree would therefore end a process on a small machine, which no error handling could prevent.

use std::io;
use std::ops::Bound;

use redb::{BackendError, StorageBackend};

use super::page_sums::PageSums;

/// First byte of a page that is a branch of a tree.
const BRANCH: u8 = 2;
/// Where the number of keys of a branch is: two bytes, little-endian.
const KEYS_AT: usize = 2;
/// Where the checksums of a branch's children begin; the children's page numbers follow them.
const CHECKSUMS_AT: usize = 8;
const CHECKSUM_BYTES: usize = 16;
const PAGE_NUMBER_BYTES: usize = 8;
/// The five highest bits of a page number are the binary logarithm of its size in pages.
const ORDER_SHIFT: u32 = 59;
/// The largest order that a page can have: 16 MiB, for values of at most 1 MiB and the engine's own
/// tables.
const MAX_ORDER: u64 = 12;

/// A file of the engine whose pages are checked as they are read.
#[derive(Debug)]
pub(super) struct PageGuard<B> {
    file: B,
    sums: PageSums,
}

impl<B> PageGuard<B> {
    pub(super) fn new(file: B) -> Self {
        Self { file, sums: PageSums::default() }
    }
}

/// An error if a branch has a child that is too large to be real.
fn check(page: &[u8]) -> io::Result<()> {
    if page.first() != Some(&BRANCH) {
        return Ok(());
    }
    let Some(keys) = page.get(KEYS_AT..).and_then(|rest| rest.first_chunk()) else { return Ok(()) };
    let children = usize::from(u16::from_le_bytes(*keys)) + 1;
    let numbers = page.get(CHECKSUMS_AT + children * CHECKSUM_BYTES..).unwrap_or_default();
    for number in numbers.as_chunks::<PAGE_NUMBER_BYTES>().0.iter().take(children) {
        let order = u64::from_le_bytes(*number) >> ORDER_SHIFT;
        if order > MAX_ORDER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a page of 2^{order} times 4 KiB cannot be part of it"),
            ));
        }
    }
    Ok(())
}

impl<B: StorageBackend> StorageBackend for PageGuard<B> {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let before = self.sums.before_read(offset, out);
        self.file.read(offset, out)?;
        self.sums.verify(offset, out, &before)?;
        check(out)
    }

    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.sums.set_len(len);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.sums.before_write(offset, data.len());
        self.file.write(offset, data)?;
        self.sums.written(offset, data);
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A branch with two children of these orders.
    fn branch(orders: [u64; 2]) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[0] = BRANCH;
        page[KEYS_AT] = 1;
        for (child, order) in orders.into_iter().enumerate() {
            let at = CHECKSUMS_AT + 2 * CHECKSUM_BYTES + child * PAGE_NUMBER_BYTES;
            page[at..at + PAGE_NUMBER_BYTES].copy_from_slice(&(order << ORDER_SHIFT | 7).to_le_bytes());
        }
        page
    }

    #[test]
    fn a_child_that_is_too_large_is_damage() {
        check(&branch([0, MAX_ORDER])).unwrap();
        for orders in [[20, 0], [0, 31]] {
            assert_eq!(check(&branch(orders)).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        // Pages that are cut off or are no branch are the engine's business.
        for other in [&branch([20, 0])[..3], &branch([20, 0])[..20], &[1; 4096], &[]] {
            check(other).unwrap();
        }
    }
}
