//! The clock that logins, policies and stores share. Tests replace it with one that they control.
//! Timeouts of connections do not use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A source of wall-clock time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock for tests: it stands still until it is advanced.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Starts at `unix_ms` milliseconds since 1970.
    #[must_use]
    pub fn new(unix_ms: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(unix_ms)))
    }

    /// Advances the time.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Sets the time, in milliseconds since 1970.
    pub fn set(&self, unix_ms: u64) {
        self.0.store(unix_ms, Ordering::SeqCst);
    }

    /// The current time, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        Self::now_ms(self)
    }
}

/// Local date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year in the Gregorian calendar.
    pub year: i16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 (Monday) to 6 (Sunday).
    pub weekday: u8,
    /// Local time of day in seconds: 3600 at 01:00, also on days when clocks are changed.
    pub second_of_day: u32,
}

/// Converts milliseconds since 1970 to local date and time in a time zone.
#[must_use]
pub fn civil(unix_ms: u64, zone: &TimeZone) -> Civil {
    let timestamp = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX);
    let local = zone.to_datetime(timestamp);
    let (hour, minute, second) = (local.hour(), local.minute(), local.second());
    let unsigned = |part: i8| u8::try_from(part).unwrap_or(0);
    Civil {
        year: local.year(),
        month: unsigned(local.month()),
        day: unsigned(local.day()),
        weekday: unsigned(local.weekday().to_monday_zero_offset()),
        second_of_day: u32::from(unsigned(hour)) * 3600
            + u32::from(unsigned(minute)) * 60
            + u32::from(unsigned(second)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_changes_at_midnight_in_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        // 2026-07-01T21:59:59Z and a second later: midnight in summer time.
        let before = civil(1_782_943_199_000, &berlin);
        let after = civil(1_782_943_200_000, &berlin);
        assert_eq!((before.month, before.day, before.second_of_day), (7, 1, 86_399));
        assert_eq!((after.month, after.day, after.second_of_day), (7, 2, 0));
        assert_eq!(after.weekday, 3);
    }
}
