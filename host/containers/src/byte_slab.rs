//! Byte strings of up to one fixed length, addressed by a number, in pages of 32.
//!
//! A `Vec<Box<[u8]>>` takes a pointer and a length for each string, and the allocator rounds each
//! one up. For a million strings of 20 bytes that is BOX bytes each; a byte slab with cells of 24
//! bytes takes CELL, and the number by which a table refers to a cell has 4 bytes, not 16.

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

    /// Reserves a cell and returns its number. Its contents are unspecified. None if all
    /// 4,294,967,295 cells are in use.
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
