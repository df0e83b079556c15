//! Limits of the process: open file descriptors (`RLIMIT_NOFILE`) and sizes of files (`RLIMIT_FSIZE`).

/// Makes a write beyond the limit on file sizes fail like one on a full disk. By default, the signal
/// SIGXFSZ ends the process.
pub(crate) fn survive_size_limit() {
    // SAFETY: ignoring a signal runs no code when it arrives.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Raises the soft limit to the hard limit and returns the resulting limit; 0 if it is unknown.
pub(crate) fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a live `rlimit` and do not keep it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 0;
        }
        if limit.rlim_cur < limit.rlim_max {
            let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
                return raised.rlim_cur;
            }
        }
    }
    limit.rlim_cur
}
