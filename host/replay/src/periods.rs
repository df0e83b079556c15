//! What became of logins, hour by hour.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;

use reprieve_policy_host::Ending;
use reprieve_store::clock::civil;

use super::entry::Entry;
use super::player::Decision;

/// Hours that are told apart: a log with more has wrong times in it.
const MOST_HOURS: usize = 50_000;
const HOUR_MS: u64 = 3_600_000;

/// An hour, or a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Period {
    /// When it began, in milliseconds since 1970.
    pub start_ms: u64,
    /// All logins.
    pub logins: u64,
    /// Those that reach a mail server.
    pub passed: u64,
    /// Those that do not.
    pub relieved: u64,
    /// Those that the mail server had refused.
    pub rejected: u64,
}

/// Hours by the clock on the wall.
#[derive(Debug, Default)]
pub(super) struct Hours {
    hours: BTreeMap<u64, Period>,
    /// The hour of the last login: most often the next one's.
    current: Option<(u64, u64)>,
    beyond: u64,
}

impl Hours {
    pub(super) fn add(&mut self, entry: &Entry, decision: &Decision, zone: &TimeZone) {
        let start_ms = match self.current {
            Some((start, end)) if (start..end).contains(&entry.at_ms) => start,
            _ => {
                let into =
                    u64::from(civil(entry.at_ms, zone).second_of_day % 3600) * 1000 + entry.at_ms % 1000;
                let start = entry.at_ms.saturating_sub(into);
                self.current = Some((start, start.saturating_add(HOUR_MS)));
                start
            }
        };
        if self.hours.len() >= MOST_HOURS && !self.hours.contains_key(&start_ms) {
            self.beyond += 1;
            return;
        }
        let hour = self.hours.entry(start_ms).or_insert(Period { start_ms, ..Period::default() });
        hour.logins += 1;
        if decision.relieves(entry) {
            hour.relieved += 1;
        } else {
            hour.passed += 1;
        }
        hour.rejected += u64::from(entry.outcome == Some(Ending::Rejected));
    }

    /// Logins at hours beyond those that are told apart.
    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }

    /// All hours with logins, in their order.
    pub(super) fn into_periods(self) -> Vec<Period> {
        self.hours.into_values().collect()
    }
}

/// The days of these hours.
#[must_use]
pub(super) fn days(hours: &[Period], zone: &TimeZone) -> Vec<Period> {
    let mut days: Vec<Period> = Vec::new();
    let mut last = None;
    for hour in hours {
        let civil = civil(hour.start_ms, zone);
        let date = (civil.year, civil.month, civil.day);
        if last != Some(date) {
            last = Some(date);
            let midnight = hour.start_ms.saturating_sub(u64::from(civil.second_of_day) * 1000);
            days.push(Period { start_ms: midnight, ..Period::default() });
        }
        if let Some(day) = days.last_mut() {
            day.logins += hour.logins;
            day.passed += hour.passed;
            day.relieved += hour.relieved;
            day.rejected += hour.rejected;
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::said::{Said, Word};
    use reprieve_policy_host::Standing;
    use reprieve_policy_host::harness::Becomes;

    fn decision(becomes: Becomes) -> Decision {
        Decision { standing: Standing::Known, said: Said::only(Word::Pass), becomes, why: None }
    }

    #[test]
    fn hours_are_those_of_the_wall_even_where_the_zone_is_half_an_hour_off() {
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        let mut hours = Hours::default();
        // 18:29:59.999 and 18:30 UTC: midnight in India.
        let midnight = 1_782_930_600_000;
        for (at, becomes) in [
            (midnight - 1, Becomes::Posed),
            (midnight, Becomes::Passed),
            (midnight + HOUR_MS - 1, Becomes::Posed),
            (midnight + HOUR_MS, Becomes::Refused),
        ] {
            hours.add(&Entry::new(at, "alice", Ending::Authenticated), &decision(becomes), &zone);
        }
        let hours = hours.into_periods();
        let told: Vec<_> = hours.iter().map(|hour| (hour.start_ms, hour.logins, hour.relieved)).collect();
        assert_eq!(told, [(midnight - HOUR_MS, 1, 1), (midnight, 2, 1), (midnight + HOUR_MS, 1, 1)]);
        let days = days(&hours, &zone);
        assert_eq!(days.len(), 2);
        assert_eq!((days[1].start_ms, days[1].logins, days[1].passed), (midnight, 3, 1));
        assert_eq!(days[0].start_ms, midnight - 24 * HOUR_MS);
    }
}
