//! User names: bytes in POP3, text for policies, logs and administrators.

/// Whether user names that differ only in the case of ASCII letters belong to the same maildrop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameCase {
    /// They belong to different maildrops.
    #[default]
    Exact,
    /// They belong to the same maildrop: the mail server ignores case.
    Fold,
}

/// Which spellings of a user name mean the same maildrop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSpelling {
    /// Whether the case of letters matters.
    pub case: NameCase,
    /// The domain of names without `@`.
    pub default_domain: Option<String>,
}

impl NameSpelling {
    /// The name under which Reprieve keeps the user.
    #[must_use]
    pub fn canonical(&self, name: &[u8]) -> Vec<u8> {
        let mut name = name.to_vec();
        if let Some(domain) = &self.default_domain
            && memchr::memchr(b'@', &name).is_none()
        {
            name.push(b'@');
            name.extend_from_slice(domain.as_bytes());
        }
        if self.case == NameCase::Fold {
            name.make_ascii_lowercase();
        }
        name
    }
}

/// A name as text, in a form that is different for any two names.
///
/// A name in UTF-8 stays as it is unless it contains `\x`. In any other name, each byte that is not
/// UTF-8 becomes `\xHH`, and each backslash is doubled.
#[must_use]
pub fn readable(name: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(name)
        && (memchr::memchr(b'\\', name).is_none() || !text.contains("\\x"))
    {
        return text.to_owned();
    }
    let mut out = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        out.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    out
}

/// The name for a text in the form of [`readable`], which an administrator may have typed.
#[must_use]
pub fn from_readable(text: &str) -> Vec<u8> {
    if !text.contains("\\x") {
        return text.as_bytes().to_vec();
    }
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match tail {
            [b'\\', after @ ..] if first == b'\\' => Some((b'\\', after)),
            [b'x', high, low, after @ ..] if first == b'\\' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
                digit(high).zip(digit(low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((first, tail));
        name.push(byte);
        rest = after;
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_names_have_the_same_text_and_each_text_leads_back() {
        let parts: [&[u8]; 9] =
            [b"m", b"\xFC", b"\xF6", b"\\", b"x", b"FC", "\u{FFFD}".as_bytes(), "ü".as_bytes(), b"@"];
        let mut names: Vec<Vec<u8>> = vec![Vec::new()];
        let mut seen = HashSet::new();
        for _ in 0..5 {
            let longer: Vec<Vec<u8>> =
                names.iter().flat_map(|name| parts.iter().map(move |part| [name, *part].concat())).collect();
            names = longer;
            // Some names arise twice: parts can add up to other parts.
            names.sort();
            names.dedup();
            for name in &names {
                let text = readable(name);
                assert_eq!(from_readable(&text), *name, "{text}");
                assert!(seen.insert(text), "{}", name.escape_ascii());
            }
        }
    }

    #[test]
    fn names_in_utf8_stay_as_they_are() {
        for name in ["alice", "DOMAIN\\alice", "müller@example.org", "a\\\\b"] {
            assert_eq!(readable(name.as_bytes()), name);
            assert_eq!(from_readable(name), name.as_bytes());
        }
        assert_eq!(readable(b"m\xFCller"), "m\\xFCller");
        assert_eq!(readable(b"m\\xFCller"), "m\\\\xFCller");
    }

    #[test]
    fn only_ascii_letters_are_folded() {
        let of = |case| NameSpelling { case, default_domain: None };
        assert_eq!(of(NameCase::Fold).canonical("ÄLICE\u{C4}".as_bytes()), "Älice\u{C4}".as_bytes());
        assert_eq!(of(NameCase::Exact).canonical(b"Alice"), b"Alice");
    }

    #[test]
    fn only_names_without_a_domain_get_the_default_domain() {
        for (case, given, expected) in [
            (NameCase::Exact, "alice", "alice@Example.org"),
            (NameCase::Exact, "alice@", "alice@"),
            (NameCase::Exact, "alice@example.com", "alice@example.com"),
            (NameCase::Fold, "Alice", "alice@example.org"),
        ] {
            let spelling = NameSpelling { case, default_domain: Some("Example.org".into()) };
            assert_eq!(spelling.canonical(given.as_bytes()), expected.as_bytes());
        }
    }
}
