//! CPU time of a thread, told to the others: the only figures of the demo that a busy machine
//! does not spoil.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cpu_time;

/// CPU time of a thread, readable from the others.
///
/// A thread's clock can be read from outside only on some systems, so the thread tells its
/// own: called each time before it goes to sleep, the figure is exact whenever it sleeps.
#[derive(Debug, Default)]
pub struct ThreadCpu(AtomicU64);

impl ThreadCpu {
    /// Takes the calling thread's clock.
    pub fn publish(&self) {
        let nanoseconds = u64::try_from(cpu_time::of_this_thread().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanoseconds, Ordering::Relaxed);
    }

    /// What the thread published last.
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_clocks_and_sleep_does_not() {
        let cpu = ThreadCpu::default();
        let process_before = cpu_time::of_this_process();
        cpu.publish();
        let before = cpu.get();
        std::thread::sleep(Duration::from_millis(50));
        cpu.publish();
        let slept = cpu.get() - before;
        let mut hash = blake3::hash(b"work");
        while cpu.get() < before + slept + Duration::from_millis(20) {
            hash = blake3::hash(hash.as_bytes());
            cpu.publish();
        }
        assert!(slept < Duration::from_millis(10), "sleeping took {slept:?} of CPU time");
        assert!(cpu_time::of_this_process().saturating_sub(process_before) >= Duration::from_millis(15));
    }
}
