//! Measures the server's work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reprieve_metrics::{ThreadCpu, cpu_time};

/// Counters that the server's thread writes and other threads read.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    connections: AtomicU64,
    closed: AtomicU64,
    logins: AtomicU64,
    rejected: AtomicU64,
    password_ns: AtomicU64,
    commands: AtomicU64,
    bytes_out: AtomicU64,
    pub(crate) cpu: ThreadCpu,
}

impl Meter {
    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a login, and the CPU time of checking it.
    pub(crate) fn login<T>(&self, check: impl FnOnce() -> T) -> T {
        self.logins.fetch_add(1, Ordering::Relaxed);
        let before = cpu_time::of_this_thread();
        let result = check();
        let cost = cpu_time::of_this_thread().saturating_sub(before);
        self.password_ns.fetch_add(u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        result
    }

    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn command(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Stats {
        // Read before `connections`, so that no connection counts as closed and not as accepted.
        let closed = self.closed.load(Ordering::Acquire);
        let connections = self.connections.load(Ordering::Acquire);
        Stats {
            connections,
            open: connections.saturating_sub(closed),
            logins: self.logins.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            commands: self.commands.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            cpu: self.cpu.get(),
            password_cpu: Duration::from_nanos(self.password_ns.load(Ordering::Relaxed)),
        }
    }
}

/// The work of a mail server since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Logins, including refused ones.
    pub logins: u64,
    /// Logins that were refused.
    pub rejected: u64,
    /// Commands answered.
    pub commands: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
    /// CPU time of the server's thread, user and system.
    pub cpu: Duration,
    /// The part of `cpu` that was spent on password checks.
    pub password_cpu: Duration,
}

impl Stats {
    /// The work since an earlier reading. `open` is not a difference, but the current number.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            connections: self.connections - earlier.connections,
            open: self.open,
            logins: self.logins - earlier.logins,
            rejected: self.rejected - earlier.rejected,
            commands: self.commands - earlier.commands,
            bytes_out: self.bytes_out - earlier.bytes_out,
            cpu: self.cpu.saturating_sub(earlier.cpu),
            password_cpu: self.password_cpu.saturating_sub(earlier.password_cpu),
        }
    }
}
