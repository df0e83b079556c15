//! Lines in which a syslog daemon says that a message came several times:
//!
//! ```text
//! Nov 27 22:11:26 mx dovecot: message repeated 3 times: [ pop3-login: Login: user=<alice>, …]   (rsyslog)
//! Nov 27 22:11:26 mx last message repeated 3 times                              (sysklogd, BSD, busybox)
//! Nov 27 22:11:26 mx dovecot: Last message 'pop3-login: Login: u' repeated 3 times, suppressed by syslog-ng on mx
//! ```

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::syslog;

static REPEATED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(" repeated "));
/// Repetitions that are believed: a line of a few bytes is not to keep a replay busy for hours.
const MOST: u32 = 10_000;

/// What a line says of other lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// This line came so many times.
    Line(String, u32),
    /// The line before came so many times more; syslog-ng quotes only its beginning.
    Before(u32),
    /// More often than is believed.
    TooOften,
}

/// What the line says of others, if it does.
pub(super) fn read(line: &str) -> Option<Repeated> {
    REPEATED.find(line.as_bytes())?;
    let message = syslog::split(line)?.message;
    let message = message.trim_start_matches(['-', ' ']);
    if let Some(rest) = message.strip_prefix("message repeated ") {
        let (times, rest) = times(rest)?;
        let inner = rest.strip_prefix(": [")?.strip_suffix(']')?;
        // What stood before the message stands before the note.
        let before = &line[..line.len() - message.len()];
        return Some(bounded(times, |times| {
            Repeated::Line(format!("{}{}", before, inner.strip_prefix(' ').unwrap_or(inner)), times)
        }));
    }
    // After "syslogd: ", or without a program.
    let rest = message.strip_prefix("last message ").or_else(|| message.strip_prefix("Last message "))?;
    let (before, after) = rest.rsplit_once("repeated ")?;
    let is_note = before.is_empty() || (before.starts_with('\'') && before.ends_with("' "));
    let (times, _) = is_note.then(|| times(after))??;
    Some(bounded(times, Repeated::Before))
}

fn bounded(times: Option<u32>, repeated: impl FnOnce(u32) -> Repeated) -> Repeated {
    match times {
        Some(times) if times <= MOST => repeated(times),
        _ => Repeated::TooOften,
    }
}

/// `3 times`, and what follows; the inner none is a number that does not fit.
fn times(text: &str) -> Option<(Option<u32>, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let rest = rest.strip_prefix(" times").or_else(|| rest.strip_prefix(" time"))?;
    (digits > 0).then(|| (number.parse().ok(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_daemons_say_of_repetitions_is_read() {
        let line = |line: &str, times| Some(Repeated::Line(line.to_owned(), times));
        for (note, expected) in [
            (
                "Nov 27 22:11:26 mx dovecot: message repeated 3 times: [ pop3-login: Login: user=<a>, x]",
                line("Nov 27 22:11:26 mx dovecot: pop3-login: Login: user=<a>, x", 3),
            ),
            (
                "<22>1 2026-11-27T22:11:26Z mx pop3d 812 - - message repeated 2 times: [LOGIN, user=a]",
                line("<22>1 2026-11-27T22:11:26Z mx pop3d 812 - - LOGIN, user=a", 2),
            ),
            (
                "2026-11-27T22:11:26.123456+01:00 mx cyrus/pop3[812]: message repeated 1 times: [ login: [192.0.2.7] a]",
                line("2026-11-27T22:11:26.123456+01:00 mx cyrus/pop3[812]: login: [192.0.2.7] a", 1),
            ),
            ("Nov 27 22:11:26 mx last message repeated 3 times", Some(Repeated::Before(3))),
            ("Nov 27 22:11:26 mx syslogd: last message repeated 1 time", Some(Repeated::Before(1))),
            ("Nov 27 22:11:26 mx --- last message repeated 4 times ---", Some(Repeated::Before(4))),
            (
                "Nov 27 22:11:26 mx dovecot: Last message 'pop3-login: Login: u' repeated 5 times, suppressed by syslog-ng on mx",
                Some(Repeated::Before(5)),
            ),
            ("Nov 27 22:11:26 mx last message repeated 99999999999 times", Some(Repeated::TooOften)),
            ("Nov 27 22:11:26 mx last message repeated 10001 times", Some(Repeated::TooOften)),
            ("Nov 27 22:11:26 mx last message repeated many times", None),
            ("Nov 27 22:11:26 mx dovecot: pop3-login: message repeated 3 times: [ x", None),
            ("Nov 27 22:11:26 mx dovecot: Login: user=<last message repeated 3 times>", None),
            ("last message repeated 3 times", None),
        ] {
            assert_eq!(read(note), expected, "{note}");
        }
    }
}
