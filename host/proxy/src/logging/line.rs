//! Formats log events as lines, for people or as JSON objects. This is a considerable part of the
//! cost of a denied poll, because each session has a line.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Lines;
use reprieve_text::escape;

/// Style of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For people: time, level, target, message, then `name=value`.
    Plain,
    /// The same with colours.
    Coloured,
    /// One JSON object per line: `timestamp`, `level`, the fields, `target`.
    Json,
}

/// Adds a line to the log for each event.
pub(super) struct LineLayer {
    pub(super) style: Style,
    pub(super) lines: Lines,
}

thread_local! {
    /// Buffer of the line that is being formatted.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
    /// The second of the last line, since 1970, and its text.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => {
                line.clear();
                format_event(&mut line, self.style, since, event);
                self.lines.add(&line);
            }
            // The value of a field logs an event itself while it is formatted.
            Err(_) => {
                let mut line = String::new();
                format_event(&mut line, self.style, since, event);
                self.lines.add(&line);
            }
        });
    }
}

fn format_event(line: &mut String, style: Style, since: Duration, event: &Event<'_>) {
    let metadata = event.metadata();
    let (level, target) = (*metadata.level(), metadata.target());
    match style {
        Style::Json => {
            line.push_str("{\"timestamp\":\"");
            push_time(line, since);
            line.push_str("\",\"level\":\"");
            line.push_str(level.as_str());
            line.push('"');
            event.record(&mut JsonFields(line));
            line.push_str(",\"target\":");
            push_json(line, &target);
            line.push('}');
            escape::escape_json(line, 0);
        }
        Style::Plain => {
            push_time(line, since);
            line.push(' ');
            line.push_str(level_name(level));
            line.push(' ');
            line.push_str(target);
            line.push(':');
            event.record(&mut TextFields { line, name_colour: ("", "") });
        }
        Style::Coloured => {
            line.push_str("\x1b[2m");
            push_time(line, since);
            let _ =
                write!(line, "\x1b[0m {}{}\x1b[0m \x1b[2m{target}:\x1b[0m", colour(level), level_name(level));
            event.record(&mut TextFields { line, name_colour: ("\x1b[2m", "\x1b[0m") });
        }
    }
    line.push('\n');
}

/// Name of the level, five characters wide.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => " WARN",
        Level::INFO => " INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Appends a time in UTC with microseconds (RFC 3339).
fn push_time(line: &mut String, since: Duration) {
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            let seconds = i64::try_from(*second).unwrap_or(i64::MAX);
            let timestamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
            *text = timestamp.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        line.push_str(text);
    });
    let mut rest = since.subsec_micros();
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    line.push_str(str::from_utf8(&digits).unwrap_or_default());
    line.push('Z');
}

/// Appends fields for people.
struct TextFields<'l> {
    line: &'l mut String,
    /// Escape sequences around names: a colour, or empty.
    name_colour: (&'static str, &'static str),
}

impl TextFields<'_> {
    fn name(&mut self, field: &Field) {
        self.line.push(' ');
        self.line.push_str(self.name_colour.0);
        self.line.push_str(field.name());
        self.line.push('=');
        self.line.push_str(self.name_colour.1);
    }

    fn number(&mut self, field: &Field, number: impl itoa::Integer) {
        self.name(field);
        self.line.push_str(itoa::Buffer::new().format(number));
    }
}

impl Visit for TextFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.record_debug(field, &format_args!("{value}"));
        }
        self.name(field);
        let is_simple = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if value.bytes().all(is_simple) {
            self.line.push('"');
            self.line.push_str(value);
            self.line.push('"');
        } else {
            let _ = write!(self.line, "{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.line.push_str(if value { "true" } else { "false" });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.line.push(' ');
        } else {
            self.name(field);
        }
        // A value from outside must not start a new line or control the terminal.
        let _ = write!(EscapedText(self.line), "{value:?}");
    }
}

/// Appends text with control and bidirectional characters escaped.
struct EscapedText<'l>(&'l mut String);

impl fmt::Write for EscapedText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape::push(self.0, text);
        Ok(())
    }
}

/// Appends fields of a JSON object, each after a comma.
struct JsonFields<'l>(&'l mut String);

impl JsonFields<'_> {
    fn add(&mut self, field: &Field, value: &impl Serialize) {
        self.0.push_str(",\"");
        // Names are literals in our code and need no escaping.
        self.0.push_str(field.name());
        self.0.push_str("\":");
        push_json(self.0, value);
    }
}

fn push_json(line: &mut String, value: &impl Serialize) {
    /// serde_json writes UTF-8 in whole characters.
    struct Utf8Writer<'l>(&'l mut String);
    impl std::io::Write for Utf8Writer<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push_str(str::from_utf8(bytes).map_err(std::io::Error::other)?);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    if serde_json::to_writer(Utf8Writer(line), value).is_err() {
        line.push_str("null");
    }
}

impl Visit for JsonFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The lines that `log` writes.
    fn lines(style: Style, log: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let layer = LineLayer { style, lines: lines.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let waiting = String::from_utf8(lines.0.0.lock().bytes.clone()).unwrap();
        waiting.lines().map(str::to_owned).collect()
    }

    #[test]
    fn values_cannot_reverse_or_end_a_line() {
        let name = "a\u{202e}b\u{2028}c\u{200f}d\u{85}e\u{7f}";
        for style in [Style::Plain, Style::Coloured, Style::Json] {
            let lines = lines(style, || {
                tracing::info!(target: "x", name, why = %name, again = ?Some(name), "{name}");
            });
            assert_eq!(lines.len(), 1);
            let mut text = lines[0].clone();
            if style == Style::Json {
                let line: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!((&line["name"], &line["message"]), (&name.into(), &name.into()));
            }
            for colour in ["\u{1b}[0m", "\u{1b}[2m", "\u{1b}[32m"] {
                text = text.replace(colour, "");
            }
            assert!(!text.contains(escape::is_active), "{text:?}");
        }
    }

    #[test]
    fn a_line_for_people_has_time_level_target_message_and_fields() {
        let lines = lines(Style::Plain, || {
            tracing::info!(target: "session", id = "0a", bytes = 7_u64, below = -3, ok = true, "session");
            tracing::warn!(target: "policy", peer = %"[::1]:4", why = ?Some("x"), share = 0.5, "it {}", "failed");
            tracing::error!(target: "x", name = "a\"b\\c\u{7}\n", "two\nlines\u{1b}[31m");
        });
        let after_time: Vec<_> = lines.iter().map(|line| &line[27..]).collect();
        assert_eq!(
            after_time,
            [
                r#"  INFO session: session id="0a" bytes=7 below=-3 ok=true"#,
                r#"  WARN policy: it failed peer=[::1]:4 why=Some("x") share=0.5"#,
                r#" ERROR x: two\nlines\u{1b}[31m name="a\"b\\c\u{7}\n""#,
            ]
        );
    }

    #[test]
    fn a_json_line_is_an_object_with_all_fields() {
        let lines = lines(Style::Json, || {
            tracing::info!(target: "session", id = "0a\"\n", bytes = 7_u64, below = -3, ok = true, "session");
            tracing::warn!(target: "policy", peer = %"[::1]:4", share = 0.5, none = f64::NAN, "it {}", "failed");
        });
        let read: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (read, expected) in read.into_iter().zip([
            serde_json::json!({
                "level": "INFO", "target": "session", "message": "session",
                "id": "0a\"\n", "bytes": 7, "below": -3, "ok": true,
            }),
            serde_json::json!({
                "level": "WARN", "target": "policy", "message": "it failed",
                "peer": "[::1]:4", "share": 0.5, "none": null,
            }),
        ]) {
            let mut read = read;
            let time = read.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn levels_are_coloured_and_escape_sequences_in_values_are_escaped() {
        let lines = lines(Style::Coloured, || tracing::warn!(target: "x", a = 1, "hi \u{1b}[0m"));
        assert_eq!(
            &lines[0][36..],
            "\u{1b}[33m WARN\u{1b}[0m \u{1b}[2mx:\u{1b}[0m hi \\u{1b}[0m \u{1b}[2ma=\u{1b}[0m1"
        );
    }

    #[test]
    fn times_are_written_as_in_rfc_3339() {
        let mut line = String::new();
        push_time(&mut line, Duration::new(1_795_831_858, 7_000));
        assert_eq!(line, "2026-11-28T02:10:58.000007Z");
        push_time(&mut line, Duration::new(0, 999_999_999));
        assert!(line.ends_with("1970-01-01T00:00:00.999999Z"), "{line}");
    }

    #[test]
    fn a_value_may_log_while_it_is_formatted() {
        struct Logs;
        impl fmt::Debug for Logs {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::info!(target: "inner", "within");
                f.write_str("logs")
            }
        }
        let lines = lines(Style::Plain, || tracing::info!(target: "outer", value = ?Logs, "without"));
        assert!(lines[lines.len() - 1].ends_with("outer: without value=logs"), "{lines:?}");
    }
}
