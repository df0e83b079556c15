//! How a home does: whether it can be used, and what has been counted of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use reprieve_metrics::Histogram;

/// Whether a home can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Health {
    /// As usual.
    Well,
    /// Operations fail at once until it is back.
    OutOfReach {
        /// Why.
        why: String,
    },
    /// What is written stays in memory until the file can be written again.
    InMemory {
        /// Why.
        why: String,
    },
}

/// How long the log is left in peace after it was told of trouble.
const QUIET: Duration = Duration::from_secs(30);

/// What is wrong, and what was told of it.
#[derive(Debug, Default)]
struct Trouble {
    present: Option<(String, Instant)>,
    told: Option<Instant>,
    /// Whether the end of the present one is worth telling.
    tell_end: bool,
}

/// Upper bounds of what operations wait, in nanoseconds.
const WAITS: [u64; 13] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
];

/// What is counted of a home, and its present trouble.
#[derive(Debug)]
pub(super) struct Record {
    troubled: AtomicBool,
    trouble: Mutex<Trouble>,
    pub operations: AtomicU64,
    pub failures: AtomicU64,
    pub timeouts: AtomicU64,
    /// How often it went from well to troubled.
    pub outages: AtomicU64,
    /// What operations have waited, of those that did.
    pub waits: Histogram<13>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            troubled: AtomicBool::default(),
            trouble: Mutex::default(),
            operations: AtomicU64::default(),
            failures: AtomicU64::default(),
            timeouts: AtomicU64::default(),
            outages: AtomicU64::default(),
            waits: Histogram::new(&WAITS),
        }
    }
}

impl Record {
    /// Trouble begins, or has another reason. True where it begins, and the log was not told
    /// of the same a moment ago.
    pub fn fail(&self, why: &str) -> bool {
        let mut trouble = self.trouble.lock();
        let begins = trouble.present.is_none();
        let since = trouble.present.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        trouble.present = Some((why.to_owned(), since));
        self.troubled.store(true, Ordering::Release);
        if !begins {
            return false;
        }
        self.outages.fetch_add(1, Ordering::Relaxed);
        let tell = trouble.told.is_none_or(|told| told.elapsed() >= QUIET);
        if tell {
            trouble.told = Some(Instant::now());
        }
        trouble.tell_end |= tell;
        tell
    }

    /// All is well; how long it was not, where that is worth telling.
    pub fn recover(&self) -> Option<Duration> {
        let mut trouble = self.trouble.lock();
        let ended = trouble.present.take();
        self.troubled.store(false, Ordering::Release);
        let tell = std::mem::take(&mut trouble.tell_end);
        ended.filter(|_| tell).map(|(_, since)| since.elapsed())
    }

    /// What the trouble is.
    pub fn trouble(&self) -> Option<String> {
        if !self.troubled.load(Ordering::Acquire) {
            return None;
        }
        self.trouble.lock().present.as_ref().map(|(why, _)| why.clone())
    }

    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_comes_and_goes_is_told_once() {
        let record = Record::default();
        assert!(record.fail("one"));
        assert!(!record.fail("another"));
        assert_eq!(record.trouble().as_deref(), Some("another"));
        assert!(record.recover().is_some());
        assert_eq!(record.trouble(), None);
        assert!(!record.fail("again"), "a moment later");
        assert!(record.recover().is_none());
        assert_eq!(record.outages.load(Ordering::Relaxed), 2);
    }
}
