//! Health and counters of a backend.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use reprieve_metrics::Histogram;

/// Whether a store can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Health {
    /// Operations succeed.
    Healthy,
    /// The server cannot be used: operations fail at once.
    Unreachable {
        /// Last error.
        reason: String,
    },
    /// The file cannot be used: changes stay in memory until it can be written again.
    MemoryOnly {
        /// Last error.
        reason: String,
    },
}

/// Shortest time between two log lines about outages.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Outages {
    /// Last error of the current outage, and when the outage began.
    current: Option<(String, Instant)>,
    /// When the beginning of an outage was last logged.
    logged: Option<Instant>,
    /// Whether the current outage was logged, so that its end is logged too.
    log_recovery: bool,
}

/// Upper bounds of the histogram of waits, in nanoseconds.
const WAIT_BOUNDS_NS: [u64; 13] = [
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

/// Counts operations and keeps track of outages.
#[derive(Debug)]
pub(super) struct Monitor {
    in_outage: AtomicBool,
    outage: Mutex<Outages>,
    pub operations: AtomicU64,
    pub failures: AtomicU64,
    pub timeouts: AtomicU64,
    /// How often an outage began.
    pub outages: AtomicU64,
    /// How long operations waited, of those that had to.
    pub waits: Histogram<13>,
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            in_outage: AtomicBool::default(),
            outage: Mutex::default(),
            operations: AtomicU64::default(),
            failures: AtomicU64::default(),
            timeouts: AtomicU64::default(),
            outages: AtomicU64::default(),
            waits: Histogram::new(&WAIT_BOUNDS_NS),
        }
    }
}

impl Monitor {
    /// Begins an outage, or updates the error of the current one. Returns whether to log it: it
    /// begins, and the last log line is not too recent.
    pub fn fail(&self, error: &str) -> bool {
        let mut outage = self.outage.lock();
        let begins = outage.current.is_none();
        let since = outage.current.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        outage.current = Some((error.to_owned(), since));
        self.in_outage.store(true, Ordering::Release);
        if !begins {
            return false;
        }
        self.outages.fetch_add(1, Ordering::Relaxed);
        let log = outage.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        if log {
            outage.logged = Some(Instant::now());
        }
        outage.log_recovery |= log;
        log
    }

    /// Ends the outage, if there is one. Returns how long it lasted if its end is to be logged.
    pub fn recover(&self) -> Option<Duration> {
        let mut outage = self.outage.lock();
        let ended = outage.current.take();
        self.in_outage.store(false, Ordering::Release);
        let log = std::mem::take(&mut outage.log_recovery);
        ended.filter(|_| log).map(|(_, since)| since.elapsed())
    }

    /// The last error, during an outage.
    pub fn outage(&self) -> Option<String> {
        if !self.in_outage.load(Ordering::Acquire) {
            return None;
        }
        self.outage.lock().current.as_ref().map(|(error, _)| error.clone())
    }

    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_that_comes_and_goes_is_logged_once() {
        let monitor = Monitor::default();
        assert!(monitor.fail("one"));
        assert!(!monitor.fail("another"));
        assert_eq!(monitor.outage().as_deref(), Some("another"));
        assert!(monitor.recover().is_some());
        assert_eq!(monitor.outage(), None);
        assert!(!monitor.fail("again"), "within the log interval");
        assert!(monitor.recover().is_none());
        assert_eq!(monitor.outages.load(Ordering::Relaxed), 2);
    }
}
