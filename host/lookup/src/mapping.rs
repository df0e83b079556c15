//! A file that is mapped into memory.

use std::fs::File;

use memmap2::Mmap;

use crate::sigbus::Guard;

/// The content of a file, in the page cache.
pub(crate) struct Mapping {
    // Dropped first: from then on the addresses may belong to others.
    guard: Guard,
    map: Mmap,
}

impl Mapping {
    pub(crate) fn of(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is only read. If another program writes to the file in place, lookups see
        // other bytes, of which they trust none; if it truncates the file, the guard supplies zeros.
        let map = unsafe { Mmap::map(file) }?;
        let guard = Guard::new(&map.as_ptr_range())
            .ok_or_else(|| std::io::Error::other("too many lookup tables are open"))?;
        Ok(Self { guard, map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Whether a part of the file was missing when it was read.
    pub(crate) fn is_torn(&self) -> bool {
        self.guard.is_torn()
    }
}
