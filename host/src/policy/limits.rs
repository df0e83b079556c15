//! What a policy may use.

use std::time::Duration;

/// Limits of one virtual server's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets that a component may have: compiling takes time and memory with its size.
    pub component: u64,
    /// Time that one call may compute. Waiting does not count.
    pub time: Duration,
    /// Time that one call may wait: for the store, or asleep.
    pub wait: Duration,
    /// Time that a component's start and `configure` may compute: language runtimes take
    /// longer to begin than to decide.
    pub start: Duration,
    /// Octets of memory that one instance may have.
    pub memory: u64,
    /// Octets of an instance's stack of WebAssembly frames.
    pub stack: u64,
    /// Octets that strings and lists may take when they cross between guest and host in one
    /// call.
    pub strings: u64,
    /// Instances on one thread: as many calls may be under way there.
    pub instances: usize,
    /// Calls after which an instance is replaced by a new one.
    pub calls: u64,
    /// Log lines of one call; the others are dropped and counted.
    pub log_lines: u32,
    /// Log lines a second of all calls together; the others are dropped and counted.
    pub log_rate: u32,
    /// Octets of a log line; more is cut off.
    pub log_line: u32,
    /// Longest delay that a verdict can ask for.
    pub delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component: 64 << 20,
            time: Duration::from_millis(20),
            wait: Duration::from_millis(250),
            start: Duration::from_secs(2),
            memory: 64 << 20,
            stack: 512 << 10,
            strings: 1 << 20,
            instances: 64,
            calls: 100_000,
            log_lines: 32,
            log_rate: 100,
            log_line: 1024,
            delay: Duration::from_secs(10),
        }
    }
}

/// Elements of all tables of an instance.
pub(super) const TABLE_ELEMENTS: usize = 1 << 20;
/// Streams and other resources of the host that an instance may hold: language runtimes hold a
/// handful. Each may keep a line that has not ended, up to `limits.log-line`.
pub(super) const RESOURCES: usize = 1_000;
/// Handles that an instance may hold, those of its own resources included.
pub(super) const HANDLES: usize = 10_000;
/// Longest `note` of a verdict, in octets, as the WIT promises.
pub(super) const NOTE: usize = 4096;
/// Longest `reason` of a verdict, in octets, as the WIT promises.
pub(super) const REASON: usize = 64;
