//! The rule, without host calls: what is remembered about a user, and how a login is decided.

use crate::bindings::reprieve::policy::types::{Freshness, Memory};
use crate::settings::{NewMail, Settings};

/// Bits of a packed date.
const DATE_BITS: u32 = 21;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Seconds since 1970.
    pub(crate) unix: u32,
    /// Milliseconds of the second.
    pub(crate) millisecond: u16,
    /// Year, month and day: only whether they are the same matters.
    pub(crate) day: (u32, u8, u8),
}

/// What is remembered about a user: three numbers of the user's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// When it was started; None if it is not running.
    pub(crate) last: Option<Stamp>,
    /// Upgrades since a login passed.
    pub(crate) upgrades: u32,
}

impl Clock {
    pub(crate) fn started(now: Stamp) -> Self {
        Self { last: Some(now), upgrades: 0 }
    }
}

impl From<Memory> for Clock {
    fn from(memory: Memory) -> Self {
        let date = memory.second & ((1 << DATE_BITS) - 1);
        let last = Stamp {
            unix: memory.first,
            // 11 bits are left.
            millisecond: (memory.second >> DATE_BITS) as u16,
            day: (date >> 9, (date >> 5 & 15) as u8, (date & 31) as u8),
        };
        Self { last: (memory.first != 0).then_some(last), upgrades: memory.third }
    }
}

impl From<Clock> for Memory {
    fn from(clock: Clock) -> Self {
        let Some(last) = clock.last else {
            return Self { first: 0, second: 0, third: clock.upgrades, fourth: 0 };
        };
        let (year, month, day) = last.day;
        // The year 4095 is the last one that fits.
        let date = (year & 0xFFF) << 9 | u32::from(month) << 5 | u32::from(day);
        Self {
            // 0 is for a clock that is not running.
            first: last.unix.max(1),
            second: u32::from(last.millisecond) << DATE_BITS | date,
            third: clock.upgrades,
            fourth: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Pass,
    Deny { retry_after_s: u32 },
}

/// Decides about a login at `now`.
pub(crate) fn decide(
    settings: &Settings,
    clock: Clock,
    freshness: Freshness,
    now: Stamp,
    second_of_day: u32,
) -> Decision {
    let interval_ms = match (settings.new_mail, freshness) {
        (NewMail::Wait, _) | (NewMail::Pass, Freshness::Unknown) => settings.interval_ms,
        (NewMail::Pass, Freshness::Unchanged) => settings.longest_interval_ms,
        (NewMail::Pass, Freshness::NewMail) => return Decision::Pass,
    };
    let Some(last) = clock.last else { return Decision::Pass };
    if settings.daily_reset && last.day != now.day {
        return Decision::Pass;
    }
    // If the clock was set back, the user passes.
    let ms = |stamp: Stamp| u64::from(stamp.unix) * 1000 + u64::from(stamp.millisecond);
    let Some(elapsed) = ms(now).checked_sub(ms(last)) else { return Decision::Pass };
    if elapsed >= interval_ms {
        return Decision::Pass;
    }
    let left = (interval_ms - elapsed).div_ceil(1000);
    let mut retry_after_s = u32::try_from(left).unwrap_or(u32::MAX);
    if settings.daily_reset {
        retry_after_s = retry_after_s.min(86_400_u32.saturating_sub(second_of_day));
    }
    Decision::Deny { retry_after_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn at(unix_ms: u64, day: u8) -> Stamp {
        Stamp { unix: (unix_ms / 1000) as u32, millisecond: (unix_ms % 1000) as u16, day: (2026, 3, day) }
    }

    fn decided(interval_ms: u64, daily_reset: bool, last: Option<Stamp>, now: Stamp) -> Decision {
        let settings = Settings { interval_ms, daily_reset, ..Settings::default() };
        decide(&settings, Clock { last, upgrades: 0 }, Freshness::Unknown, now, 0)
    }

    #[test]
    fn a_user_who_is_not_remembered_passes() {
        assert_eq!(decided(10 * MINUTE, true, None, at(0, 1)), Decision::Pass);
    }

    #[test]
    fn within_the_interval_a_login_is_denied_with_the_time_left() {
        let denied = decided(10 * MINUTE, true, Some(at(0, 1)), at(MINUTE, 1));
        assert_eq!(denied, Decision::Deny { retry_after_s: 540 });
    }

    #[test]
    fn at_the_end_of_the_interval_a_login_passes() {
        let last = Some(at(5, 1));
        assert_eq!(decided(MINUTE, true, last, at(MINUTE + 4, 1)), Decision::Deny { retry_after_s: 1 });
        assert_eq!(decided(MINUTE, true, last, at(MINUTE + 5, 1)), Decision::Pass);
    }

    #[test]
    fn a_login_on_another_day_passes_unless_the_reset_is_off() {
        let last = Some(at(0, 1));
        assert_eq!(decided(10 * MINUTE, true, last, at(1000, 2)), Decision::Pass);
        assert!(matches!(decided(10 * MINUTE, false, last, at(1000, 2)), Decision::Deny { .. }));
    }

    #[test]
    fn with_the_daily_reset_the_wait_ends_at_midnight() {
        let settings = Settings { interval_ms: 10 * MINUTE, ..Settings::default() };
        let denied = decide(&settings, Clock::started(at(0, 1)), Freshness::Unknown, at(1000, 1), 86_390);
        assert_eq!(denied, Decision::Deny { retry_after_s: 10 });
    }

    #[test]
    fn new_mail_passes_at_once_and_a_user_who_has_none_waits_longest() {
        let decided = |new_mail, freshness, elapsed_ms| {
            let settings = Settings { new_mail, daily_reset: false, ..Settings::default() };
            decide(&settings, Clock::started(at(0, 1)), freshness, at(elapsed_ms, 1), 0)
        };
        let wait = |retry_after_s| Decision::Deny { retry_after_s };
        for (new_mail, freshness, after_a_minute, after_ten) in [
            (NewMail::Pass, Freshness::Unknown, wait(540), Decision::Pass),
            (NewMail::Pass, Freshness::Unchanged, wait(3540), wait(3000)),
            (NewMail::Pass, Freshness::NewMail, Decision::Pass, Decision::Pass),
            (NewMail::Wait, Freshness::Unchanged, wait(540), Decision::Pass),
            (NewMail::Wait, Freshness::NewMail, wait(540), Decision::Pass),
        ] {
            assert_eq!(decided(new_mail, freshness, MINUTE), after_a_minute, "{new_mail:?} {freshness:?}");
            assert_eq!(decided(new_mail, freshness, 10 * MINUTE), after_ten, "{new_mail:?} {freshness:?}");
        }
        assert_eq!(decided(NewMail::Pass, Freshness::Unchanged, 60 * MINUTE), Decision::Pass);
    }

    #[test]
    fn after_the_clock_was_set_back_a_login_passes() {
        assert_eq!(decided(10 * MINUTE, false, Some(at(MINUTE, 1)), at(0, 1)), Decision::Pass);
    }

    #[test]
    fn a_clock_is_read_as_it_was_remembered() {
        let stamp = |unix, millisecond, day| Stamp { unix, millisecond, day };
        for clock in [
            Clock { last: None, upgrades: 0 },
            Clock { last: None, upgrades: 3 },
            Clock::started(stamp(1, 0, (1970, 1, 1))),
            Clock { last: Some(stamp(1_790_000_000, 999, (2026, 12, 31))), upgrades: 7 },
            Clock { last: Some(stamp(u32::MAX, 1, (4095, 1, 31))), upgrades: u32::MAX },
        ] {
            assert_eq!(Clock::from(Memory::from(clock)), clock);
        }
    }
}
