#![doc = include_str!("../README.md")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// Size of the arena. A call needs some hundreds of bytes; with the longest user name, some
/// thousands.
const ARENA_BYTES: usize = 16 << 10;
/// The largest alignment that the arena serves.
const ARENA_ALIGN: usize = 16;

#[repr(align(16))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

/// Allocates from the front of an arena, which is empty again as soon as all of its allocations
/// are freed. What does not fit comes from the system allocator.
pub struct BumpAllocator {
    arena: Arena,
    /// Offset of the free part of the arena.
    next: Cell<usize>,
    /// Number of allocations in the arena that have not been freed.
    live: Cell<usize>,
}

// SAFETY: without the feature `atomics`, a WebAssembly instance has one thread.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
unsafe impl Sync for BumpAllocator {}

impl BumpAllocator {
    /// An allocator with an empty arena.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a static needs a constant")]
    pub const fn new() -> Self {
        Self { arena: Arena(UnsafeCell::new([0; ARENA_BYTES])), next: Cell::new(0), live: Cell::new(0) }
    }

    fn start(&self) -> *mut u8 {
        self.arena.0.get().cast()
    }

    /// Where in the arena an allocation begins; `None` if the system allocator made it.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        let offset = (pointer as usize).wrapping_sub(self.start() as usize);
        (offset < ARENA_BYTES).then_some(offset)
    }
}

// SAFETY: allocations in the arena do not overlap: each begins at or after `next`, which then moves
// to its end. `next` moves back only within the last allocation, or to the start when none is live.
// The start is aligned to ARENA_ALIGN, so an offset rounded up is aligned as requested. An address
// alone tells whether an allocation is in the arena, so each is freed by the allocator that made it.
unsafe impl GlobalAlloc for BumpAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align();
        let offset = (self.next.get() + align - 1) & !(align - 1);
        // No overflow: `offset` is at most ARENA_BYTES + ARENA_ALIGN, and a size at most isize::MAX.
        if align <= ARENA_ALIGN && offset + layout.size() <= ARENA_BYTES {
            self.next.set(offset + layout.size());
            self.live.set(self.live.get() + 1);
            // SAFETY: `offset + size` is within the arena.
            return unsafe { self.start().add(offset) };
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if self.offset(pointer).is_none() {
            // SAFETY: it is not in the arena, so `alloc` got it from the system allocator.
            return unsafe { System.dealloc(pointer, layout) };
        }
        let live = self.live.get() - 1;
        self.live.set(live);
        if live == 0 {
            self.next.set(0);
        }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(pointer) else {
            // SAFETY: it is not in the arena, so `alloc` got it from the system allocator.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        if offset + layout.size() == self.next.get() && size <= ARENA_BYTES - offset {
            // The last allocation grows and shrinks in place.
            self.next.set(offset + size);
            return pointer;
        }
        // SAFETY: the caller guarantees that `size` and the alignment are a valid layout.
        let grown = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller guarantees that `size` is not zero.
        let moved = unsafe { self.alloc(grown) };
        if !moved.is_null() {
            // SAFETY: both have at least this many bytes, and they do not overlap.
            unsafe { moved.copy_from_nonoverlapping(pointer, layout.size().min(size)) };
            // SAFETY: it is in the arena, and the caller no longer uses it.
            unsafe { self.dealloc(pointer, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests;
