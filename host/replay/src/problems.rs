//! What could not be read: counted, with the first examples. It ends nothing.

use std::fmt;

use serde::Serialize;

use reprieve_text::escape;

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

impl Problem {
    pub(super) fn new(log: &str, line: u64, why: &str, text: &[u8]) -> Self {
        Self { log: log.to_owned(), line, why: why.to_owned(), text: shown(text) }
    }
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
    /// Logs of which most could not be read: a report from the rest would mislead.
    pub mostly_unread: Vec<Unread>,
    /// Logs in which no login was found.
    pub without_logins: Vec<WithoutLogins>,
    /// Logs with a 29 February in a year that has none.
    pub wrong_years: Vec<WrongYear>,
    /// Logins that came later than others that had happened after them.
    pub out_of_order: u64,
}

/// A log of which most could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unread {
    /// Lines that could not be read.
    pub unread: u64,
    /// Of so many: those about logins, or all.
    pub of: u64,
    /// Whether all lines were counted, not only those about logins.
    pub all_lines: bool,
    /// The first that could not be read.
    pub first: Problem,
}

/// A log in which no login was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WithoutLogins {
    /// The log.
    pub log: String,
    /// What it has instead.
    pub saw: String,
}

/// A log with a 29 February in a year that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WrongYear {
    /// The log.
    pub log: String,
    /// The year that was given or guessed.
    pub year: i16,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.log, self.line, self.why)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unread, of, first, .. } = self;
        let which = if self.all_lines { "lines" } else { "lines about logins" };
        write!(f, "{}: {unread} of {of} {which} could not be read, the first:\n  {first}", first.log)
    }
}

impl fmt::Display for WrongYear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, year } = self;
        write!(
            f,
            "{log} has a 29 February, and {year} has none: it and the days after it are shown one day late; name the right year by --year"
        )
    }
}

impl Problems {
    pub(super) fn malformed(&mut self, log: &str, line: u64, why: &str, text: &[u8]) {
        self.malformed_lines += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Problem::new(log, line, why, text));
        }
    }

    /// Takes over lines that could not be read before others were.
    pub(super) fn add_malformed(&mut self, before: &Self) {
        self.malformed_lines += before.malformed_lines;
        let room = EXAMPLES - self.examples.len();
        self.examples.extend(before.examples.iter().take(room).cloned());
    }

    pub(super) fn cut_off(&mut self, log: &str, line: u64, why: &std::io::Error) {
        let text = String::new();
        self.cut_off.push(Problem { log: log.to_owned(), line, why: why.to_string(), text });
    }
}

/// The beginning of a line as it can be shown anywhere.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN * 4)]).into_owned();
    let mut shown = String::new();
    escape::push(&mut shown, &text.chars().take(SHOWN).collect::<String>());
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
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
