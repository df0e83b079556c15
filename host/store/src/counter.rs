//! The stored form of a counter: a signed 64-bit integer in canonical decimal digits.

/// Parses a counter. None if the bytes are not exactly what `increment` would have written.
pub(super) fn parse(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits {
        b"0" => bytes.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical.then(|| std::str::from_utf8(bytes).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_what_increment_writes_is_a_counter() {
        for (text, number) in [("0", 0), ("-7", -7), ("9223372036854775807", i64::MAX)] {
            assert_eq!(parse(text.as_bytes()), Some(number));
        }
        assert_eq!(parse(b"-9223372036854775808"), Some(i64::MIN));
        for wrong in ["", "-", "-0", "+5", "007", "1 ", "1.0", "0x1", "9223372036854775808", "\u{661}"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
