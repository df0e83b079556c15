//! Moments as people write them.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

/// A moment as people write it, before a time zone and the time are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The same everywhere.
    Absolute(Timestamp),
    /// By the clock on the wall.
    Civil(DateTime),
    /// The next such time of the day.
    TimeOfDay(Time),
}

impl Moment {
    /// Reads `12:30`, `12:30:15`, `2026-03-10T12:00:00`, or the latter with an offset or Z. The
    /// error says what is wrong, to be put after the name of the thing.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        // Other ways to write a time of the day would be taken for a part of a date.
        let of_day = text.len() >= 5 && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b':');
        if of_day && let Ok(time) = text.parse() {
            return Ok(Self::TimeOfDay(time));
        }
        Self::read_date(text).ok_or_else(|| {
            format!(
                "is {text:?}, which is no moment; examples are \"12:30\", \"2026-03-10T12:00:00\" and \"2026-03-10T12:00:00Z\""
            )
        })
    }

    fn read_date(text: &str) -> Option<Self> {
        let absolute = text.parse().ok().map(Self::Absolute);
        absolute.or_else(|| text.parse().ok().map(Self::Civil))
    }

    /// In milliseconds since 1970; a time of the day is never before `now_ms`. None beyond the
    /// years that can be counted.
    pub(crate) fn unix_ms(self, now_ms: u64, zone: &TimeZone) -> Option<u64> {
        let on_the_wall = |civil: DateTime| {
            let timestamp = zone.to_ambiguous_zoned(civil).compatible().ok()?.timestamp();
            u64::try_from(timestamp.as_millisecond()).ok()
        };
        match self {
            Self::Absolute(timestamp) => u64::try_from(timestamp.as_millisecond()).ok(),
            Self::Civil(civil) => on_the_wall(civil),
            Self::TimeOfDay(time) => {
                let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
                let today = now.to_zoned(zone.clone()).date();
                [today, today.tomorrow().ok()?]
                    .into_iter()
                    .find_map(|day| on_the_wall(day.to_datetime(time)).filter(|&ms| ms >= now_ms))
            }
        }
    }
}

/// Reads `2026-03-10T12:00:00`, in a time zone, or with an offset or Z; in milliseconds since
/// 1970.
pub(crate) fn moment(text: &str, zone: &TimeZone) -> Result<u64, String> {
    Moment::read_date(text).and_then(|moment| moment.unix_ms(0, zone)).ok_or_else(|| {
        format!(
            "is {text:?}, which is no moment; an example is \"2026-03-10T12:00:00\" or \"2026-03-10T12:00:00Z\""
        )
    })
}

/// A moment as people read it.
pub fn in_words(unix_ms: u64, zone: &TimeZone) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(
        || unix_ms.to_string(),
        |timestamp| {
            let civil = zone.to_datetime(timestamp);
            let fraction =
                if unix_ms.is_multiple_of(1000) { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S.%3f" };
            civil.strftime(fraction).to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_that_the_clocks_skip_is_as_much_later() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let before = moment("2026-03-29T01:30:00", &berlin).unwrap();
        let skipped = Moment::read("02:30").unwrap().unix_ms(before, &berlin).unwrap();
        assert_eq!(in_words(skipped, &berlin), "2026-03-29 03:30:00");
    }

    #[test]
    fn moments_and_times_of_day_are_read_in_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let noon = moment("2026-03-10T12:00:00", &berlin).unwrap();
        assert_eq!(noon, 1_773_140_400_000);
        assert_eq!(moment("2026-03-10T11:00:00Z", &berlin), Ok(noon));
        let at = |text: &str| Moment::read(text).unwrap().unix_ms(noon, &berlin);
        assert_eq!(at("12:00"), Some(noon));
        assert_eq!(at("12:00:01"), Some(noon + 1000));
        assert_eq!(at("11:59"), Some(noon + 86_340_000), "tomorrow");
        assert_eq!(at("2026-03-10T12:00:01"), Some(noon + 1000));
        assert_eq!(at("2026-03-10T11:00:01Z"), Some(noon + 1000));
        for wrong in ["noon", "25:00", "1230", "2026-02-30T12:00:00", ""] {
            assert!(Moment::read(wrong).unwrap_err().contains("\"12:30\""), "{wrong}");
        }
        assert!(moment("12:00", &berlin).unwrap_err().contains("2026-03-10T12:00:00"));
        assert!(moment("1969-12-31T23:59:59Z", &berlin).is_err());
        assert_eq!(in_words(noon, &berlin), "2026-03-10 12:00:00");
    }
}
