//! Values with units.

use std::time::Duration;

/// Units of durations in milliseconds, the largest first.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units of sizes in bytes, the largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Parses a duration: `500ms`, `90s`, `10m`, `1h`, `1d`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    parse(text, &DURATIONS).map(Duration::from_millis)
}

/// Parses a size in bytes: `512B`, `100KiB`, `64MiB`, `1GiB`.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// Prints a duration with the largest unit that leaves no fraction. Parts of a millisecond are
/// dropped.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 { "0s".to_owned() } else { print(milliseconds, &DURATIONS) }
}

/// Prints a size in bytes with the largest unit that leaves no fraction.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { print(bytes, &SIZES) }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(number: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) = units.iter().find(|(_, factor)| number.is_multiple_of(*factor)).unwrap_or(&("", 1));
    format!("{}{name}", number / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_their_units() {
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("10 m"), Some(Duration::from_secs(600)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(size("64MiB"), Some(64 << 20));
        for wrong in ["", "10", "m", "1.5h", "-1s", "10 parsecs", "99999999999999999999d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(size("64MB"), None);
    }

    #[test]
    fn durations_and_sizes_are_printed_with_the_largest_unit_that_fits() {
        for text in ["0s", "250ms", "90s", "10m", "36h", "1d"] {
            assert_eq!(print_duration(duration(text).unwrap()), text);
        }
        for text in ["0B", "1023B", "1KiB", "1025B", "64MiB", "3GiB"] {
            assert_eq!(print_size(size(text).unwrap()), text);
        }
        assert_eq!(print_duration(Duration::from_secs(3600)), "1h");
    }
}
