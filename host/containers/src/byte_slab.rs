//! Byte strings of up to one fixed length, addressed by a number, in pages of 32.
//!
//! A `Box<[u8]>` takes 16 bytes for its pointer and length beside the bytes, and an allocation of
//! its own, which the allocator rounds up. A cell is referred to by a number of 4 bytes. Figures for
//! 1,100,000 strings of 20 bytes, in cells of 24, including the vector that refers to them:
//!
//! | | memory, before rounding | allocations | all insertions |
//! | --- | --- | --- | --- |
//! | `ByteSlab` | 36 MB | 34,377 | 4 ms |
//! | `Vec<Box<[u8]>>` | 56 MB | 1,100,001 | 32 ms |

use crate::slab::{PAGE, Slots};

/// Cells of one size. The caller keeps the length of what it has stored.
#[derive(Debug)]
pub struct ByteSlab {
    cell_bytes: usize,
    pages: Vec<Box<[u8]>>,
    slots: Slots,
}

impl ByteSlab {
    /// An empty slab with cells of `cell_bytes` bytes.
    #[must_use]
    pub fn new(cell_bytes: usize) -> Self {
        Self { cell_bytes, pages: Vec::new(), slots: Slots::default() }
    }

    /// Reserves a cell and returns its number. Its contents are those that it had when it was freed, or
    /// zeros. None if all 4,294,967,295 cells are in use.
    pub fn allocate(&mut self) -> Option<u32> {
        let slot = self.slots.allocate()?;
        if Slots::split(slot).0 == self.pages.len() {
            self.pages.push(vec![0; PAGE * self.cell_bytes].into_boxed_slice());
        }
        Some(slot)
    }

    /// Makes a cell available again. It must be in use.
    pub fn free(&mut self, slot: u32) {
        self.slots.free(slot);
    }

    /// One more than the highest number that was ever given: a bound for walking over the cells.
    #[must_use]
    pub fn slot_count(&self) -> u32 {
        self.slots.slot_count()
    }

    /// The first `length` bytes of a cell.
    #[must_use]
    pub fn get(&self, slot: u32, length: usize) -> &[u8] {
        let (page, index) = Slots::split(slot);
        &self.pages[page][index * self.cell_bytes..][..length]
    }

    /// The first `length` bytes of a cell, mutably.
    pub fn get_mut(&mut self, slot: u32, length: usize) -> &mut [u8] {
        let (page, index) = Slots::split(slot);
        &mut self.pages[page][index * self.cell_bytes..][..length]
    }
}
