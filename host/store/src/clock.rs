//! Time as verdicts see it: one clock for the login, the policies and their store, which a
//! test can own. Time-outs of connections run on the machine's own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `unix_ms` milliseconds since 1970.
    #[must_use]
    pub fn new(unix_ms: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(unix_ms)))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Sets it, to milliseconds since 1970.
    pub fn set(&self, unix_ms: u64) {
        self.0.store(unix_ms, Ordering::SeqCst);
    }

    /// What it shows, in milliseconds since 1970.
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

/// A moment as the clock on the wall shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year of the Gregorian calendar.
    pub year: i16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// Monday is 0.
    pub weekday: u8,
    /// Seconds since midnight on that clock.
    pub second_of_day: u32,
}

/// The civil time of a moment in a time zone.
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
