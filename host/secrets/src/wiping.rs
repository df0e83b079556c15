//! Wipes memory that is freed by others while it may hold secrets: the TLS library's buffers of
//! decrypted bytes, which it gives back as they are.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::mem::MaybeUninit;

use zeroize::Zeroize as _;

thread_local! {
    static WIPES: Cell<bool> = const { Cell::new(false) };
}

/// Restores what was so before, also if the work panics.
struct Before(bool);

impl Drop for Before {
    fn drop(&mut self) {
        WIPES.set(self.0);
    }
}

/// Does something, and wipes all memory that this thread frees meanwhile, where the program's
/// allocator is a [`WipingAllocator`].
pub fn wiping<T>(work: impl FnOnce() -> T) -> T {
    let _before = Before(WIPES.replace(true));
    work()
}

/// An allocator that wipes what is freed while a thread wants that, and is `A` otherwise.
#[derive(Debug)]
pub struct WipingAllocator<A>(pub A);

/// Wipes a block, in a way that the compiler does not take for useless.
///
/// # Safety
/// The block must be allocated, of at least so many bytes, and nobody else's.
unsafe fn wipe(block: *mut u8, length: usize) {
    // SAFETY: the caller owns the block, and bytes that may not be set yet ask nothing of it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), length) };
    bytes.zeroize();
}

// SAFETY: each call is A's own with the caller's arguments, so what A promises holds. A block is
// written to only before it is freed, by the call that frees it.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WIPES.get() {
            // SAFETY: the caller gives back a block of this layout.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !WIPES.get() {
            // SAFETY: the caller's promises are passed on.
            return unsafe { self.0.realloc(block, layout, size) };
        }
        // The old block would be freed as it is.
        // SAFETY: the caller promises that `size`, rounded up, is no overflow and not zero; both
        // blocks are as long as is copied, and the old one is given back once.
        unsafe {
            let other = self.0.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !other.is_null() {
                block.copy_to_nonoverlapping(other, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    /// Keeps what is freed readable: a block is never given back, and seen as it was freed.
    struct Kept;

    thread_local! {
        static FREED: Cell<(*mut u8, usize)> = const { Cell::new((std::ptr::null_mut(), 0)) };
    }

    // SAFETY: the system's own, but for blocks that are never given back.
    unsafe impl GlobalAlloc for Kept {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promises are passed on.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            FREED.set((block, layout.size()));
        }
    }

    fn freed() -> Vec<u8> {
        let (block, length) = FREED.get();
        // SAFETY: `Kept` has given the block back to nobody.
        unsafe { std::slice::from_raw_parts(block, length) }.to_vec()
    }

    #[test]
    fn only_what_is_freed_meanwhile_is_wiped() {
        let allocator = WipingAllocator(Kept);
        let layout = Layout::from_size_align(16, 8).unwrap();
        let secret = || {
            // SAFETY: the layout is not empty, and the block is as long as what is written.
            unsafe {
                let block = allocator.alloc(layout);
                block.copy_from_nonoverlapping(b"open sesame 1234".as_ptr(), 16);
                block
            }
        };
        // SAFETY: blocks of this allocator and layout, each given back once.
        unsafe {
            allocator.dealloc(secret(), layout);
            assert_eq!(freed(), b"open sesame 1234");
            wiping(|| allocator.dealloc(secret(), layout));
            assert_eq!(freed(), [0; 16]);
            let larger = wiping(|| allocator.realloc(secret(), layout, 32));
            assert_eq!(freed(), [0; 16]);
            assert_eq!(std::slice::from_raw_parts(larger, 16), b"open sesame 1234");
            let panicked = std::panic::catch_unwind(|| wiping(|| panic!("in the middle")));
            assert!(panicked.is_err());
            allocator.dealloc(secret(), layout);
            assert_eq!(freed(), b"open sesame 1234", "it is over, however it ended");
        }
    }
}
