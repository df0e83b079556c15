//! What a policy may use.

use std::time::Duration;

/// Limits of one virtual server's policy.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time that one call may compute. Waiting does not count.
    pub time: Duration,
    /// Time that one call may wait: for the store, or asleep.
    pub wait: Duration,
    /// Octets of memory that one instance may have.
    pub memory: u64,
    /// Instances on one thread: as many calls may be under way there.
    pub instances: usize,
    /// Calls after which an instance is replaced by a new one.
    pub calls: u64,
    /// Log lines of one call; the others are dropped and counted.
    pub log_lines: u32,
    /// Longest delay that a verdict can ask for.
    pub delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(20),
            wait: Duration::from_millis(250),
            memory: 64 << 20,
            instances: 64,
            calls: 100_000,
            log_lines: 32,
            delay: Duration::from_secs(10),
        }
    }
}

/// Time for a component's start and `configure`: language runtimes take longer to begin than
/// to decide, and no client waits for the first of them.
pub(super) const START_TIME: Duration = Duration::from_secs(2);
/// Longest stack of WebAssembly frames, in octets.
pub(super) const STACK: usize = 512 << 10;
/// Octets that strings and lists may take when they cross between guest and host in one call.
pub(super) const PASSED_OCTETS: usize = 1 << 20;
/// Elements of all tables of an instance.
pub(super) const TABLE_ELEMENTS: usize = 1 << 20;
/// Longest `note` of a verdict, in octets.
pub(super) const NOTE: usize = 4096;
/// Longest `reason` of a verdict, in octets.
pub(super) const REASON: usize = 64;
/// Longest log line, in octets; more is cut off.
pub(super) const LOG_LINE: usize = 1024;
/// Log lines a second of one virtual server's policy.
pub(super) const LOG_LINES_A_SECOND: u32 = 100;
