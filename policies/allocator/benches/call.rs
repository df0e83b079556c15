//! The heap work of one call to a policy, with this allocator and with the system's. Run it with:
//! `cargo bench --package reprieve-policy-allocator`

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::time::Instant;

use reprieve_policy_allocator::BumpAllocator;

/// Sizes of the strings in a `login` (session, addresses, TLS, names, pool), of the store's key and
/// value, and of the verdict's reason.
const SIZES: [usize; 12] = [4, 32, 15, 15, 7, 20, 24, 4, 4, 24, 12, 8];
const CALLS: u32 = 1_000_000;
const ROUNDS: u32 = 5;

/// Nanoseconds per call: the median of some rounds.
fn measure(allocator: &impl GlobalAlloc) -> u128 {
    let call = || {
        let layouts = SIZES.map(|size| Layout::from_size_align(size, 1).expect("a layout"));
        // SAFETY: no size is zero.
        let pointers = layouts.map(|layout| black_box(unsafe { allocator.alloc(layout) }));
        for (pointer, layout) in pointers.into_iter().zip(layouts) {
            // SAFETY: it was allocated above with this layout.
            unsafe { allocator.dealloc(pointer, layout) };
        }
    };
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed().as_nanos() / u128::from(CALLS)
        })
        .collect();
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

fn main() {
    println!("{} allocations and frees, as in a call to a policy, natively:", SIZES.len());
    println!("  BumpAllocator                        {:>5} ns", measure(&BumpAllocator::new()));
    let allocator = BumpAllocator::new();
    let kept = Layout::new::<[u64; 3]>();
    // SAFETY: the size is not zero.
    let pointer = unsafe { allocator.alloc(kept) };
    println!("  BumpAllocator, one allocation kept   {:>5} ns", measure(&allocator));
    // SAFETY: it was allocated above with this layout.
    unsafe { allocator.dealloc(pointer, kept) };
    println!("  system allocator                     {:>5} ns", measure(&System));
}
