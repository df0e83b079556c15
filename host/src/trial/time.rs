//! Moments as people write them.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

/// Reads `2026-03-10T12:00:00`, in a time zone, or with an offset or Z; in milliseconds since
/// 1970.
pub(crate) fn moment(text: &str, zone: &TimeZone) -> Result<u64, String> {
    let wrong = || {
        format!(
            "is {text:?}, which is no moment; an example is \"2026-03-10T12:00:00\" or \"2026-03-10T12:00:00Z\""
        )
    };
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let civil = text.parse::<DateTime>().map_err(|_| wrong())?;
            zone.to_ambiguous_zoned(civil).compatible().map_err(|_| wrong())?.timestamp()
        }
    };
    u64::try_from(timestamp.as_millisecond()).map_err(|_| wrong())
}

/// Reads a time of the day, `12:30` or `12:30:15`: the next such time that is not before now.
/// None where the text is no time of the day.
pub(crate) fn time_of_day(text: &str, now_ms: u64, zone: &TimeZone) -> Option<u64> {
    let looks_right = text.len() >= 5 && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b':');
    let time = text.parse::<Time>().ok().filter(|_| looks_right)?;
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let today = now.to_zoned(zone.clone()).date();
    [today, today.tomorrow().ok()?].into_iter().find_map(|day| {
        let moment = zone.to_ambiguous_zoned(day.to_datetime(time)).compatible().ok()?.timestamp();
        u64::try_from(moment.as_millisecond()).ok().filter(|&moment| moment >= now_ms)
    })
}

/// A moment as people read it.
pub(crate) fn in_words(unix_ms: u64, zone: &TimeZone) -> String {
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
    fn moments_and_times_of_day_are_read_in_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let noon = moment("2026-03-10T12:00:00", &berlin).unwrap();
        assert_eq!(noon, 1_773_140_400_000);
        assert_eq!(moment("2026-03-10T11:00:00Z", &berlin), Ok(noon));
        assert_eq!(time_of_day("12:00", noon, &berlin), Some(noon));
        assert_eq!(time_of_day("12:00:01", noon, &berlin), Some(noon + 1000));
        assert_eq!(time_of_day("11:59", noon, &berlin), Some(noon + 86_340_000), "tomorrow");
        assert_eq!(time_of_day("noon", noon, &berlin), None);
        assert!(moment("noon", &berlin).unwrap_err().contains("2026-03-10T12:00:00"));
        assert_eq!(in_words(noon, &berlin), "2026-03-10 12:00:00");
    }
}
