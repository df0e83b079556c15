//! Lines and logs that could not be read: counted, with the first examples. A replay continues
//! after them.

use std::fmt;

use serde::Serialize;

use reprieve_text::escape;

/// How many examples are kept.
const MAX_EXAMPLES: usize = 5;
/// How many characters of a line are shown.
const EXCERPT_CHARS: usize = 100;

/// A line that could not be read, or after which the log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Problem {
    /// Name of the log.
    pub log: String,
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
    /// The beginning of the line, with control characters escaped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Problem {
    pub(super) fn new(log: &str, line: u64, reason: &str, text: &[u8]) -> Self {
        Self { log: log.to_owned(), line, reason: reason.to_owned(), text: excerpt(text) }
    }
}

/// What could not be read.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Problems {
    /// Number of lines that seem to describe a login but cannot be parsed.
    pub malformed_lines: u64,
    /// The first of them.
    pub examples: Vec<Problem>,
    /// Logs that could not be read to their end.
    pub truncated_logs: Vec<Problem>,
    /// Logs of which most could not be read: a report from the rest would be misleading.
    pub mostly_unread: Vec<MostlyUnread>,
    /// Logs in which no login was found.
    pub without_logins: Vec<LogWithoutLogins>,
    /// Logs with a 29 February in a year that has none.
    pub wrong_years: Vec<WrongYear>,
    /// Number of logins that are so far out of order that they were not replayed in their order.
    pub out_of_order: u64,
}

/// A log of which most could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct MostlyUnread {
    /// Number of lines that could not be read.
    pub unread: u64,
    /// Number of lines that they are compared with: all lines or those about logins.
    pub of: u64,
    /// Whether `of` is the number of all lines.
    pub all_lines: bool,
    /// The first line that could not be read.
    pub first: Problem,
}

/// A log in which no login was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct LogWithoutLogins {
    /// Name of the log.
    pub log: String,
    /// What it contains, as text.
    pub contents: String,
}

/// A log with a 29 February in a year that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct WrongYear {
    /// Name of the log.
    pub log: String,
    /// The year that was given or guessed.
    pub year: i16,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.log, self.line, self.reason)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl fmt::Display for MostlyUnread {
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
            "{log} has a 29 February, but {year} is not a leap year: that day and later ones are shown one day late; set the right year with --year"
        )
    }
}

impl Problems {
    pub(super) fn add_malformed(&mut self, log: &str, line: u64, reason: &str, text: &[u8]) {
        self.malformed_lines += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(Problem::new(log, line, reason, text));
        }
    }

    /// Adds the malformed lines of `other`.
    pub(super) fn merge_malformed(&mut self, other: &Self) {
        self.malformed_lines += other.malformed_lines;
        let room = MAX_EXAMPLES - self.examples.len();
        self.examples.extend(other.examples.iter().take(room).cloned());
    }

    pub(super) fn add_truncated_log(&mut self, log: &str, line: u64, error: &std::io::Error) {
        let text = String::new();
        self.truncated_logs.push(Problem { log: log.to_owned(), line, reason: error.to_string(), text });
    }
}

/// The beginning of a text, with control characters escaped.
pub(super) fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(EXCERPT_CHARS * 4)]).into_owned();
    let mut excerpt = String::new();
    escape::push(&mut excerpt, &text.chars().take(EXCERPT_CHARS).collect::<String>());
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_escaped_and_short() {
        assert_eq!(excerpt(b"a\x1b[2J\0\xff\n"), "a\\u{1b}[2J\\u{0}\u{fffd}\\n");
        assert_eq!(excerpt("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert_eq!(excerpt(&[b'x'; 1000]).chars().count(), EXCERPT_CHARS + 1);
    }

    #[test]
    fn only_the_first_examples_are_kept() {
        let mut problems = Problems::default();
        for line in 1..1000 {
            problems.add_malformed("mail.log", line, "no such date", b"x");
        }
        assert_eq!((problems.malformed_lines, problems.examples.len()), (999, MAX_EXAMPLES));
    }
}
