//! Values with units.

use std::time::Duration;

/// Units of durations in milliseconds, the largest first.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units of sizes in bytes, the largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Durations as users write them, for error messages.
pub const DURATION_EXAMPLES: &str = "500ms, 90s, 10m or 1h30m";

/// Parses a duration: `500ms`, `90s`, `10m`, `1d`, or several of these with the largest unit first
/// and each unit once, such as `1h30m`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = &DURATIONS[..];
    let mut sum: u64 = 0;
    loop {
        let (milliseconds, index, after) = amount(rest, units)?;
        sum = sum.checked_add(milliseconds)?;
        if after.is_empty() {
            return Some(Duration::from_millis(sum));
        }
        units = &units[index + 1..];
        rest = after.trim_start_matches(' ');
    }
}

/// Parses a size in bytes: `512B`, `100KiB`, `64MiB`, `1GiB`.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    amount(text, &SIZES).and_then(|(bytes, _, after)| after.is_empty().then_some(bytes))
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

/// Parses a number with its unit at the start of `text`: the amount, the unit's index, and the text
/// after it.
fn amount<'t>(text: &'t str, units: &[(&str, u64)]) -> Option<(u64, usize, &'t str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start_matches(' ');
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, rest) = rest.split_at(letters);
    let index = units.iter().position(|(name, _)| *name == unit)?;
    Some((number.parse::<u64>().ok()?.checked_mul(units[index].1)?, index, rest))
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
        for wrong in ["", "10", "m", "1.5h", "-1s", "10 parsecs", "10m ", "99999999999999999999d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        for wrong in ["64MB", "1GiB512MiB", "1GiB "] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_sums_with_each_unit_once_and_the_largest_first() {
        for (text, milliseconds) in [
            ("9m30s", 570_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1m1ms", 60_001),
            ("1d2h3m4s5ms", 93_784_005),
            ("0h90m", 5_400_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["30m1h", "1m1m", "1h30", "1h,30m", "1h+30m", "1h30m!", "213503982334d14h25m52s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
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
