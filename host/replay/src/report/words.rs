//! Numbers, times and names as people read them.

use jiff::tz::TimeZone;

use super::{PolicyRow, Report, Span};
use crate::format::Format;
use reprieve_policy_host::harness::in_words;

/// A number with its thousands apart.
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

/// A count of things, in the singular where it is one.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A duration in the two units that suit it.
pub(super) fn seconds(seconds: f64) -> String {
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

/// A duration that is an average, in the one unit that suits it.
pub(super) fn about(seconds: f64) -> String {
    let (value, unit) = match seconds {
        86_400.0.. => (seconds / 86_400.0, "d"),
        3600.0.. => (seconds / 3600.0, "h"),
        60.0.. => (seconds / 60.0, "min"),
        _ => (seconds, "s"),
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A moment of the wall's clock, to the minute or the second.
pub(super) fn moment(ms: u64, zone: &TimeZone, with_seconds: bool) -> String {
    let text = in_words(ms, zone);
    let length = if with_seconds { 19 } else { 16 };
    text.get(..length).unwrap_or(&text).to_owned()
}

/// A day.
pub(super) fn day(ms: u64, zone: &TimeZone) -> String {
    moment(ms, zone, false).split(' ').next().unwrap_or_default().to_owned()
}

/// A zone's name.
pub(super) fn zone(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "local time".to_owned(), str::to_owned)
}

/// A policy with its settings.
pub(super) fn policy(policy: &PolicyRow) -> String {
    let settings = policy.settings.iter().map(|(key, value)| format!("{key} = {value}"));
    let parts: Vec<_> = std::iter::once(policy.component.clone()).chain(settings).collect();
    parts.join(", ")
}

/// The formats that were found.
pub(super) fn formats(formats: &[Format]) -> String {
    formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
}

/// From when to when.
pub(super) fn span(span: Span, report: &Report) -> String {
    format!(
        "{} to {} ({})",
        moment(span.from_ms, &report.zone, true),
        moment(span.to_ms, &report.zone, true),
        zone(&report.zone)
    )
}

/// How a host's word for what it made of a verdict reads.
pub(super) fn why(word: &str) -> &str {
    match word {
        "unverified" => "the secret was not known",
        "unverifiable" => "only the mail server sees the secret",
        "no-snapshot" => "there was no snapshot to show",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_readable() {
        let numbers: Vec<_> = [0, 12, 999, 1000, 123_456, 1_234_567].map(number).into();
        assert_eq!(numbers, ["0", "12", "999", "1,000", "123,456", "1,234,567"]);
        let times: Vec<_> = [0.0123, 1.25, 42.0, 61.0, 7325.0, 90_000.0, f64::MAX].map(seconds).into();
        let averages: Vec<_> = [0.0, 12.04, 59.96, 90.0, 5400.0, 172_800.0].map(about).into();
        assert_eq!(averages, ["0 s", "12 s", "60 s", "1.5 min", "1.5 h", "2 d"]);
        assert_eq!(times[..6], ["12 ms", "1.2 s", "42 s", "1 min 1 s", "2 h 2 min", "1 d 1 h"]);
        assert_eq!(
            (counted(1, "line", "lines"), counted(0, "line", "lines")),
            ("1 line".into(), "0 lines".into())
        );
    }
}
