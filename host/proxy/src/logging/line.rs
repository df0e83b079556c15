//! How an event becomes a line: for people, or as a JSON object. Each session has a line, so
//! what this costs is a good part of what a denied poll costs.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Lines;
use reprieve_text::escape;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// For people: time, level, part, message, then `name=value`.
    Plain,
    /// The same in colours.
    Coloured,
    /// One JSON object a line: `timestamp`, `level`, the fields, `target`.
    Json,
}

/// Writes each event as a line.
pub(super) struct Written {
    pub(super) look: Look,
    pub(super) lines: Lines,
}

thread_local! {
    /// The line that is put together.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
    /// The latest second that a line was written in, since 1970, and its words.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

impl<S: Subscriber> Layer<S> for Written {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => {
                line.clear();
                put_together(&mut line, self.look, since, event);
                self.lines.add(&line);
            }
            // A value that logs while it is written.
            Err(_) => {
                let mut line = String::new();
                put_together(&mut line, self.look, since, event);
                self.lines.add(&line);
            }
        });
    }
}

fn put_together(line: &mut String, look: Look, since: Duration, event: &Event<'_>) {
    let metadata = event.metadata();
    let (level, target) = (*metadata.level(), metadata.target());
    match look {
        Look::Json => {
            line.push_str("{\"timestamp\":\"");
            time(line, since);
            line.push_str("\",\"level\":\"");
            line.push_str(level.as_str());
            line.push('"');
            event.record(&mut Json(line));
            line.push_str(",\"target\":");
            json(line, &target);
            line.push('}');
            escape::escape_json(line, 0);
        }
        Look::Plain => {
            time(line, since);
            line.push(' ');
            line.push_str(word(level));
            line.push(' ');
            line.push_str(target);
            line.push(':');
            event.record(&mut Text { line, names: ("", "") });
        }
        Look::Coloured => {
            line.push_str("\x1b[2m");
            time(line, since);
            let _ = write!(line, "\x1b[0m {}{}\x1b[0m \x1b[2m{target}:\x1b[0m", colour(level), word(level));
            event.record(&mut Text { line, names: ("\x1b[2m", "\x1b[0m") });
        }
    }
    line.push('\n');
}

/// Five letters wide.
fn word(level: Level) -> &'static str {
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

/// The time as RFC 3339 writes it, in UTC, to the microsecond.
fn time(line: &mut String, since: Duration) {
    SECOND.with_borrow_mut(|(second, words)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            let seconds = i64::try_from(*second).unwrap_or(i64::MAX);
            let moment = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
            *words = moment.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        line.push_str(words);
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

/// Fields for people. What is between the names and around them: colours, or nothing.
struct Text<'l> {
    line: &'l mut String,
    names: (&'static str, &'static str),
}

impl Text<'_> {
    fn name(&mut self, field: &Field) {
        self.line.push(' ');
        self.line.push_str(self.names.0);
        self.line.push_str(field.name());
        self.line.push('=');
        self.line.push_str(self.names.1);
    }

    fn number(&mut self, field: &Field, number: impl itoa::Integer) {
        self.name(field);
        self.line.push_str(itoa::Buffer::new().format(number));
    }
}

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.record_debug(field, &format_args!("{value}"));
        }
        self.name(field);
        let is_simple = |octet: u8| matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\';
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
        // Nobody outside writes lines of their own into the log, or to its terminal.
        let _ = write!(Harmless(self.line), "{value:?}");
    }
}

/// Text in which active characters are escaped.
struct Harmless<'l>(&'l mut String);

impl fmt::Write for Harmless<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape::push(self.0, text);
        Ok(())
    }
}

/// Fields of a JSON object, each after a comma.
struct Json<'l>(&'l mut String);

impl Json<'_> {
    fn add(&mut self, field: &Field, value: &impl Serialize) {
        self.0.push_str(",\"");
        // Names are the code's own: nothing in them is to be escaped.
        self.0.push_str(field.name());
        self.0.push_str("\":");
        json(self.0, value);
    }
}

fn json(line: &mut String, value: &impl Serialize) {
    /// JSON is UTF-8, and serde_json writes it in whole characters.
    struct Characters<'l>(&'l mut String);
    impl std::io::Write for Characters<'_> {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.push_str(str::from_utf8(octets).map_err(std::io::Error::other)?);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    if serde_json::to_writer(Characters(line), value).is_err() {
        line.push_str("null");
    }
}

impl Visit for Json<'_> {
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

    /// The lines that something logs, without their times.
    fn lines(look: Look, something: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let written = Written { look, lines: lines.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(written), something);
        let waiting = String::from_utf8(lines.0.0.lock().octets.clone()).unwrap();
        waiting.lines().map(str::to_owned).collect()
    }

    #[test]
    fn nobody_turns_a_line_around_or_ends_it() {
        let name = "a\u{202e}b\u{2028}c\u{200f}d\u{85}e\u{7f}";
        for look in [Look::Plain, Look::Coloured, Look::Json] {
            let lines = lines(look, || {
                tracing::info!(target: "x", name, why = %name, again = ?Some(name), "{name}");
            });
            assert_eq!(lines.len(), 1);
            let mut text = lines[0].clone();
            if look == Look::Json {
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
    fn people_read_time_level_part_message_and_fields() {
        let lines = lines(Look::Plain, || {
            tracing::info!(target: "session", id = "0a", octets = 7_u64, below = -3, ok = true, "session");
            tracing::warn!(target: "policy", peer = %"[::1]:4", why = ?Some("x"), share = 0.5, "it {}", "failed");
            tracing::error!(target: "x", name = "a\"b\\c\u{7}\n", "two\nlines\u{1b}[31m");
        });
        let after_time: Vec<_> = lines.iter().map(|line| &line[27..]).collect();
        assert_eq!(
            after_time,
            [
                r#"  INFO session: session id="0a" octets=7 below=-3 ok=true"#,
                r#"  WARN policy: it failed peer=[::1]:4 why=Some("x") share=0.5"#,
                r#" ERROR x: two\nlines\u{1b}[31m name="a\"b\\c\u{7}\n""#,
            ]
        );
    }

    #[test]
    fn programs_read_an_object_a_line() {
        let lines = lines(Look::Json, || {
            tracing::info!(target: "session", id = "0a\"\n", octets = 7_u64, below = -3, ok = true, "session");
            tracing::warn!(target: "policy", peer = %"[::1]:4", share = 0.5, none = f64::NAN, "it {}", "failed");
        });
        let read: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (read, expected) in read.into_iter().zip([
            serde_json::json!({
                "level": "INFO", "target": "session", "message": "session",
                "id": "0a\"\n", "octets": 7, "below": -3, "ok": true,
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
    fn terminals_show_levels_in_colours_and_never_those_of_others() {
        let lines = lines(Look::Coloured, || tracing::warn!(target: "x", a = 1, "hi \u{1b}[0m"));
        assert_eq!(
            &lines[0][36..],
            "\u{1b}[33m WARN\u{1b}[0m \u{1b}[2mx:\u{1b}[0m hi \\u{1b}[0m \u{1b}[2ma=\u{1b}[0m1"
        );
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        let mut line = String::new();
        time(&mut line, Duration::new(1_795_831_858, 7_000));
        assert_eq!(line, "2026-11-28T02:10:58.000007Z");
        time(&mut line, Duration::new(0, 999_999_999));
        assert!(line.ends_with("1970-01-01T00:00:00.999999Z"), "{line}");
    }

    #[test]
    fn a_value_that_logs_while_it_is_written_harms_nobody() {
        struct Logs;
        impl fmt::Debug for Logs {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::info!(target: "inner", "within");
                f.write_str("logs")
            }
        }
        let lines = lines(Look::Plain, || tracing::info!(target: "outer", value = ?Logs, "without"));
        assert!(lines[lines.len() - 1].ends_with("outer: without value=logs"), "{lines:?}");
    }
}
