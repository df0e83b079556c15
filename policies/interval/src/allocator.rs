//! Memory for calls that keep nothing: it is given out from the front of one block, and all of
//! it is free again as soon as nothing that was given out is left. What a call is told comes in
//! some ten strings, and taking and giving back each of them by a general allocator was a third
//! of the policy's instructions.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// Octets of the block. A call takes some hundreds; the longest user name, some thousands.
const BLOCK: usize = 16 << 10;
/// The largest alignment that the block serves.
const ALIGN: usize = 16;

#[repr(align(16))]
struct Block(UnsafeCell<[u8; BLOCK]>);

/// The allocator. What does not fit into its block comes from the system's.
pub(crate) struct Rewinding {
    block: Block,
    /// Where the free part of the block begins.
    next: Cell<usize>,
    /// Pieces of the block that are in use.
    living: Cell<usize>,
}

// SAFETY: a policy is one thread: WebAssembly's threads are not enabled for it, and natively
// only tests make one, each its own.
#[cfg(target_arch = "wasm32")]
unsafe impl Sync for Rewinding {}

impl Rewinding {
    pub(crate) const fn new() -> Self {
        Self { block: Block(UnsafeCell::new([0; BLOCK])), next: Cell::new(0), living: Cell::new(0) }
    }

    fn start(&self) -> *mut u8 {
        self.block.0.get().cast()
    }

    /// Where in the block a piece begins, if it is the block's.
    fn offset(&self, piece: *mut u8) -> Option<usize> {
        let offset = (piece as usize).wrapping_sub(self.start() as usize);
        (offset < BLOCK).then_some(offset)
    }
}

// SAFETY: pieces of the block do not overlap, because each begins where `next` was and `next` is
// moved to its end, and it goes back only to the beginning of the last piece or, where none is in
// use, to the block's. `start` is aligned to ALIGN, and so `next` rounded up is aligned as asked.
// A piece is told from the system's by its address alone, so each goes back where it came from.
unsafe impl GlobalAlloc for Rewinding {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align();
        let from = (self.next.get() + align - 1) & !(align - 1);
        // `from` is at most BLOCK + ALIGN, and a layout's size at most half of all addresses.
        if align <= ALIGN && from + layout.size() <= BLOCK {
            self.next.set(from + layout.size());
            self.living.set(self.living.get() + 1);
            // SAFETY: `from + size` is within the block.
            return unsafe { self.start().add(from) };
        }
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if self.offset(piece).is_none() {
            // SAFETY: it is not the block's, so `alloc` had it from the system.
            return unsafe { System.dealloc(piece, layout) };
        }
        let living = self.living.get() - 1;
        self.living.set(living);
        if living == 0 {
            self.next.set(0);
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(piece) else {
            // SAFETY: it is not the block's, so `alloc` had it from the system.
            return unsafe { System.realloc(piece, layout, size) };
        };
        if offset + layout.size() == self.next.get() && size <= BLOCK - offset {
            // It is the last one: it grows where it is.
            self.next.set(offset + size);
            return piece;
        }
        // SAFETY: the caller promises that this is a layout.
        let grown = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `size` is not zero, as the caller promises.
        let moved = unsafe { self.alloc(grown) };
        if !moved.is_null() {
            // SAFETY: both have at least so many octets, and they are two pieces.
            unsafe { moved.copy_from_nonoverlapping(piece, layout.size().min(size)) };
            // SAFETY: the piece is ours, and nobody uses it any more.
            unsafe { self.dealloc(piece, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Piece {
        at: *mut u8,
        layout: Layout,
        mark: u8,
    }

    impl Piece {
        fn new(from: &Rewinding, size: usize, align: usize, mark: u8) -> Self {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: no test asks for nothing.
            let at = unsafe { from.alloc(layout) };
            assert!(!at.is_null() && (at as usize).is_multiple_of(align));
            // SAFETY: the piece has `size` octets.
            unsafe { at.write_bytes(mark, size) };
            Self { at, layout, mark }
        }

        fn check(&self, size: usize) {
            // SAFETY: `new` and `resize` have written each octet.
            let octets = unsafe { std::slice::from_raw_parts(self.at, size) };
            assert!(octets.iter().all(|octet| *octet == self.mark), "somebody else wrote here");
        }

        fn resize(&mut self, from: &Rewinding, size: usize) {
            // SAFETY: it is `from`'s, and `size` is not zero.
            self.at = unsafe { from.realloc(self.at, self.layout, size) };
            assert!(!self.at.is_null());
            self.check(self.layout.size().min(size));
            self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
            // SAFETY: the piece has `size` octets.
            unsafe { self.at.write_bytes(self.mark, size) };
        }

        fn free(self, from: &Rewinding) {
            self.check(self.layout.size());
            // SAFETY: it is `from`'s, and nobody uses it after this.
            unsafe { from.dealloc(self.at, self.layout) };
        }
    }

    #[test]
    fn the_block_is_free_again_when_nothing_is_left_of_it() {
        let allocator = Rewinding::new();
        let first = Piece::new(&allocator, 100, 1, 1);
        let beginning = first.at;
        let second = Piece::new(&allocator, 8, 8, 2);
        first.free(&allocator);
        assert_ne!(Piece::new(&allocator, 1, 1, 3).free_at(&allocator), beginning, "the second is in use");
        second.free(&allocator);
        assert_eq!(Piece::new(&allocator, 1, 1, 4).free_at(&allocator), beginning);
    }

    #[test]
    fn what_does_not_fit_comes_from_the_system_and_goes_back_there() {
        let allocator = Rewinding::new();
        let all = Piece::new(&allocator, BLOCK, 16, 1);
        let more = Piece::new(&allocator, 1, 1, 2);
        assert!(allocator.offset(all.at).is_some() && allocator.offset(more.at).is_none());
        more.free(&allocator);
        all.free(&allocator);
        let wide = Piece::new(&allocator, 64, 4096, 3);
        assert!(allocator.offset(wide.at).is_none());
        wide.free(&allocator);
    }

    #[test]
    fn the_last_piece_grows_where_it_is_and_others_move() {
        let allocator = Rewinding::new();
        let mut first = Piece::new(&allocator, 10, 1, 1);
        let before = first.at;
        first.resize(&allocator, 1000);
        assert_eq!(first.at, before);
        let second = Piece::new(&allocator, 10, 1, 2);
        first.resize(&allocator, 2000);
        assert_ne!(first.at, before);
        first.resize(&allocator, BLOCK * 2);
        assert!(allocator.offset(first.at).is_none(), "too large for the block");
        first.resize(&allocator, 5);
        first.free(&allocator);
        second.free(&allocator);
        assert_eq!((allocator.next.get(), allocator.living.get()), (0, 0));
    }

    #[test]
    fn whatever_is_asked_for_nobody_writes_into_anothers_piece() {
        // A linear congruential generator: the same numbers each time, under Miri too.
        let mut state = 1_u64;
        let mut below = |most: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % most
        };
        let allocator = Rewinding::new();
        let mut pieces: Vec<Piece> = Vec::new();
        for round in 0..if cfg!(miri) { 300_u32 } else { 20_000 } {
            match below(5) {
                0 | 1 => {
                    let (size, align) = (1 + below(2000), 1 << below(7));
                    pieces.push(Piece::new(&allocator, size, align, round.to_le_bytes()[0]));
                }
                2 if !pieces.is_empty() => {
                    let (at, size) = (below(pieces.len()), 1 + below(3000));
                    pieces[at].resize(&allocator, size);
                }
                3 if !pieces.is_empty() => {
                    let at = below(pieces.len());
                    pieces.swap_remove(at).free(&allocator);
                }
                _ if below(20) == 0 => {
                    pieces.drain(..).for_each(|piece| piece.free(&allocator));
                    assert_eq!((allocator.next.get(), allocator.living.get()), (0, 0));
                }
                _ => {}
            }
        }
        pieces.drain(..).for_each(|piece| piece.free(&allocator));
    }

    impl Piece {
        fn free_at(self, from: &Rewinding) -> *mut u8 {
            let at = self.at;
            self.free(from);
            at
        }
    }
}
