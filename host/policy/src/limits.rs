//! What a policy may use.

use std::time::Duration;

use reprieve_settings::{Error, Value};

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

/// Reads the table of a policy's limits.
pub fn limits(value: &Value<'_, '_>, limits: &mut Limits) -> Result<(), Error> {
    let mut section = value.section()?;
    for (key, limit) in [("time", &mut limits.time), ("start", &mut limits.start)] {
        if let Some(value) = section.get(key) {
            *limit = value.positive_duration()?;
        }
    }
    for (key, limit) in [("wait", &mut limits.wait), ("delay", &mut limits.delay)] {
        if let Some(value) = section.get(key) {
            *limit = value.duration()?;
        }
    }
    for (key, limit, range, words) in [
        ("component", &mut limits.component, 1 << 10..=1 << 30, "from \"1KiB\" to \"1GiB\""),
        ("memory", &mut limits.memory, 1 << 20..=1 << 30, "from \"1MiB\" to \"1GiB\""),
        ("stack", &mut limits.stack, 64 << 10..=16 << 20, "from \"64KiB\" to \"16MiB\""),
        ("strings", &mut limits.strings, 64 << 10..=64 << 20, "from \"64KiB\" to \"64MiB\""),
    ] {
        if let Some(value) = section.get(key) {
            *limit = value.size()?;
            if !range.contains(limit) {
                return Err(value.error(format!("must be {words}")));
            }
        }
    }
    if let Some(value) = section.get("instances") {
        limits.instances = usize::try_from(value.count(1, 1000)?).unwrap_or(1);
    }
    if let Some(value) = section.get("calls") {
        limits.calls = value.count(1, u64::MAX)?;
    }
    if let Some(value) = section.get("log-lines") {
        limits.log_lines = value.count_u32(0, 10_000)?;
    }
    if let Some(value) = section.get("log-rate") {
        limits.log_rate = value.count_u32(0, 1_000_000)?;
    }
    if let Some(value) = section.get("log-line") {
        limits.log_line = u32::try_from(value.size()?).unwrap_or(u32::MAX);
        if !(80..=64 << 10).contains(&limits.log_line) {
            return Err(value.error("must be from \"80B\" to \"64KiB\""));
        }
    }
    section.finish()
}
