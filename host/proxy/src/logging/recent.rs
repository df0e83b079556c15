//! The last warnings and errors of the log, for those who look at a running Reprieve.

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

/// Lines that are kept.
const KEPT: usize = 100;
/// Octets of a line; the rest is cut.
const LINE: usize = 400;

/// A warning or an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// When it was last so, in Unix milliseconds.
    pub at_ms: u64,
    /// `warn` or `error`.
    pub level: &'static str,
    /// The part of Reprieve that says so.
    pub part: &'static str,
    /// What it says.
    pub text: String,
    /// How often in a row.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Kept {
    /// How many there were.
    number: u64,
    lines: VecDeque<Trouble>,
}

/// Keeps them: each at what the log writes, whatever else it writes.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

impl Recent {
    /// A number that is another one whenever there is something new.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.lock().number
    }

    /// What is kept, newest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Trouble> {
        self.0.lock().lines.iter().rev().cloned().collect()
    }

    fn keep(&self, level: &'static str, part: &'static str, text: String) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut kept = self.0.lock();
        kept.number += 1;
        if let Some(last) = kept.lines.back_mut()
            && (last.level, last.part, &last.text) == (level, part, &text)
        {
            last.count += 1;
            last.at_ms = at_ms;
            return;
        }
        if kept.lines.len() == KEPT {
            kept.lines.pop_front();
        }
        kept.lines.push_back(Trouble { at_ms, level, part, text, count: 1 });
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

/// A line as it is put together: the message, then what it is about.
#[derive(Default)]
struct Line {
    message: Cut,
    fields: Cut,
}

/// Text up to a length.
#[derive(Default)]
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = |kept: &str| LINE.saturating_sub(kept.len());
        // No more than has room is looked at, however long it is.
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
    fn warnings_and_errors_are_kept_bounded_and_repetition_is_counted() {
        let recent = Recent::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(recent.clone()), || {
            tracing::info!("nothing to see");
            tracing::warn!(server = "pop3", count = 3, "a warning");
            for _ in 0..5 {
                tracing::error!("again");
            }
        });
        let lines = recent.lines();
        let told: Vec<_> = lines.iter().map(|line| (line.level, &*line.text, line.count)).collect();
        assert_eq!(told, [("error", "again", 5), ("warn", "a warning server=pop3 count=3", 1)]);
        assert_eq!((lines[0].part, recent.newest()), ("logging", 6));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(recent.clone()), || {
            for number in 0..1000 {
                tracing::warn!("{number} {}", "ü".repeat(10_000));
            }
        });
        let lines = recent.lines();
        assert_eq!(lines.len(), KEPT);
        assert!(lines.iter().all(|line| line.text.len() <= LINE && line.text.ends_with('ü')));
        assert!(lines[0].text.starts_with("999 "));
    }

    #[test]
    fn what_others_say_is_kept_without_characters_that_turn_a_line_around() {
        let recent = Recent::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(recent.clone()), || {
            tracing::warn!(user = "a\u{202e}b\u{2028}c", error = %"d\u{2066}e\u{1b}[0m", "f\u{200f}");
        });
        let told = "f\\u{200f} user=a\\u{202e}b\\u{2028}c error=d\\u{2066}e\\u{1b}[0m";
        assert_eq!(recent.lines()[0].text, told);
    }
}
