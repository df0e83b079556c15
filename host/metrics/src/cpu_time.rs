//! CPU time from the kernel's clocks, which other load on the machine hardly distorts.

use std::time::Duration;

/// CPU time of the calling thread, user and system.
#[must_use]
pub fn of_this_thread() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of this process, user and system, including threads that have ended.
#[must_use]
pub fn of_this_process() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes during the call, which does not keep the pointer.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Linux has both clocks: the call cannot fail.
    if result != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
