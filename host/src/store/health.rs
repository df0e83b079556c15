//! How a home does: whether it can be used, and what has been counted of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

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

/// What is counted of a home, and its present trouble.
#[derive(Debug, Default)]
pub(super) struct Record {
    troubled: AtomicBool,
    trouble: Mutex<Option<(String, Instant)>>,
    pub operations: AtomicU64,
    pub failures: AtomicU64,
    pub timeouts: AtomicU64,
    /// How often it went from well to troubled.
    pub outages: AtomicU64,
    /// What operations have waited, in nanoseconds.
    pub waited_ns: AtomicU64,
}

impl Record {
    /// Trouble begins, or has another reason. True where it begins.
    pub fn fail(&self, why: &str) -> bool {
        let mut trouble = self.trouble.lock();
        let begins = trouble.is_none();
        let since = trouble.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        *trouble = Some((why.to_owned(), since));
        self.troubled.store(true, Ordering::Release);
        if begins {
            self.outages.fetch_add(1, Ordering::Relaxed);
        }
        begins
    }

    /// All is well; how long it was not.
    pub fn recover(&self) -> Option<Duration> {
        let ended = self.trouble.lock().take();
        self.troubled.store(false, Ordering::Release);
        ended.map(|(_, since)| since.elapsed())
    }

    /// What the trouble is.
    pub fn trouble(&self) -> Option<String> {
        if !self.troubled.load(Ordering::Acquire) {
            return None;
        }
        self.trouble.lock().as_ref().map(|(why, _)| why.clone())
    }

    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
