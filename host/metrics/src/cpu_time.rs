//! CPU time as the kernel counts it: what a busy machine does not spoil.

use std::time::Duration;

/// CPU time of the calling thread.
pub fn of_this_thread() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of this process, those that have ended included.
pub fn of_this_process() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the call to write to, and is not kept by it.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Both clocks are POSIX and always there.
    if result != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
