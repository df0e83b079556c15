//! What the server's work came to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reprieve_metrics::ThreadCpu;
use reprieve_metrics::cpu_time;

/// Counters that the server's thread keeps and others read.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    connections: AtomicU64,
    closed: AtomicU64,
    logins: AtomicU64,
    rejected: AtomicU64,
    password_ns: AtomicU64,
    commands: AtomicU64,
    octets_out: AtomicU64,
    pub(crate) cpu: ThreadCpu,
}

impl Meter {
    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a login, and what judging it costs.
    pub(crate) fn login<T>(&self, judge: impl FnOnce() -> T) -> T {
        self.logins.fetch_add(1, Ordering::Relaxed);
        let before = cpu_time::of_this_thread();
        let judgement = judge();
        let cost = cpu_time::of_this_thread().saturating_sub(before);
        self.password_ns.fetch_add(u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        judgement
    }

    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn command(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn octets_out(&self, octets: usize) {
        self.octets_out.fetch_add(octets as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Stats {
        // Closed first, so that no connection is counted as closed that was not seen open.
        let closed = self.closed.load(Ordering::Acquire);
        let connections = self.connections.load(Ordering::Acquire);
        Stats {
            connections,
            open: connections.saturating_sub(closed),
            logins: self.logins.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            commands: self.commands.load(Ordering::Relaxed),
            octets_out: self.octets_out.load(Ordering::Relaxed),
            cpu: self.cpu.get(),
            password_cpu: Duration::from_nanos(self.password_ns.load(Ordering::Relaxed)),
        }
    }
}

/// What a mail server has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Passwords judged, whatever came of it.
    pub logins: u64,
    /// Logins that were refused.
    pub rejected: u64,
    /// Commands answered.
    pub commands: u64,
    /// Octets sent to clients.
    pub octets_out: u64,
    /// CPU time of the server's thread, its system calls included.
    pub cpu: Duration,
    /// Of that, judging passwords.
    pub password_cpu: Duration,
}

impl Stats {
    /// What was done since an earlier reading. `open` stays what it is now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            connections: self.connections - earlier.connections,
            open: self.open,
            logins: self.logins - earlier.logins,
            rejected: self.rejected - earlier.rejected,
            commands: self.commands - earlier.commands,
            octets_out: self.octets_out - earlier.octets_out,
            cpu: self.cpu.saturating_sub(earlier.cpu),
            password_cpu: self.password_cpu.saturating_sub(earlier.password_cpu),
        }
    }
}
