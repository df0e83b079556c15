//! The time of a line: adds the year and the time zone if a log leaves them out.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// At the end of daylight saving time, a line that is earlier than the previous one by up to this time
/// is only out of order. If it is earlier by more, the clock was set back in between.
const OUT_OF_ORDER_MS: u64 = 30 * 60 * 1000;
/// How many years back to look for one that has the 29 February of a line.
const YEARS_BACK: i16 = 8;
/// If the months of two lines are further apart, the lines are from different years.
const HALF_YEAR_MONTHS: i8 = 6;

/// How to find the year of a log's first line if its lines have no year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstYear {
    /// It is given.
    Is(i16),
    /// The last year in which the line is not later than this: the modification time of the log, in
    /// milliseconds since 1970.
    NotAfter(u64),
    /// The same, but a leap year: the log has a 29 February in the year of its first line.
    LeapNotAfter(u64),
}

/// Turns the timestamps of a log into milliseconds since 1970. It reads the lines in their order, so
/// that it notices New Year and the hour that occurs twice at the end of daylight saving time.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    first_year: FirstYear,
    /// Year and month of the last line that had no year.
    last: Option<(i16, i8)>,
    /// The year, if it is wrong: the log has a 29 February, and the year does not.
    without_leap_day: Option<i16>,
    last_ms: u64,
    /// Whether the log is in the second of two hours with the same local times.
    is_repeated_hour: bool,
    /// The local minute of the previous line, and its time: most lines are in the same minute.
    cached_minute: Option<(DateTime, u64)>,
}

impl Calendar {
    /// `zone` applies to timestamps without a time zone.
    #[must_use]
    pub fn new(zone: TimeZone, first_year: FirstYear) -> Self {
        Self {
            zone,
            first_year,
            last: None,
            without_leap_day: None,
            last_ms: 0,
            is_repeated_hour: false,
            cached_minute: None,
        }
    }

    /// A complete timestamp. None before 1970.
    pub fn absolute(&mut self, timestamp: Timestamp) -> Option<u64> {
        let ms = u64::try_from(timestamp.as_millisecond()).ok()?;
        self.last_ms = ms;
        Some(ms)
    }

    /// A timestamp without a time zone. None before 1970.
    pub fn local(&mut self, at: DateTime) -> Option<u64> {
        let into_minute = u64::try_from(i64::from(at.second()) * 1000 + i64::from(at.millisecond())).ok()?;
        let minute = DateTime::from_parts(at.date(), Time::constant(at.hour(), at.minute(), 0, 0));
        if let Some((cached, ms)) = self.cached_minute
            && cached == minute
        {
            self.last_ms = ms + into_minute;
            return Some(self.last_ms);
        }
        let ambiguous = self.zone.to_ambiguous_timestamp(minute);
        let is_unambiguous = !ambiguous.is_ambiguous();
        let ms_of = |timestamp: Timestamp| u64::try_from(timestamp.as_millisecond()).ok();
        let mut ms = ms_of(ambiguous.compatible().ok()?)?;
        self.is_repeated_hour =
            !is_unambiguous && (self.is_repeated_hour || ms + OUT_OF_ORDER_MS < self.last_ms);
        if self.is_repeated_hour
            && let Some(later) = ambiguous.later().ok().and_then(ms_of)
        {
            ms = later;
        }
        self.cached_minute = is_unambiguous.then_some((minute, ms));
        self.last_ms = ms + into_minute;
        Some(self.last_ms)
    }

    /// A timestamp without a year and a time zone. `month` and `day` count from 1.
    pub fn yearless(&mut self, month: i8, day: i8, time: Time) -> Option<u64> {
        let year = match self.last {
            None => {
                let year = self.year_of_first(month, day, time)?;
                self.last = Some((year, month));
                year
            }
            Some((year, last)) if last - month > HALF_YEAR_MONTHS => {
                self.last = Some((year.checked_add(1)?, month));
                year.checked_add(1)?
            }
            // A line from the old year, out of order.
            Some((year, last)) if month - last > HALF_YEAR_MONTHS => year.checked_sub(1)?,
            Some((year, _)) => {
                self.last = Some((year, month));
                year
            }
        };
        let date = match Date::new(year, month, day) {
            Ok(date) => date,
            // The log has that day, so the year is wrong. Keep the year, because earlier lines have
            // it too, but insert the day after 28 February, so that intervals between lines stay
            // right.
            Err(_) if (month, day) == (2, 29) => {
                self.without_leap_day.get_or_insert(year);
                Date::new(year, 2, 28).ok()?
            }
            Err(_) => return None,
        };
        let mut at = DateTime::from_parts(date, time);
        if self.without_leap_day.is_some_and(|without| (year, month, day) > (without, 2, 28)) {
            at = at.checked_add(1.day()).ok()?;
        }
        self.local(at)
    }

    /// The wrong year, if the log has a 29 February and the year does not.
    pub(super) fn without_leap_day(&self) -> Option<i16> {
        self.without_leap_day
    }

    /// Whether the year was guessed and the log may still reach a 29 February that it does not have.
    pub(super) fn may_miss_leap_day(&self) -> bool {
        matches!(self.first_year, FirstYear::NotAfter(_))
            && self.last.is_some_and(|(year, month)| month <= 2 && !is_leap(year))
    }

    fn year_of_first(&self, month: i8, day: i8, time: Time) -> Option<i16> {
        match self.first_year {
            FirstYear::Is(year) => Some(year),
            FirstYear::NotAfter(ms) | FirstYear::LeapNotAfter(ms) => {
                let any_year = matches!(self.first_year, FirstYear::NotAfter(_));
                // A day of tolerance: the clocks or time zones may differ.
                let latest = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
                let latest = self.zone.to_datetime(latest).checked_add(1.day()).ok()?;
                (0..=YEARS_BACK)
                    .filter_map(|back| {
                        let year = latest.year().checked_sub(back)?;
                        (any_year || is_leap(year)).then_some(())?;
                        let date = Date::new(year, month, day).ok()?;
                        (DateTime::from_parts(date, time) <= latest).then_some(year)
                    })
                    .next()
            }
        }
    }
}

fn is_leap(year: i16) -> bool {
    Date::new(year, 2, 29).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn utc_ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn at(hour: i8, minute: i8, second: i8) -> Time {
        Time::constant(hour, minute, second, 0)
    }

    #[test]
    fn the_year_is_the_last_in_which_the_line_is_not_in_the_future() {
        let year = |not_after: &str, month, day| {
            let mut calendar = Calendar::new(TimeZone::UTC, FirstYear::NotAfter(utc_ms(not_after)));
            let ms = calendar.yearless(month, day, at(12, 0, 0)).unwrap();
            Timestamp::from_millisecond(ms.cast_signed()).unwrap().to_zoned(TimeZone::UTC).year()
        };
        assert_eq!(year("2026-11-27T22:00:00Z", 11, 27), 2026);
        assert_eq!(year("2026-11-27T08:00:00Z", 11, 27), 2026, "clocks that differ");
        assert_eq!(year("2026-11-27T22:00:00Z", 12, 1), 2025);
        assert_eq!(year("2026-01-02T06:25:00Z", 12, 31), 2025, "a log that ended after New Year");
        assert_eq!(year("2027-03-01T00:00:00Z", 2, 29), 2024, "the last leap year");
    }

    #[test]
    fn a_log_continues_after_new_year_even_with_lines_out_of_order() {
        let mut calendar = Calendar::new(TimeZone::UTC, FirstYear::Is(2025));
        assert_eq!(calendar.yearless(12, 31, at(23, 59, 59)), Some(utc_ms("2025-12-31T23:59:59Z")));
        assert_eq!(calendar.yearless(1, 1, at(0, 0, 0)), Some(utc_ms("2026-01-01T00:00:00Z")));
        assert_eq!(calendar.yearless(12, 31, at(23, 59, 58)), Some(utc_ms("2025-12-31T23:59:58Z")));
        assert_eq!(calendar.yearless(1, 1, at(0, 0, 1)), Some(utc_ms("2026-01-01T00:00:01Z")));
        assert_eq!(calendar.yearless(2, 30, at(0, 0, 0)), None, "no such day");
    }

    #[test]
    fn a_leap_day_is_kept_for_every_assumed_year() {
        for first_year in [
            FirstYear::Is(2026),
            FirstYear::NotAfter(utc_ms("2026-11-27T22:00:00Z")),
            FirstYear::LeapNotAfter(utc_ms("2026-11-27T22:00:00Z")),
            FirstYear::Is(2024),
        ] {
            let mut calendar = Calendar::new(TimeZone::UTC, first_year);
            let mut line = |month, day, hour| calendar.yearless(month, day, at(hour, 0, 0)).unwrap();
            let first = line(2, 28, 0);
            let hours: Vec<u64> = [
                (2, 28, 23),
                (2, 29, 0),
                (2, 29, 23),
                (2, 28, 22),
                (3, 1, 0),
                (3, 2, 0),
                (8, 1, 0),
                (12, 31, 0),
                (1, 1, 0),
            ]
            .map(|(month, day, hour)| (line(month, day, hour) - first) / 3_600_000)
            .into();
            assert_eq!(hours, [23, 24, 47, 22, 48, 72, 155 * 24, 307 * 24, 308 * 24], "{first_year:?}");
            let is_right = first == utc_ms("2024-02-28T00:00:00Z");
            assert_eq!(calendar.without_leap_day().is_none(), is_right, "{first_year:?}");
        }
        let mut calendar = Calendar::new(TimeZone::UTC, FirstYear::Is(2026));
        assert_eq!(calendar.yearless(2, 30, at(0, 0, 0)), None);
        assert_eq!(calendar.yearless(4, 31, at(0, 0, 0)), None);
        assert_eq!(calendar.without_leap_day(), None);
    }

    #[test]
    fn the_hour_that_occurs_twice_is_two_hours_and_the_missing_one_is_skipped() {
        let mut calendar = Calendar::new(berlin(), FirstYear::Is(2026));
        let mut line = |hour, minute| calendar.yearless(10, 25, at(hour, minute, 30)).unwrap();
        assert_eq!(line(2, 59), utc_ms("2026-10-25T00:59:30Z"));
        assert_eq!(line(2, 0), utc_ms("2026-10-25T01:00:30Z"), "the clock was set back");
        assert_eq!(line(2, 59), utc_ms("2026-10-25T01:59:30Z"));
        assert_eq!(line(3, 0), utc_ms("2026-10-25T02:00:30Z"));
        let skipped = calendar.yearless(3, 29, at(2, 30, 0)).unwrap();
        assert_eq!(skipped, utc_ms("2027-03-29T00:30:00Z"), "after October, March is in the next year");
        let mut calendar = Calendar::new(berlin(), FirstYear::Is(2026));
        assert_eq!(calendar.yearless(3, 29, at(2, 30, 0)), Some(utc_ms("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn times_out_of_range_are_rejected() {
        let mut calendar = Calendar::new(berlin(), FirstYear::Is(-9999));
        assert_eq!(calendar.yearless(1, 1, at(0, 0, 0)), None);
        let mut calendar = Calendar::new(berlin(), FirstYear::Is(i16::MAX));
        assert_eq!(calendar.yearless(12, 31, at(0, 0, 0)), None);
        let mut calendar = Calendar::new(berlin(), FirstYear::NotAfter(u64::MAX));
        assert_eq!(calendar.yearless(1, 1, at(0, 0, 0)), None);
    }
}
