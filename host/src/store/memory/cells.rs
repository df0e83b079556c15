//! Cells for short pieces of octets, all of one size, in pages: an allocator would round each of
//! them up further.

/// Cells in a page.
const PAGE: usize = 32;

/// Cells of one size.
#[derive(Debug)]
pub(super) struct Cells {
    /// Octets of a cell.
    size: usize,
    pages: Vec<Box<[u8]>>,
    /// Cells that were taken before and are not any more.
    free: Vec<u32>,
    /// The first that was never taken.
    fresh: u32,
}

impl Cells {
    /// None yet.
    pub fn of(size: usize) -> Self {
        Self { size, pages: Vec::new(), free: Vec::new(), fresh: 0 }
    }

    /// Takes a cell. None where there are 4,294,967,295.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(at) = self.free.pop() {
            return Some(at);
        }
        let at = self.fresh;
        self.fresh = at.checked_add(1)?;
        if at as usize / PAGE == self.pages.len() {
            self.pages.push(vec![0; PAGE * self.size].into_boxed_slice());
        }
        Some(at)
    }

    /// Gives back a cell that was taken.
    pub fn give_back(&mut self, at: u32) {
        self.free.push(at);
    }

    /// The first octets of a cell.
    pub fn get(&self, at: u32, length: usize) -> &[u8] {
        let from = at as usize % PAGE * self.size;
        &self.pages[at as usize / PAGE][from..from + length]
    }

    /// The first octets of a cell, to write them.
    pub fn get_mut(&mut self, at: u32, length: usize) -> &mut [u8] {
        let from = at as usize % PAGE * self.size;
        &mut self.pages[at as usize / PAGE][from..from + length]
    }
}
