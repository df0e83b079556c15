//! Reads the settings of policies in Rust. Each error names the setting and what would be valid.

/// A setting as `describe` of the contract shows it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Name in the configuration.
    pub name: &'static str,
    /// Type in the contract's notation, for instance `duration` or `daily|never`.
    pub kind: &'static str,
    /// Value if the setting is absent.
    pub default: &'static str,
    /// One sentence for the administrator.
    pub doc: &'static str,
}

/// The error for a setting that the policy does not have.
#[must_use]
pub fn unknown(key: &str, known: &[Description]) -> String {
    let names: Vec<_> = known.iter().map(|setting| setting.name).collect();
    format!("unknown setting `{key}`; known settings: {}", names.join(", "))
}

/// The meaning of a word.
///
/// # Errors
/// The value is not one of the known words.
pub fn choice<T: Copy>(key: &str, value: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = known.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("`{key}` is \"{value}\"; it can be {}", words.join(", "))
    })
}

/// A whole number from `least` to `most`.
///
/// # Errors
/// The value is not such a number.
pub fn number(key: &str, value: &str, least: u32, most: u32) -> Result<u32, String> {
    Some(value)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("`{key}` is \"{value}\"; it is a number from {least} to {most}"))
}

/// Whole seconds of a duration. A duration that is not zero has at least one second.
///
/// # Errors
/// The value is not a duration, or is one of more than 136 years.
pub fn duration_s(key: &str, value: &str) -> Result<u32, String> {
    let ms = duration_ms(key, value)?;
    u32::try_from(ms.div_ceil(1000)).map_err(|_| not_a_duration(key, value))
}

/// Milliseconds of a duration.
///
/// # Errors
/// The value is not a duration.
pub fn duration_ms(key: &str, value: &str) -> Result<u64, String> {
    milliseconds(value).ok_or_else(|| not_a_duration(key, value))
}

fn not_a_duration(key: &str, value: &str) -> String {
    format!("`{key}` is \"{value}\"; a duration reads like \"90s\", \"10m\" or \"1h30m\"")
}

/// Bytes of a size such as `100KiB`.
///
/// # Errors
/// The value is not a size.
pub fn size_bytes(key: &str, value: &str) -> Result<u64, String> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let factor = match unit.trim_start() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("`{key}` is \"{value}\"; a size reads like \"100KiB\" or \"32MiB\""))
}

/// Milliseconds of a duration of one or more units, such as `90s` or `9m30s`.
#[must_use]
pub fn milliseconds(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0_u64);
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = after.split_at(letters);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = tail.trim_start();
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_or_more_units() {
        for (text, ms) in [
            ("90s", 90_000),
            ("9m30s", 570_000),
            ("1h 30m", 5_400_000),
            ("1 d", 86_400_000),
            ("2s5ms", 2_005),
        ] {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
        for text in ["", "9", "m", "9m30", "9m 30s x", "-1m", "99999999999999999999d", "9999999999999999999s"]
        {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(duration_s("interval", "1ms"), Ok(1));
        assert_eq!(duration_s("interval", "0s"), Ok(0));
        assert!(duration_s("interval", "200000d").unwrap_err().starts_with("`interval` is \"200000d\""));
    }

    #[test]
    fn sizes_have_a_binary_unit() {
        for (text, bytes) in [("0", 0), ("12", 12), ("12B", 12), ("100KiB", 102_400), ("1 GiB", 1 << 30)] {
            assert_eq!(size_bytes("memory-limit", text), Ok(bytes), "{text}");
        }
        for text in
            ["", "KiB", "1KB", "1.5MiB", "-1", "12 furlongs", "99999999999999999999", "17179869184GiB"]
        {
            let error = size_bytes("memory-limit", text).unwrap_err();
            assert!(error.contains("`memory-limit`") && error.contains("32MiB"), "{error}");
        }
    }

    #[test]
    fn numbers_have_bounds_and_no_sign() {
        assert_eq!(number("addresses", "5", 1, 100), Ok(5));
        for value in ["", "0", "101", "+5", "-5", "5.0", "99999999999"] {
            let error = number("addresses", value, 1, 100).unwrap_err();
            assert!(error.contains("`addresses`") && error.ends_with("from 1 to 100"), "{error}");
        }
    }

    #[test]
    fn an_error_has_the_words_that_would_be_valid() {
        assert_eq!(
            choice("start", "never", &[("login", 1), ("day", 2)]).unwrap_err(),
            "`start` is \"never\"; it can be \"login\", \"day\""
        );
        let known = [Description { name: "interval", kind: "duration", default: "10m", doc: "" }];
        assert_eq!(unknown("intervall", &known), "unknown setting `intervall`; known settings: interval");
    }
}
