//! Courier's login lines, as `courierpop3login` and `courierpop3d` 1.0 (format strings in the
//! programs) and earlier versions write them:
//!
//! ```text
//! Nov 27 22:11:26 mx courierpop3d: LOGIN, user=alice, ip=[::ffff:192.0.2.7], port=[50312]
//! Nov 27 22:11:26 mx courierpop3login: LOGIN FAILED, user=alice, ip=[::ffff:192.0.2.7], port=[50312]
//! Nov 27 22:11:26 mx pop3d-ssl: LOGIN, user=alice, ip=[::ffff:192.0.2.7]
//! Nov 27 22:11:26 mx courierpop3login: LOGIN, user=alice, ip=[…], port=[50312], protocol=POP3   (as a proxy)
//! ```

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::fields::{address, unknown_tls};
use super::{ParsedLine, syslog, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::Ending;

static LOGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("LOGIN"));

/// Parses a line. Logins over IMAP are not logins.
pub(super) fn parse(line: &str, calendar: &mut Calendar) -> ParsedLine {
    if LOGIN.find(line.as_bytes()).is_none() {
        return ParsedLine::NoLogin;
    }
    let Some(split) = syslog::split(line) else { return ParsedLine::NoLogin };
    let is_pop3 =
        matches!(split.tag, "pop3d" | "pop3d-ssl" | "courierpop3d" | "courierpop3login" | "pop3login");
    if !is_pop3 {
        return ParsedLine::NoLogin;
    }
    let message = split.message.strip_prefix("INFO: ").unwrap_or(split.message);
    let (ending, rest) = if let Some(rest) = message.strip_prefix("LOGIN, ") {
        (Ending::Authenticated, rest)
    } else if let Some(rest) = message.strip_prefix("LOGIN FAILED, ") {
        (Ending::Rejected, rest)
    } else {
        return ParsedLine::NoLogin;
    };
    // A failed SASL login is logged without the user name.
    if rest.starts_with("method=") {
        return ParsedLine::NoLogin;
    }
    let Some((user, rest)) = rest.strip_prefix("user=").and_then(|rest| rest.rsplit_once(", ip=[")) else {
        return ParsedLine::Malformed("a login without user=…, ip=[…]");
    };
    let Some(user) = user_name(user) else { return ParsedLine::InvalidUserName };
    let Some(at_ms) = split.timestamp.resolve(calendar) else { return ParsedLine::Malformed("no such date") };
    let (ip, rest) = rest.split_once(']').unwrap_or((rest, ""));
    let mut peer = address(ip);
    if let Some(port) = rest.strip_prefix(", port=[").and_then(|rest| rest.split_once(']')?.0.parse().ok()) {
        peer.set_port(port);
    }
    ParsedLine::login(Entry {
        peer,
        tls: (split.tag == "pop3d-ssl").then(unknown_tls),
        ..Entry::new(at_ms, user, ending)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, one, utc_ms};
    use super::*;

    fn parse_line(line: &str) -> ParsedLine {
        parse(line, &mut calendar())
    }

    #[test]
    fn logins_of_old_and_new_versions_are_parsed() {
        for (rest, peer, tls) in [
            (
                "courierpop3d: LOGIN, user=alice, ip=[::ffff:192.0.2.7], port=[50312]",
                "192.0.2.7:50312",
                false,
            ),
            ("pop3d[812]: LOGIN, user=alice, ip=[::ffff:192.0.2.7]", "192.0.2.7:0", false),
            ("pop3d-ssl: LOGIN, user=alice, ip=[::1]", "[::1]:0", true),
            ("pop3d: INFO: LOGIN, user=alice, ip=[192.0.2.7], port=[1], protocol=POP3", "192.0.2.7:1", false),
        ] {
            let login = one(parse_line(&format!("Nov 27 22:11:26 mx {rest}")));
            assert_eq!((login.at_ms, &*login.user), (utc_ms("2026-11-27T22:11:26Z"), "alice"), "{rest}");
            assert_eq!((login.peer.to_string(), login.tls.is_some()), (peer.to_owned(), tls));
            assert_eq!(login.outcome, Some(Ending::Authenticated));
        }
        let failed = one(parse_line(
            "Nov 27 22:11:26 mx pop3d: LOGIN FAILED, user=a, ip=[x], b, ip=[::ffff:192.0.2.7]",
        ));
        assert_eq!((&*failed.user, failed.outcome), ("a, ip=[x], b", Some(Ending::Rejected)));
    }

    #[test]
    fn other_lines_are_ignored() {
        for rest in [
            "imapd: LOGIN, user=alice, ip=[::ffff:192.0.2.7], protocol=IMAP",
            "pop3d: Connection, ip=[::ffff:192.0.2.7]",
            "pop3d: LOGOUT, user=alice, ip=[::ffff:192.0.2.7], port=[50312], top=0, retr=0, rcvd=12, sent=39, time=0",
            "pop3d: LOGIN FAILED, method=PLAIN, ip=[::ffff:192.0.2.7]",
            "postfix/smtpd[7]: LOGIN authentication failed",
        ] {
            assert!(
                matches!(parse_line(&format!("Nov 27 22:11:26 mx {rest}")), ParsedLine::NoLogin),
                "{rest}"
            );
        }
        assert!(matches!(
            parse_line("Nov 27 22:11:26 mx pop3d: LOGIN, user=alice"),
            ParsedLine::Malformed(_)
        ));
    }
}
