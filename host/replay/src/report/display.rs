//! Formatting of numbers, times and names for reports.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::{PolicyRow, Report, Span};
use crate::format::Format;
use crate::new_mail::{NewMail, Waits};
use reprieve_policy_host::Because;
use reprieve_policy_host::harness::format_time;

/// A number with separated thousands: `1,234`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun in singular or plural: `1 line`, `2 lines`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A share from 0 to 1 in percent: `62.7 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A duration in its two largest units: `6 min 29 s`.
pub(super) fn duration(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.round().clamp(0.0, 1e15) as u64;
    match whole {
        86_400.. => format!("{} d {} h", number(whole / 86_400), whole % 86_400 / 3600),
        3600.. => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        60.. => format!("{} min {} s", whole / 60, whole % 60),
        10.. => format!("{whole} s"),
        _ if seconds >= 1.0 => format!("{seconds:.1} s"),
        _ => format!("{:.0} ms", seconds * 1000.0),
    }
}

/// A sentence about the deliveries.
pub(super) fn deliveries(new_mail: &NewMail) -> String {
    let mut text = counted(new_mail.deliveries, "delivery", "deliveries");
    if new_mail.unfetched > 0 {
        let _ = write!(
            text,
            ", {} of them not fetched: the user did not log in after it",
            number(new_mail.unfetched)
        );
    }
    for (waits, which) in [(&new_mail.without_signals, "without"), (&new_mail.with_signals, "with")] {
        if waits.still_waiting > 0 {
            let _ =
                write!(text, "; {which} signals, {} still waiting at the end", number(waits.still_waiting));
        }
    }
    text
}

/// Says that nothing can be said about new mail.
pub(super) const NO_DELIVERIES: &str = "The logs have no deliveries, so the delay of new mail is unknown.";

/// The two ways to run a policy, each with a name.
pub(super) fn waits(new_mail: &NewMail) -> [(&'static str, &Waits); 2] {
    [("without signals", &new_mail.without_signals), ("with a signal per delivery", &new_mail.with_signals)]
}

/// A wait, which is often none.
pub(super) fn wait(seconds: f64) -> String {
    if seconds == 0.0 { "0 s".to_owned() } else { duration(seconds) }
}

/// An average duration in its largest unit: `1.5 min`.
pub(super) fn average_duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        86_400.0.. => (seconds / 86_400.0, "d"),
        3600.0.. => (seconds / 3600.0, "h"),
        60.0.. => (seconds / 60.0, "min"),
        _ => (seconds, "s"),
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A local time to the minute or the second: `2026-11-26 08:00`.
pub(super) fn local_time(ms: u64, zone: &TimeZone, with_seconds: bool) -> String {
    let text = format_time(ms, zone);
    let length = if with_seconds { 19 } else { 16 };
    text.get(..length).unwrap_or(&text).to_owned()
}

/// A local date: `2026-11-26`.
pub(super) fn date(ms: u64, zone: &TimeZone) -> String {
    local_time(ms, zone, false).split(' ').next().unwrap_or_default().to_owned()
}

/// Name of a time zone; `local time` if it has none.
pub(super) fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "local time".to_owned(), str::to_owned)
}

/// A policy with its settings: `interval, interval = 10m`.
pub(super) fn policy(policy: &PolicyRow) -> String {
    let settings = policy.settings.iter().map(|(key, value)| format!("{key} = {value}"));
    let parts: Vec<_> = std::iter::once(policy.component.clone()).chain(settings).collect();
    parts.join(", ")
}

/// Names of the formats: `Dovecot, Cyrus`.
pub(super) fn format_names(formats: &[Format]) -> String {
    formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
}

/// Beginning, end and time zone of the logs.
pub(super) fn span(span: Span, report: &Report) -> String {
    format!(
        "{} to {} ({})",
        local_time(span.from_ms, &report.zone, true),
        local_time(span.to_ms, &report.zone, true),
        zone_name(&report.zone)
    )
}

/// Explains why a denied login passes. `because` is the name of a [`Because`].
pub(super) fn explanation(because: &str) -> &str {
    match Because::named(because) {
        Some(Because::Unverified) => "the password was not verified yet",
        Some(Because::Unverifiable) => "only the mail server can verify the mechanism",
        Some(Because::NoSnapshot) => "no listing to show",
        _ => because,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_formatted_for_people() {
        let numbers: Vec<_> = [0, 12, 999, 1000, 123_456, 1_234_567].map(number).into();
        assert_eq!(numbers, ["0", "12", "999", "1,000", "123,456", "1,234,567"]);
        let times: Vec<_> = [0.0123, 1.25, 42.0, 61.0, 7325.0, 90_000.0, f64::MAX].map(duration).into();
        let averages: Vec<_> = [0.0, 12.04, 59.96, 90.0, 5400.0, 172_800.0].map(average_duration).into();
        assert_eq!(averages, ["0 s", "12 s", "60 s", "1.5 min", "1.5 h", "2 d"]);
        assert_eq!(times[..6], ["12 ms", "1.2 s", "42 s", "1 min 1 s", "2 h 2 min", "1 d 1 h"]);
        assert_eq!(
            (counted(1, "line", "lines"), counted(0, "line", "lines")),
            ("1 line".into(), "0 lines".into())
        );
    }
}
