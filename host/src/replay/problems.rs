//! What could not be read: counted, with the first examples. It ends nothing.

use serde::Serialize;

/// Examples that are kept.
const EXAMPLES: usize = 5;
/// Characters of a line that are shown.
const SHOWN: usize = 100;

/// A line that could not be read, or a log that could not be read further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// The log.
    pub log: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
    /// How the line begins, control characters escaped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// Counts what could not be read.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problems {
    /// Lines that tell of a login, or claim to, and cannot be read.
    pub malformed_lines: u64,
    /// The first of them.
    pub examples: Vec<Problem>,
    /// Logs that ended before their end.
    pub cut_off: Vec<Problem>,
    /// Logs in which no login was found.
    pub without_logins: Vec<String>,
    /// Logins that came later than others that had happened after them.
    pub out_of_order: u64,
}

impl Problems {
    pub(super) fn malformed(&mut self, log: &str, line: u64, why: &str, text: &[u8]) {
        self.malformed_lines += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Problem { log: log.to_owned(), line, why: why.to_owned(), text: shown(text) });
        }
    }

    pub(super) fn cut_off(&mut self, log: &str, line: u64, why: &std::io::Error) {
        let text = String::new();
        self.cut_off.push(Problem { log: log.to_owned(), line, why: why.to_string(), text });
    }
}

/// The beginning of a line as it can be shown anywhere.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN * 4)]).into_owned();
    let mut shown: String = text.chars().take(SHOWN).flat_map(harmless).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Characters that would move a cursor or turn a line around are escaped.
fn harmless(character: char) -> impl Iterator<Item = char> {
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escaped = character.is_control() || turns;
    let (plain, escape) =
        if escaped { (None, Some(character.escape_default())) } else { (Some(character), None) };
    plain.into_iter().chain(escape.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_harmless_and_short() {
        assert_eq!(shown(b"a\x1b[2J\0\xff\n"), "a\\u{1b}[2J\\u{0}\u{fffd}\\n");
        assert_eq!(shown("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert_eq!(shown(&[b'x'; 1000]).chars().count(), SHOWN + 1);
    }

    #[test]
    fn only_the_first_examples_are_kept() {
        let mut problems = Problems::default();
        for line in 1..1000 {
            problems.malformed("mail.log", line, "no such date", b"x");
        }
        assert_eq!((problems.malformed_lines, problems.examples.len()), (999, EXAMPLES));
    }
}
