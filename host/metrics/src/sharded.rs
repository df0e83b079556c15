//! One value for each thread, so that threads that count the same do not wait for each other's
//! cache lines.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// With more threads than this some share a part, which is only slower.
const PARTS: usize = 16;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PART: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PARTS;
}

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// A value in parts, of which each thread changes its own.
#[derive(Debug)]
pub struct Sharded<T> {
    parts: [OnceLock<Box<Apart<T>>>; PARTS],
}

impl<T> Default for Sharded<T> {
    fn default() -> Self {
        Self { parts: [const { OnceLock::new() }; PARTS] }
    }
}

impl<T: Default> Sharded<T> {
    /// This thread's part.
    pub fn here(&self) -> &T {
        &self.parts[PART.with(|part| *part)].get_or_init(Box::default).0
    }

    /// The parts that there are.
    pub fn parts(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().filter_map(|part| part.get().map(|apart| &apart.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn what_threads_count_apart_is_found_together() {
        let counter = Sharded::<AtomicU64>::default();
        assert_eq!(counter.parts().count(), 0, "nothing is taken before it is used");
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        counter.here().fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let sum: u64 = counter.parts().map(|part| part.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 4000);
        assert!((2..=PARTS).contains(&counter.parts().count()));
    }
}
