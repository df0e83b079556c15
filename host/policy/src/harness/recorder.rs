//! Records a policy's store operations and log lines, and injects faults into its store.

use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::Level;

use super::decision::LogLine;
use crate::{MemoryKey, remembered};
use reprieve_store::{Access, AccessResult, Batch, BatchWrite, Fault, Interceptor, Lifetime, Ttl};

#[derive(Debug, Default)]
pub(super) struct Recorder {
    fault: Mutex<Option<Fault>>,
    operations: Mutex<Vec<String>>,
}

impl Recorder {
    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock() = fault;
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.operations.lock())
    }
}

impl Interceptor for Recorder {
    fn inject_fault(&self, _: &Access<'_>) -> Option<Fault> {
        *self.fault.lock()
    }

    fn observe(&self, access: &Access<'_>, result: &AccessResult) {
        let result = match (access, result) {
            (Access::Get { key }, AccessResult::Value(Some(value))) => named_value(key, value),
            _ => describe_result(result),
        };
        self.operations.lock().push(format!("{} → {result}", describe_access(access)));
    }
}

fn describe_access(access: &Access<'_>) -> String {
    let expiry = |ttl: &Option<Duration>| match ttl {
        Some(ttl) => format!(" for {}s", ttl.as_secs()),
        None => String::new(),
    };
    match access {
        Access::Get { key } => format!("get {}", named(key)),
        Access::Ttl { key } => format!("time to live of {}", quoted(key)),
        Access::Set { key, value, ttl } => {
            format!("set {} = {}{}", quoted(key), format_bytes(value), expiry(ttl))
        }
        Access::Add { key, value, ttl } => {
            format!("add {} = {}{}", quoted(key), format_bytes(value), expiry(ttl))
        }
        Access::CompareAndSet { key, expected, value, ttl } => {
            format!(
                "compare-and-set {}: {} to {}{}",
                quoted(key),
                format_bytes(expected),
                format_bytes(value),
                expiry(ttl)
            )
        }
        Access::Increment { key, by, ttl } => format!("increment {} by {by}{}", quoted(key), expiry(ttl)),
        Access::Delete { key } => format!("delete {}", quoted(key)),
        Access::Usage => "usage".to_owned(),
        Access::Clear => "clear".to_owned(),
        Access::Commit(batch) => describe_batch(batch),
    }
}

/// A key in quotes, or the user whose memory it is.
pub(crate) fn named(key: &str) -> String {
    match key.strip_prefix(MemoryKey::PREFIX) {
        Some(user) => format!("memory of {}", quoted(user)),
        None => quoted(key),
    }
}

/// A value, or the numbers that are remembered about a user.
pub(crate) fn named_value(key: &str, value: &[u8]) -> String {
    match remembered(key, value) {
        Some((_, numbers)) => format!("{numbers:?}"),
        None => format_bytes(value),
    }
}

fn describe_batch(batch: &Batch<'_>) -> String {
    let lifetime = |lifetime: Lifetime| match lifetime {
        Lifetime::Forever => String::new(),
        Lifetime::For(ttl) => format!(" for {}s", ttl.as_secs()),
        Lifetime::Keep => " until it expires".to_owned(),
    };
    let write = |write: &BatchWrite<'_>| match write.value {
        Some(value) => {
            let value = named_value(write.key, value);
            format!("set {} = {value}{}", named(write.key), lifetime(write.lifetime))
        }
        None => format!("delete {}", named(write.key)),
    };
    let clear = batch.clear.then(|| "clear".to_owned());
    let changes: Vec<_> = clear.into_iter().chain(batch.writes.iter().map(write)).collect();
    format!("commit: {}", if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") })
}

fn describe_result(result: &AccessResult) -> String {
    match result {
        AccessResult::Value(Some(value)) => format_bytes(value),
        AccessResult::Value(None) | AccessResult::Ttl(None) => "nothing".to_owned(),
        AccessResult::Ttl(Some(Ttl::Forever)) => "forever".to_owned(),
        AccessResult::Ttl(Some(Ttl::Left(left))) => format!("{}s", left.as_secs()),
        AccessResult::Done(true) => "done".to_owned(),
        AccessResult::Done(false) => "not done".to_owned(),
        AccessResult::Number(number) => number.to_string(),
        AccessResult::Refused(refused) => format!("rejected: {refused}"),
        AccessResult::Unavailable => "the store cannot be reached".to_owned(),
    }
}

/// Text in quotes, shortened to 64 characters.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(64).collect();
    if shown.len() < text.len() {
        format!("{shown:?}… ({} bytes)", text.len())
    } else {
        format!("{shown:?}")
    }
}

/// Bytes as quoted text if they are printable UTF-8, otherwise in hexadecimal.
pub(crate) fn format_bytes(value: &[u8]) -> String {
    const SHOWN: usize = 48;
    let readable = |text: &str| !text.chars().any(char::is_control);
    match std::str::from_utf8(value) {
        Ok(value) if readable(value) => quoted(value),
        _ => {
            let mut digits = "hex:".to_owned();
            for byte in value.iter().take(SHOWN) {
                let _ = write!(digits, "{byte:02x}");
            }
            if value.len() > SHOWN {
                let _ = write!(digits, "… ({} bytes)", value.len());
            }
            digits
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct LogBuffer(Mutex<Vec<LogLine>>);

impl LogBuffer {
    pub(super) fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.0.lock())
    }
}

impl crate::Lines for LogBuffer {
    fn line(&self, level: Level, text: &str) {
        self.0.lock().push(LogLine { level, text: text.to_owned() });
    }
}
