//! Limits of the resources that a policy may use.

use std::time::Duration;

use reprieve_settings::format::{count, duration, positive_duration, size};
use reprieve_settings::{Error, Key, Section, Table};

/// Limits of the resources that the policy of one virtual server may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a component. Compiling takes time and memory in proportion to it.
    pub component: u64,
    /// CPU time of one call. Waiting does not count.
    pub time: Duration,
    /// Time that one call may wait: for the store, or asleep.
    pub wait: Duration,
    /// CPU time for the start of an instance, with `configure`: language runtimes take longer to
    /// start than to decide.
    pub start: Duration,
    /// Bytes of memory of one instance.
    pub memory: u64,
    /// Bytes of one instance's stack of WebAssembly frames.
    pub stack: u64,
    /// Bytes of the strings and lists that cross between guest and host in one call.
    pub strings: u64,
    /// Instances on one thread, which is the number of calls that can run there at once.
    pub instances: usize,
    /// Calls after which an instance is replaced by a new one.
    pub calls: u64,
    /// Log lines of one call. Further lines are dropped and counted.
    pub log_lines: u32,
    /// Log lines per second of all calls together. Further lines are dropped and counted.
    pub log_rate: u32,
    /// Bytes of a log line. Longer lines are cut.
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
/// Longest `note` of a verdict, in bytes, as the WIT promises.
pub(super) const NOTE: usize = 4096;
/// Longest `reason` of a verdict, in bytes, as the WIT promises.
pub(super) const REASON: usize = 64;
/// Longest text of a refusal, in bytes, as the WIT promises.
pub(super) const TEXT: usize = 200;

/// `[virtual-server.policy.limits]`
impl Table for Limits {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        let mut keys = time_keys();
        keys.extend(memory_keys());
        keys.extend(log_keys());
        keys
    }

    fn build(self, _: &Section<'_, '_>) -> Result<Self, Error> {
        Ok(self)
    }
}

fn time_keys() -> Vec<Key<Limits>> {
    vec![
        Key::new(
            "time",
            |limits: &mut Limits| &mut limits.time,
            positive_duration(),
            "CPU time of one call.",
        ),
        Key::new(
            "wait",
            |limits: &mut Limits| &mut limits.wait,
            duration(),
            "Time that one call may wait: for the store, or asleep.",
        ),
        Key::new(
            "start",
            |limits: &mut Limits| &mut limits.start,
            positive_duration(),
            "CPU time for the start of an instance, including `configure`.",
        ),
        Key::new(
            "delay",
            |limits: &mut Limits| &mut limits.delay,
            duration(),
            "The longest delay that a verdict can ask for.",
        ),
    ]
}

fn memory_keys() -> Vec<Key<Limits>> {
    vec![
        Key::new(
            "memory",
            |limits: &mut Limits| &mut limits.memory,
            size(1 << 20..=1 << 30),
            "Memory of one instance.",
        ),
        Key::new(
            "stack",
            |limits: &mut Limits| &mut limits.stack,
            size(64 << 10..=16 << 20),
            "WebAssembly stack of one instance.",
        ),
        Key::new(
            "strings",
            |limits: &mut Limits| &mut limits.strings,
            size(64 << 10..=64 << 20),
            "Size of the strings and lists that one call passes between policy and host.",
        ),
        Key::new(
            "component",
            |limits: &mut Limits| &mut limits.component,
            size(1 << 10..=1 << 30),
            "Size of the component. Compiling takes time in proportion to it.",
        ),
        Key::new(
            "instances",
            |limits: &mut Limits| &mut limits.instances,
            count(1..=1000),
            "Instances on each thread, which is the number of calls that can run there at once.",
        ),
        Key::new(
            "calls",
            |limits: &mut Limits| &mut limits.calls,
            count(1..=u64::MAX),
            "Calls after which an instance is replaced by a new one.",
        ),
    ]
}

fn log_keys() -> Vec<Key<Limits>> {
    vec![
        Key::new(
            "log-lines",
            |limits: &mut Limits| &mut limits.log_lines,
            count(0..=10_000),
            "Log lines of one call. Further lines are dropped and counted.",
        ),
        Key::new(
            "log-rate",
            |limits: &mut Limits| &mut limits.log_rate,
            count(0..=1_000_000),
            "Log lines per second of all calls together. Further lines are dropped and counted.",
        ),
        Key::new(
            "log-line",
            |limits: &mut Limits| &mut limits.log_line,
            size(80..=64 << 10),
            "Length of a log line. Longer lines are cut.",
        ),
    ]
}
