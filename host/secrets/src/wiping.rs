//! Wipes memory that libraries free without wiping it, such as the TLS library's buffers of decrypted
//! bytes.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::mem::MaybeUninit;

use zeroize::Zeroize as _;

thread_local! {
    static IS_WIPING: Cell<bool> = const { Cell::new(false) };
}

/// Restores the previous state, even if the closure panics.
struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        IS_WIPING.set(self.0);
    }
}

/// Calls `f`, and wipes all memory that this thread frees meanwhile. This needs a
/// [`WipingAllocator`] as the program's global allocator; with another one it only calls `f`.
pub fn wiping<T>(f: impl FnOnce() -> T) -> T {
    let _restore = Restore(IS_WIPING.replace(true));
    f()
}

/// Allocates with `A`, and wipes the memory that a thread frees during [`wiping`].
#[derive(Debug)]
pub struct WipingAllocator<A>(pub A);

/// Overwrites a block with zeros, in a way that the compiler does not optimise away.
///
/// # Safety
/// The block must be allocated, at least `length` bytes long, and not referenced elsewhere.
unsafe fn wipe(block: *mut u8, length: usize) {
    // SAFETY: the caller owns the block, and `MaybeUninit` allows for bytes that were never written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), length) };
    bytes.zeroize();
}

// SAFETY: each call passes the caller's arguments on to A, so A's guarantees hold. A block is written
// to only by the call that frees it, before it is freed.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds A's contract.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds A's contract.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if IS_WIPING.get() {
            // SAFETY: the caller frees a block of this layout, which is no longer referenced.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller upholds A's contract.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !IS_WIPING.get() {
            // SAFETY: the caller upholds A's contract.
            return unsafe { self.0.realloc(block, layout, size) };
        }
        // A's own `realloc` could free the old block without wiping it.
        // SAFETY: the caller guarantees that `size` is not zero and does not overflow when rounded
        // up. Both blocks are at least as long as what is copied, and the old one is freed once.
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

    /// Never frees a block, so that a test can read what is left in it.
    struct Leaking;

    thread_local! {
        static FREED: Cell<(*mut u8, usize)> = const { Cell::new((std::ptr::null_mut(), 0)) };
    }

    // SAFETY: the system's allocator, except that blocks are never freed.
    unsafe impl GlobalAlloc for Leaking {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller upholds A's contract.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            FREED.set((block, layout.size()));
        }
    }

    fn freed() -> Vec<u8> {
        let (block, length) = FREED.get();
        // SAFETY: `Leaking` has not freed the block.
        unsafe { std::slice::from_raw_parts(block, length) }.to_vec()
    }

    #[test]
    fn only_memory_that_is_freed_meanwhile_is_wiped() {
        let allocator = WipingAllocator(Leaking);
        let layout = Layout::from_size_align(16, 8).unwrap();
        let secret = || {
            // SAFETY: the layout is not empty, and the block is as long as what is written.
            unsafe {
                let block = allocator.alloc(layout);
                block.copy_from_nonoverlapping(b"open sesame 1234".as_ptr(), 16);
                block
            }
        };
        // SAFETY: blocks of this allocator and layout, each freed once.
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
            assert_eq!(freed(), b"open sesame 1234", "a panic ends the wiping");
        }
    }
}
