//! The most recent warnings and errors of the log, for the dashboard.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use reprieve_text::escape;

/// How many lines are kept.
const MAX_LINES: usize = 100;
/// Maximum length of a line in bytes; longer ones are truncated.
const LINE_LIMIT: usize = 400;

/// A warning or an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecentLine {
    /// Time of the last occurrence in Unix milliseconds.
    pub at_ms: u64,
    /// `warn` or `error`.
    pub level: &'static str,
    /// The part of Reprieve that logged it.
    pub part: &'static str,
    /// Message and fields.
    pub text: String,
    /// Number of consecutive occurrences.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Kept {
    /// Number of all occurrences so far.
    total: u64,
    lines: VecDeque<RecentLine>,
}

/// Keeps the most recent warnings and errors, also if the log filter leaves others out.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

impl Recent {
    /// A number that changes with each new line.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.lock().total
    }

    /// The kept lines, newest first.
    #[must_use]
    pub fn lines(&self) -> Vec<RecentLine> {
        self.0.lock().lines.iter().rev().cloned().collect()
    }

    fn keep(&self, level: &'static str, part: &'static str, text: String) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut kept = self.0.lock();
        kept.total += 1;
        if let Some(last) = kept.lines.back_mut()
            && (last.level, last.part, &last.text) == (level, part, &text)
        {
            last.count += 1;
            last.at_ms = at_ms;
            return;
        }
        if kept.lines.len() == MAX_LINES {
            kept.lines.pop_front();
        }
        kept.lines.push_back(RecentLine { at_ms, level, part, text, count: 1 });
    }
}

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => return,
        };
        let mut line = Line::default();
        event.record(&mut line);
        let target = event.metadata().target();
        let part = target.strip_prefix("reprieve::").unwrap_or(target);
        self.keep(level, part.split("::").next().unwrap_or(part), line.text());
    }
}

/// A line that is being formatted: the message, then the fields.
#[derive(Default)]
struct Line {
    message: LimitedText,
    fields: LimitedText,
}

/// Escaped text of at most [`LINE_LIMIT`] bytes.
#[derive(Default)]
struct LimitedText(String);

impl fmt::Write for LimitedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = |kept: &str| LINE_LIMIT.saturating_sub(kept.len());
        // Escape only as much as fits, because the text may be very long.
        let mut escaped = String::new();
        escape::push(&mut escaped, &text[..text.floor_char_boundary(room(&self.0))]);
        self.0.push_str(&escaped[..escaped.floor_char_boundary(room(&self.0))]);
        Ok(())
    }
}

impl Line {
    fn text(mut self) -> String {
        let _ = self.message.write_str(&self.fields.0);
        self.message.0.trim().to_owned()
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn warnings_and_errors_are_kept_up_to_a_limit_and_repetitions_are_counted() {
        let recent = Recent::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(recent.clone()), || {
            tracing::info!("not kept");
            tracing::warn!(server = "pop3", count = 3, "a warning");
            for _ in 0..5 {
                tracing::error!("again");
            }
        });
        let lines = recent.lines();
        let kept: Vec<_> = lines.iter().map(|line| (line.level, &*line.text, line.count)).collect();
        assert_eq!(kept, [("error", "again", 5), ("warn", "a warning server=pop3 count=3", 1)]);
        assert_eq!((lines[0].part, recent.newest()), ("logging", 6));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(recent.clone()), || {
            for number in 0..1000 {
                tracing::warn!("{number} {}", "ü".repeat(10_000));
            }
        });
        let lines = recent.lines();
        assert_eq!(lines.len(), MAX_LINES);
        assert!(lines.iter().all(|line| line.text.len() <= LINE_LIMIT && line.text.ends_with('ü')));
        assert!(lines[0].text.starts_with("999 "));
    }

    #[test]
    fn characters_that_could_reverse_a_line_are_escaped() {
        let recent = Recent::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(recent.clone()), || {
            tracing::warn!(user = "a\u{202e}b\u{2028}c", error = %"d\u{2066}e\u{1b}[0m", "f\u{200f}");
        });
        let expected = "f\\u{200f} user=a\\u{202e}b\\u{2028}c error=d\\u{2066}e\\u{1b}[0m";
        assert_eq!(recent.lines()[0].text, expected);
    }
}
