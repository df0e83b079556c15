//! Durations and sizes: a whole number and a unit.

use std::time::Duration;

/// Parses a duration: `500ms`, `90s`, `10m`, `1h`, `1d`. None if the unit is missing or unknown.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let factor_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor_ms).map(Duration::from_millis)
}

/// Parses a size in bytes: `512B`, `100KiB`, `64MiB`, `1GiB`. None if the unit is missing or unknown.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
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
}
