//! Lines in which a syslog daemon counts repetitions of a message:
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
/// The most repetitions that are accepted: a short line must not keep a replay busy for hours.
const MAX_REPETITIONS: u32 = 10_000;

/// The repetitions that a line counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// This line was written so many times.
    Quoted(String, u32),
    /// The previous line was written so many more times. syslog-ng quotes only its beginning.
    Previous(u32),
    /// More than [`MAX_REPETITIONS`].
    TooOften,
}

/// Parses a line that counts repetitions. None for any other line.
pub(super) fn parse(line: &str) -> Option<Repeated> {
    REPEATED.find(line.as_bytes())?;
    let message = syslog::split(line)?.message;
    let message = message.trim_start_matches(['-', ' ']);
    if let Some(rest) = message.strip_prefix("message repeated ") {
        let (times, rest) = times(rest)?;
        let inner = rest.strip_prefix(": [")?.strip_suffix(']')?;
        // The header of this line is the header of the repeated one.
        let header = &line[..line.len() - message.len()];
        return Some(bounded(times, |times| {
            Repeated::Quoted(format!("{}{}", header, inner.strip_prefix(' ').unwrap_or(inner)), times)
        }));
    }
    // After "syslogd: ", or without the name of a program.
    let rest = message.strip_prefix("last message ").or_else(|| message.strip_prefix("Last message "))?;
    let (before, after) = rest.rsplit_once("repeated ")?;
    let is_count = before.is_empty() || (before.starts_with('\'') && before.ends_with("' "));
    let (times, _) = is_count.then(|| times(after))??;
    Some(bounded(times, Repeated::Previous))
}

fn bounded(times: Option<u32>, repeated: impl FnOnce(u32) -> Repeated) -> Repeated {
    match times {
        Some(times) if times <= MAX_REPETITIONS => repeated(times),
        _ => Repeated::TooOften,
    }
}

/// Splits `3 times` from the rest. The inner option is none if the number is too large.
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
    fn counted_repetitions_are_parsed() {
        let line = |line: &str, times| Some(Repeated::Quoted(line.to_owned(), times));
        for (text, expected) in [
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
            ("Nov 27 22:11:26 mx last message repeated 3 times", Some(Repeated::Previous(3))),
            ("Nov 27 22:11:26 mx syslogd: last message repeated 1 time", Some(Repeated::Previous(1))),
            ("Nov 27 22:11:26 mx --- last message repeated 4 times ---", Some(Repeated::Previous(4))),
            (
                "Nov 27 22:11:26 mx dovecot: Last message 'pop3-login: Login: u' repeated 5 times, suppressed by syslog-ng on mx",
                Some(Repeated::Previous(5)),
            ),
            ("Nov 27 22:11:26 mx last message repeated 99999999999 times", Some(Repeated::TooOften)),
            ("Nov 27 22:11:26 mx last message repeated 10001 times", Some(Repeated::TooOften)),
            ("Nov 27 22:11:26 mx last message repeated many times", None),
            ("Nov 27 22:11:26 mx dovecot: pop3-login: message repeated 3 times: [ x", None),
            ("Nov 27 22:11:26 mx dovecot: Login: user=<last message repeated 3 times>", None),
            ("last message repeated 3 times", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
