//! How much stack the current thread has left.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

thread_local! {
    /// The lowest address of this thread's stack; None before it was looked up.
    static LOWEST: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Bytes that the current thread's stack has left, guard pages included; 0 if that is not known.
pub(super) fn remaining() -> usize {
    let lowest = LOWEST.get().unwrap_or_else(|| {
        let lowest = lowest_address().unwrap_or(usize::MAX);
        LOWEST.set(Some(lowest));
        lowest
    });
    let here = 0_u8;
    ptr::from_ref(&here).addr().saturating_sub(lowest)
}

fn lowest_address() -> Option<usize> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the first call initialises the attributes unless it fails. Then the second reads them and
    // writes to two local variables, and the third frees what the first has allocated.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let failed = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size) != 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        (!failed && size > 0).then(|| lowest.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_what_it_was_given_less_what_it_uses() {
        #[inline(never)]
        fn deeper() -> usize {
            let bytes = std::hint::black_box([1_u8; FRAME]);
            let remaining = remaining();
            std::hint::black_box(&bytes);
            remaining
        }

        const FRAME: usize = 64 << 10;
        const SIZE: usize = 1 << 20;
        let thread = std::thread::Builder::new().stack_size(SIZE);
        let measure = || (remaining(), deeper());
        let (above, below) = thread.spawn(measure).unwrap().join().unwrap();
        // The library may give a thread the larger stack of one that has ended.
        assert!(above > SIZE / 2, "{above}");
        assert!(below + FRAME <= above, "{above} {below}");
    }
}
