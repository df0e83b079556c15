//! Cells for short pieces of octets, all of one size, in pages: an allocator would round each of
//! them up further.

use reprieve_containers::slab::{PAGE, Places};

/// Cells of one size.
#[derive(Debug)]
pub(super) struct Cells {
    /// Octets of a cell.
    size: usize,
    pages: Vec<Box<[u8]>>,
    places: Places,
}

impl Cells {
    /// None yet.
    pub fn of(size: usize) -> Self {
        Self { size, pages: Vec::new(), places: Places::default() }
    }

    /// Takes a cell. None where there are 4,294,967,295.
    pub fn take(&mut self) -> Option<u32> {
        let at = self.places.take()?;
        if Places::split(at).0 == self.pages.len() {
            self.pages.push(vec![0; PAGE * self.size].into_boxed_slice());
        }
        Some(at)
    }

    /// Gives back a cell that was taken.
    pub fn give_back(&mut self, at: u32) {
        self.places.give_back(at);
    }

    /// The first octets of a cell.
    pub fn get(&self, at: u32, length: usize) -> &[u8] {
        let (page, place) = Places::split(at);
        &self.pages[page][place * self.size..][..length]
    }

    /// The first octets of a cell, to write them.
    pub fn get_mut(&mut self, at: u32, length: usize) -> &mut [u8] {
        let (page, place) = Places::split(at);
        &mut self.pages[page][place * self.size..][..length]
    }
}
