//! The header of a syslog line, in the notations of syslog daemons and of servers' own log files.
//!
//! RFC 3164: `<22>Nov 27 22:11:26 host tag[pid]: message`, in files usually
//! without the priority. RFC 5424: `<22>1 2026-11-27T22:11:26.123456+01:00 host tag pid id data message`.
//! rsyslog's default for files: `2026-11-27T22:11:26.123456+01:00 host tag[pid]: message`. A server's
//! own log file has neither host nor pid: `Nov 27 22:11:26 tag: message`.

use super::fields::split_once;
use super::timestamp::{self, LogTimestamp};

/// The parts of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) timestamp: LogTimestamp,
    /// Name of the program, without its process id.
    pub(super) tag: &'a str,
    pub(super) message: &'a str,
}

/// Splits a line. None if it does not begin with a timestamp.
pub(super) fn split(line: &str) -> Option<Line<'_>> {
    let (line, is_5424) = without_priority(line);
    let (timestamp, rest) = timestamp::parse_prefix(line)?;
    let rest = rest.strip_prefix(": ").unwrap_or(rest);
    if is_5424 {
        return split_5424(timestamp, rest);
    }
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if let Some(tag) = first.strip_suffix(':') {
        return Some(Line { timestamp, tag: without_pid(tag), message: after });
    }
    // The first word was the host name.
    let (tag, message) = split_once(after, b": ").unwrap_or((after, ""));
    if tag.contains(' ') {
        return Some(Line { timestamp, tag: "", message: after });
    }
    Some(Line { timestamp, tag: without_pid(tag), message })
}

fn without_priority(line: &str) -> (&str, bool) {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let Some((number, rest)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
        return (line, false);
    };
    if number.is_empty() || number.len() > 3 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return (line, false);
    }
    match rest.strip_prefix("1 ") {
        Some(rest) => (rest, true),
        None => (rest, false),
    }
}

/// RFC 5424, section 6: host, program, process, message id, structured data, message.
fn split_5424(timestamp: LogTimestamp, rest: &str) -> Option<Line<'_>> {
    let (_host, rest) = rest.split_once(' ')?;
    let (tag, rest) = rest.split_once(' ')?;
    let (_pid, rest) = rest.split_once(' ')?;
    let (_id, rest) = rest.split_once(' ')?;
    let message = match rest.strip_prefix('-') {
        Some(message) => message,
        None => skip_structured_data(rest)?,
    };
    let message = message.strip_prefix(' ').unwrap_or(message);
    Some(Line { timestamp, tag, message: message.strip_prefix('\u{feff}').unwrap_or(message) })
}

/// Skips the elements `[id name="value" …]`, in whose values `"`, `\` and `]` are escaped.
fn skip_structured_data(text: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let mut inside = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if inside => quoted = !quoted,
            b'[' if !quoted => inside = true,
            b']' if !quoted => inside = false,
            b' ' if !inside => return text.get(at..),
            _ if !inside => return None,
            _ => {}
        }
    }
    (!inside).then_some("")
}

fn without_pid(tag: &str) -> &str {
    tag.split_once('[').map_or(tag, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_every_notation() {
        for line in [
            "Nov 27 22:11:26 mx dovecot: pop3-login: Login: x",
            "Nov 27 22:11:26 mx dovecot[812]: pop3-login: Login: x",
            "<22>Nov 27 22:11:26 mx dovecot: pop3-login: Login: x",
            "<22>1 2026-11-27T22:11:26.123456+01:00 mx dovecot 812 - - pop3-login: Login: x",
            "<22>1 2026-11-27T22:11:26Z mx dovecot - ID47 [a@1 b=\"]\\\"\"][c d=\"e\"] \u{feff}pop3-login: Login: x",
            "2026-11-27T22:11:26.123456+01:00 mx dovecot: pop3-login: Login: x",
            "2026-11-27T22:11:26+0100 mx dovecot[812]: pop3-login: Login: x",
            "2026-11-27 22:11:26 dovecot: pop3-login: Login: x",
        ] {
            let split = split(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((split.tag, split.message), ("dovecot", "pop3-login: Login: x"), "{line}");
        }
        let own = split("Nov 27 22:11:26 pop3-login: Info: Login: x").unwrap();
        assert_eq!((own.tag, own.message), ("pop3-login", "Info: Login: x"));
    }

    #[test]
    fn a_line_without_a_tag_is_a_message() {
        let split = split("Nov 27 22:11:26 mx last message repeated 3 times: yes").unwrap();
        assert_eq!((split.tag, split.message), ("", "last message repeated 3 times: yes"));
        assert!(super::split("<22>1 2026-11-27T22:11:26Z mx dovecot").is_none());
        assert!(super::split("no time at all").is_none());
    }
}
