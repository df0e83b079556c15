//! CPU time as the kernel counts it: the only figures of the demo that a busy machine does
//! not spoil.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// CPU time of a thread, readable from the others.
///
/// A thread's clock can be read from outside only on some systems, so the thread tells its
/// own: called each time before it goes to sleep, the figure is exact whenever it sleeps.
#[derive(Debug, Default)]
pub(crate) struct ThreadCpu(AtomicU64);

impl ThreadCpu {
    /// Takes the calling thread's clock.
    pub(crate) fn publish(&self) {
        let nanoseconds = u64::try_from(of_this_thread().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanoseconds, Ordering::Relaxed);
    }

    /// What the thread published last.
    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// CPU time of the calling thread.
pub(crate) fn of_this_thread() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of this process, those that have ended included.
pub(crate) fn of_this_process() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the call to write to, and is not kept by it.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Both clocks are POSIX and always there; zero would show as a missing figure, not a wrong one.
    if result != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_clocks_and_sleep_does_not() {
        let before = of_this_thread();
        std::thread::sleep(Duration::from_millis(50));
        let slept = of_this_thread().saturating_sub(before);
        let mut hash = blake3::hash(b"work");
        let process_before = of_this_process();
        while of_this_thread().saturating_sub(before + slept) < Duration::from_millis(20) {
            hash = blake3::hash(hash.as_bytes());
        }
        assert!(slept < Duration::from_millis(10), "sleeping took {slept:?} of CPU time");
        assert!(of_this_process().saturating_sub(process_before) >= Duration::from_millis(15));
    }
}
