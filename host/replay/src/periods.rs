//! Logins per hour and per day.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;

use reprieve_policy_host::Ending;
use reprieve_store::clock::civil;

use super::entry::Entry;
use super::player::Decision;

/// The most hours that are counted separately: a log with more has wrong timestamps.
const MAX_HOURS: usize = 50_000;
const HOUR_MS: u64 = 3_600_000;

/// The logins of an hour or a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Period {
    /// Beginning in milliseconds since 1970.
    pub start_ms: u64,
    /// All logins.
    pub logins: u64,
    /// Logins that reach a mail server.
    pub passed: u64,
    /// Logins that do not reach a mail server.
    pub relieved: u64,
    /// Logins that the mail server rejected, according to the log.
    pub rejected: u64,
}

/// The logins of each hour of local time.
#[derive(Debug, Default)]
pub(super) struct Hours {
    hours: BTreeMap<u64, Period>,
    /// Beginning and end of the last login's hour: the next login is usually in the same one.
    current: Option<(u64, u64)>,
    logins_beyond_limit: u64,
}

impl Hours {
    pub(super) fn add(&mut self, entry: &Entry, decision: &Decision, zone: &TimeZone) {
        let start_ms = match self.current {
            Some((start, end)) if (start..end).contains(&entry.at_ms) => start,
            _ => {
                let since_start =
                    u64::from(civil(entry.at_ms, zone).second_of_day % 3600) * 1000 + entry.at_ms % 1000;
                let start = entry.at_ms.saturating_sub(since_start);
                self.current = Some((start, start.saturating_add(HOUR_MS)));
                start
            }
        };
        if self.hours.len() >= MAX_HOURS && !self.hours.contains_key(&start_ms) {
            self.logins_beyond_limit += 1;
            return;
        }
        let hour = self.hours.entry(start_ms).or_insert(Period { start_ms, ..Period::default() });
        hour.logins += 1;
        if decision.is_relieved(entry) {
            hour.relieved += 1;
        } else {
            hour.passed += 1;
        }
        hour.rejected += u64::from(entry.outcome == Some(Ending::Rejected));
    }

    /// Number of logins in hours beyond the limit.
    pub(super) fn logins_beyond_limit(&self) -> u64 {
        self.logins_beyond_limit
    }

    /// All hours with logins, in order of time.
    pub(super) fn into_periods(self) -> Vec<Period> {
        self.hours.into_values().collect()
    }
}

/// Adds up the hours of each day.
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
    use crate::recorded_verdict::{RecordedVerdict, VerdictKind};
    use reprieve_policy_host::Standing;
    use reprieve_policy_host::{Action, Disposition};

    fn decision(action: Action) -> Decision {
        Decision {
            standing: Standing::Known,
            verdict: RecordedVerdict::new(VerdictKind::Pass),
            disposition: Disposition::as_decided(action),
        }
    }

    #[test]
    fn hours_begin_at_full_hours_of_local_time_even_in_zones_with_half_an_hour() {
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        let mut hours = Hours::default();
        // 18:29:59.999 and 18:30 UTC: midnight in India.
        let midnight = 1_782_930_600_000;
        for (at, action) in [
            (midnight - 1, Action::Posed),
            (midnight, Action::Passed),
            (midnight + HOUR_MS - 1, Action::Posed),
            (midnight + HOUR_MS, Action::Refused),
        ] {
            hours.add(&Entry::new(at, "alice", Ending::Authenticated), &decision(action), &zone);
        }
        let hours = hours.into_periods();
        let rows: Vec<_> = hours.iter().map(|hour| (hour.start_ms, hour.logins, hour.relieved)).collect();
        assert_eq!(rows, [(midnight - HOUR_MS, 1, 1), (midnight, 2, 1), (midnight + HOUR_MS, 1, 1)]);
        let days = days(&hours, &zone);
        assert_eq!(days.len(), 2);
        assert_eq!((days[1].start_ms, days[1].logins, days[1].passed), (midnight, 3, 1));
        assert_eq!(days[0].start_ms, midnight - 24 * HOUR_MS);
    }
}
