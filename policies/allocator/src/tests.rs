//! Natively each test has an allocator of its own. `tests/run` runs them under AddressSanitizer.

use super::*;

/// An allocation filled with a mark of its own.
struct Allocation {
    pointer: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Allocation {
    fn new(allocator: &BumpAllocator, size: usize, align: usize, mark: u8) -> Self {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: no test passes a size of zero.
        let pointer = unsafe { allocator.alloc(layout) };
        assert!(!pointer.is_null() && (pointer as usize).is_multiple_of(align));
        // SAFETY: the allocation has `size` bytes.
        unsafe { pointer.write_bytes(mark, size) };
        Self { pointer, layout, mark }
    }

    fn check(&self, size: usize) {
        // SAFETY: `new` and `resize` have written every byte.
        let bytes = unsafe { std::slice::from_raw_parts(self.pointer, size) };
        assert!(bytes.iter().all(|byte| *byte == self.mark), "overwritten by another allocation");
    }

    fn resize(&mut self, allocator: &BumpAllocator, size: usize) {
        // SAFETY: it was made by `allocator`, and `size` is not zero.
        self.pointer = unsafe { allocator.realloc(self.pointer, self.layout, size) };
        assert!(!self.pointer.is_null());
        self.check(self.layout.size().min(size));
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        // SAFETY: the allocation has `size` bytes.
        unsafe { self.pointer.write_bytes(self.mark, size) };
    }

    /// Frees it and returns its former address.
    fn free(self, allocator: &BumpAllocator) -> usize {
        self.check(self.layout.size());
        let address = self.pointer as usize;
        // SAFETY: it was made by `allocator`, and nobody uses it after this.
        unsafe { allocator.dealloc(self.pointer, self.layout) };
        address
    }
}

#[track_caller]
fn assert_empty(allocator: &BumpAllocator) {
    assert_eq!((allocator.next.get(), allocator.live.get()), (0, 0));
}

#[test]
fn the_arena_is_empty_when_all_its_allocations_are_freed() {
    let allocator = BumpAllocator::new();
    let first = Allocation::new(&allocator, 100, 1, 1);
    let second = Allocation::new(&allocator, 8, 8, 2);
    let start = first.free(&allocator);
    assert_ne!(Allocation::new(&allocator, 1, 1, 3).free(&allocator), start, "the second is in use");
    second.free(&allocator);
    assert_eq!(Allocation::new(&allocator, 1, 1, 4).free(&allocator), start);
}

#[test]
fn what_does_not_fit_comes_from_the_system_and_is_freed_there() {
    let allocator = BumpAllocator::new();
    let whole = Allocation::new(&allocator, ARENA_BYTES, 16, 1);
    let more = Allocation::new(&allocator, 1, 1, 2);
    assert!(allocator.offset(whole.pointer).is_some() && allocator.offset(more.pointer).is_none());
    more.free(&allocator);
    whole.free(&allocator);
    let page = Allocation::new(&allocator, 64, 4096, 3);
    assert!(allocator.offset(page.pointer).is_none(), "its alignment is too large");
    page.free(&allocator);
    assert_empty(&allocator);
}

#[test]
fn the_last_allocation_grows_in_place_and_others_move() {
    let allocator = BumpAllocator::new();
    let mut first = Allocation::new(&allocator, 10, 1, 1);
    let start = first.pointer;
    first.resize(&allocator, 1000);
    assert_eq!(first.pointer, start);
    let second = Allocation::new(&allocator, 10, 1, 2);
    first.resize(&allocator, 2000);
    assert_ne!(first.pointer, start);
    first.resize(&allocator, ARENA_BYTES * 2);
    assert!(allocator.offset(first.pointer).is_none(), "too large for the arena");
    first.resize(&allocator, 5);
    first.free(&allocator);
    second.free(&allocator);
    assert_empty(&allocator);
}

#[test]
fn an_allocation_that_is_kept_does_not_stop_others() {
    let allocator = BumpAllocator::new();
    let kept = Allocation::new(&allocator, 24, 8, 1);
    for call in 0..if cfg!(miri) { 200 } else { 1000 } {
        Allocation::new(&allocator, 100, 8, 2).free(&allocator);
        let is_full = allocator.next.get() + 104 > ARENA_BYTES;
        assert_eq!(is_full, call >= 156, "{call}: {}", allocator.next.get());
    }
    kept.free(&allocator);
    assert_empty(&allocator);
}

/// The model is each allocation's mark: it must stay until the allocation is freed.
#[test]
fn no_sequence_of_requests_makes_two_allocations_overlap() {
    // A linear congruential generator, so that every run makes the same requests.
    let mut state = 1_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit
    };
    let allocator = BumpAllocator::new();
    let mut live: Vec<Allocation> = Vec::new();
    for round in 0..if cfg!(miri) { 300_u32 } else { 20_000 } {
        match below(5) {
            0 | 1 => {
                let (size, align) = (1 + below(2000), 1 << below(7));
                live.push(Allocation::new(&allocator, size, align, round.to_le_bytes()[0]));
            }
            2 if !live.is_empty() => {
                let (index, size) = (below(live.len()), 1 + below(3000));
                live[index].resize(&allocator, size);
            }
            3 if !live.is_empty() => {
                let index = below(live.len());
                live.swap_remove(index).free(&allocator);
            }
            _ if below(20) == 0 => {
                for allocation in live.drain(..) {
                    allocation.free(&allocator);
                }
                assert_empty(&allocator);
            }
            _ => {}
        }
    }
    for allocation in live {
        allocation.free(&allocator);
    }
    assert_empty(&allocator);
}
