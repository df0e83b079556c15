//! Parses and formats dates and times.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

/// A time as written in a scenario, before the time zone and the current time are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeSpec {
    /// With an offset or Z.
    Absolute(Timestamp),
    /// Local date and time.
    Civil(DateTime),
    /// The next time that the clock shows this.
    TimeOfDay(Time),
}

impl TimeSpec {
    /// Parses `12:30`, `12:30:15`, `2026-03-10T12:00:00`, or the latter with an offset or Z. The
    /// error starts with "is", to follow the name of a key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // jiff also parses a date and other formats as a time of day; only these two are documented.
        let of_day = text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        if of_day && let Ok(time) = text.parse() {
            return Ok(Self::TimeOfDay(time));
        }
        Self::parse_date(text).ok_or_else(|| {
            format!(
                "is {text:?}, which is not a time; examples are \"12:30\", \"2026-03-10T12:00:00\" and \"2026-03-10T12:00:00Z\""
            )
        })
    }

    fn parse_date(text: &str) -> Option<Self> {
        let absolute = text.parse().ok().map(Self::Absolute);
        absolute.or_else(|| text.parse().ok().map(Self::Civil))
    }

    /// Unix time in milliseconds; a time of day is never before `now_ms`. `None` if the time is
    /// before 1970 or out of jiff's range.
    pub(crate) fn unix_ms(self, now_ms: u64, zone: &TimeZone) -> Option<u64> {
        let local_to_ms = |civil: DateTime| {
            let timestamp = zone.to_ambiguous_zoned(civil).compatible().ok()?.timestamp();
            u64::try_from(timestamp.as_millisecond()).ok()
        };
        match self {
            Self::Absolute(timestamp) => u64::try_from(timestamp.as_millisecond()).ok(),
            Self::Civil(civil) => local_to_ms(civil),
            Self::TimeOfDay(time) => {
                let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
                let today = now.to_zoned(zone.clone()).date();
                [today, today.tomorrow().ok()?]
                    .into_iter()
                    .find_map(|day| local_to_ms(day.to_datetime(time)).filter(|&ms| ms >= now_ms))
            }
        }
    }
}

/// Parses `2026-03-10T12:00:00` in a time zone, or with its own offset or Z, into a Unix time in
/// milliseconds. The error starts with "is".
pub(crate) fn parse_time(text: &str, zone: &TimeZone) -> Result<u64, String> {
    TimeSpec::parse_date(text).and_then(|time| time.unix_ms(0, zone)).ok_or_else(|| {
        format!(
            "is {text:?}, which is not a date and time; an example is \"2026-03-10T12:00:00\" or \"2026-03-10T12:00:00Z\""
        )
    })
}

/// Formats a Unix time in milliseconds as `2026-03-10 12:00:00`, with milliseconds if there are any.
pub fn format_time(unix_ms: u64, zone: &TimeZone) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(
        || unix_ms.to_string(),
        |timestamp| {
            let civil = zone.to_datetime(timestamp);
            let format =
                if unix_ms.is_multiple_of(1000) { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S.%3f" };
            civil.strftime(format).to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_skipped_by_daylight_saving_moves_forward() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let before = parse_time("2026-03-29T01:30:00", &berlin).unwrap();
        let skipped = TimeSpec::parse("02:30").unwrap().unix_ms(before, &berlin).unwrap();
        assert_eq!(format_time(skipped, &berlin), "2026-03-29 03:30:00");
    }

    #[test]
    fn dates_and_times_of_day_are_parsed_in_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let noon = parse_time("2026-03-10T12:00:00", &berlin).unwrap();
        assert_eq!(noon, 1_773_140_400_000);
        assert_eq!(parse_time("2026-03-10T11:00:00Z", &berlin), Ok(noon));
        let at = |text: &str| TimeSpec::parse(text).unwrap().unix_ms(noon, &berlin);
        assert_eq!(at("12:00"), Some(noon));
        assert_eq!(at("12:00:01"), Some(noon + 1000));
        assert_eq!(at("11:59"), Some(noon + 86_340_000), "tomorrow");
        assert_eq!(at("2026-03-10T12:00:01"), Some(noon + 1000));
        assert_eq!(at("2026-03-10T11:00:01Z"), Some(noon + 1000));
        for wrong in ["noon", "25:00", "1230", "2026-02-30T12:00:00", ""] {
            assert!(TimeSpec::parse(wrong).unwrap_err().contains("\"12:30\""), "{wrong}");
        }
        assert!(parse_time("12:00", &berlin).unwrap_err().contains("2026-03-10T12:00:00"));
        assert!(parse_time("1969-12-31T23:59:59Z", &berlin).is_err());
        assert_eq!(format_time(noon, &berlin), "2026-03-10 12:00:00");
    }
}
