//! CPU time of one thread, readable by the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cpu_time;

/// CPU time of a thread that publishes it.
///
/// Not every system lets one thread read the clock of another. A thread that calls
/// [`publish`](Self::publish) each time before it sleeps makes the figure exact while it sleeps.
#[derive(Debug, Default)]
pub struct ThreadCpu(AtomicU64);

impl ThreadCpu {
    /// Stores the CPU time of the calling thread.
    pub fn publish(&self) {
        let nanoseconds = u64::try_from(cpu_time::of_this_thread().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanoseconds, Ordering::Relaxed);
    }

    /// The CPU time that was published last.
    #[must_use]
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_for_the_thread_that_does_it_and_for_the_process() {
        const WORK: Duration = Duration::from_millis(20);
        let (waiting, working) = (ThreadCpu::default(), ThreadCpu::default());
        let process_before = cpu_time::of_this_process();
        waiting.publish();
        let before = waiting.get();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while working.get() < WORK {
                    std::hint::black_box(vec![1_u8; 4096]);
                    working.publish();
                }
            });
        });
        waiting.publish();
        let waited = waiting.get() - before;
        assert!(waited < WORK / 2, "waiting took {waited:?} of CPU time");
        assert!(cpu_time::of_this_process().saturating_sub(process_before) >= WORK);
    }
}
