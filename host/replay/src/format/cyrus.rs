//! Cyrus' login lines, as `imap/pop3d.c` writes them to syslog (checked against Cyrus 3.6; those of
//! 2.x are from published logs):
//!
//! ```text
//! Nov 27 22:33:05 mx cyrus/pop3[15353]: login: localhost [127.0.0.1] alice plaintext User logged in SESSIONID=<…>
//! Nov 27 22:11:26 mx cyrus/pop3[812]: login: mail.example [192.0.2.7] alice plaintext User logged in SESSIONID=<…>
//! Nov 27 22:11:26 mx cyrus/pop3s[812]: login: [192.0.2.7] alice PLAIN+TLS User logged in SESSIONID=<…>
//! Nov 27 22:11:26 mx cyrus/pop3[812]: badlogin: [192.0.2.7] plaintext (alice) [SASL(-13): authentication failure]
//! Nov 27 22:11:26 mx pop3d[812]: badlogin: mail.example [192.0.2.7] plaintext alice SASL(-13): authentication failure   (2.x)
//! ```

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::fields::{address, mechanism, unknown_tls};
use super::{ParsedLine, syslog, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::Ending;

static LOGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("login: "));

/// Parses a line. Logins over IMAP are not logins.
pub(super) fn parse(line: &str, calendar: &mut Calendar) -> ParsedLine {
    if LOGIN.find(line.as_bytes()).is_none() {
        return ParsedLine::NoLogin;
    }
    let Some(split) = syslog::split(line) else { return ParsedLine::NoLogin };
    let service = split.tag.rsplit('/').next().unwrap_or(split.tag);
    if !matches!(service, "pop3" | "pop3s" | "pop3d" | "pop3proxyd") {
        return ParsedLine::NoLogin;
    }
    let login = if let Some(rest) = split.message.strip_prefix("login: ") {
        accepted(rest)
    } else if let Some(rest) = split.message.strip_prefix("badlogin: ") {
        rejected(rest)
    } else {
        return ParsedLine::NoLogin;
    };
    let Some(Login { peer, user, mechanism: name, ending }) = login else {
        return ParsedLine::Malformed("a login without [address], user name and mechanism");
    };
    let Some(user) = user else { return ParsedLine::NoLogin };
    let Some(user) = user_name(user) else { return ParsedLine::InvalidUserName };
    let Some(at_ms) = split.timestamp.resolve(calendar) else { return ParsedLine::Malformed("no such date") };
    let (name, has_tls) = match name.split_once("+TLS") {
        Some((name, _)) => (name, true),
        None => (name, service == "pop3s"),
    };
    ParsedLine::login(Entry {
        peer: address(peer),
        mechanism: mechanism(name),
        tls: has_tls.then(unknown_tls),
        ..Entry::new(at_ms, user, ending)
    })
}

struct Login<'a> {
    peer: &'a str,
    /// None if the line does not name the user.
    user: Option<&'a str>,
    mechanism: &'a str,
    ending: Ending,
}

/// Splits `mail.example [192.0.2.7] rest` into address and rest. The host name may be missing.
fn split_client(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once("] ")
}

fn accepted(text: &str) -> Option<Login<'_>> {
    let (peer, rest) = split_client(text)?;
    let before = match rest.rfind(" User logged in") {
        Some(end) => &rest[..end],
        // An anonymous login is not a user's.
        None if rest.starts_with("anonymous ") => {
            return Some(Login { peer, user: None, mechanism: "", ending: Ending::Authenticated });
        }
        None => return None,
    };
    let (user, mechanism) = before.rsplit_once(' ')?;
    Some(Login { peer, user: Some(user), mechanism, ending: Ending::Authenticated })
}

fn rejected(text: &str) -> Option<Login<'_>> {
    let (peer, rest) = split_client(text)?;
    let (mechanism, rest) = rest.split_once(' ')?;
    let user = match rest.strip_prefix('(') {
        Some(rest) => rest.rfind(") [").or_else(|| rest.rfind(") ")).map(|end| &rest[..end])?,
        // Version 2.x: the name has no parentheses, and is missing if the mechanism is SASL.
        None if mechanism.starts_with("plaintext") => rest.split(' ').next()?,
        None => return Some(Login { peer, user: None, mechanism, ending: Ending::Rejected }),
    };
    Some(Login { peer, user: (!user.is_empty()).then_some(user), mechanism, ending: Ending::Rejected })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, one, utc_ms};
    use super::*;
    use reprieve_policy_host::Mechanism;

    fn parse_message(rest: &str) -> ParsedLine {
        parse(&format!("Nov 27 22:11:26 mx {rest}"), &mut calendar())
    }

    #[test]
    fn accepted_and_rejected_logins_are_parsed() {
        use Ending::{Authenticated, Rejected};
        use Mechanism::{CramMd5, Plain, UserPass};
        for (rest, user, mechanism, tls, ending) in [
            (
                "cyrus/pop3[812]: login: mail.example [192.0.2.7] alice plaintext User logged in SESSIONID=<mx-812-1>",
                "alice",
                UserPass,
                false,
                Authenticated,
            ),
            (
                "pop3[812]: login: [192.0.2.7] alice@example.org plaintext+TLS User logged in",
                "alice@example.org",
                UserPass,
                true,
                Authenticated,
            ),
            (
                "cyrus/pop3s[812]: login: [192.0.2.7] a b PLAIN User logged in SESSIONID=<x>",
                "a b",
                Plain,
                true,
                Authenticated,
            ),
            (
                "cyrus/pop3[812]: badlogin: [192.0.2.7] plaintext (alice) [SASL(-13): authentication failure: x (y) z]",
                "alice",
                UserPass,
                false,
                Rejected,
            ),
            (
                "cyrus/pop3[15369]: badlogin: localhost [192.0.2.7] CRAM-MD5 (alice) [authentication failure]",
                "alice",
                CramMd5,
                false,
                Rejected,
            ),
            (
                "cyrus/pop3[812]: badlogin: [192.0.2.7] plaintext (alice) invalid user",
                "alice",
                UserPass,
                false,
                Rejected,
            ),
            (
                "cyrus/pop3[812]: badlogin: mail.example [192.0.2.7] CRAM-MD5 (alice) [SASL(-13): x]",
                "alice",
                CramMd5,
                false,
                Rejected,
            ),
            (
                "pop3d[812]: badlogin: mail.example [192.0.2.7] plaintext alice SASL(-13): authentication failure: checkpass failed",
                "alice",
                UserPass,
                false,
                Rejected,
            ),
        ] {
            let login = one(parse_message(rest));
            let parsed = (&*login.user, login.mechanism, login.tls.is_some(), login.outcome);
            assert_eq!(parsed, (user, mechanism, tls, Some(ending)), "{rest}");
            assert_eq!(
                (login.at_ms, login.peer.ip().to_string()),
                (utc_ms("2026-11-27T22:11:26Z"), "192.0.2.7".to_owned())
            );
        }
    }

    #[test]
    fn other_lines_are_ignored() {
        for rest in [
            "cyrus/imap[812]: login: [192.0.2.7] alice plaintext User logged in SESSIONID=<x>",
            "cyrus/pop3[812]: accepted connection",
            "cyrus/pop3[812]: badlogin: [192.0.2.7] CRAM-MD5 SASL(-13): authentication failure",
            "cyrus/pop3[812]: badlogin: [192.0.2.7] PLAIN () [SASL(-1): generic failure]",
            "cyrus/master[812]: process type:SERVICE name:pop3 exited",
        ] {
            assert!(matches!(parse_message(rest), ParsedLine::NoLogin), "{rest}");
        }
        assert!(matches!(parse_message("cyrus/pop3[812]: login: alice"), ParsedLine::Malformed(_)));
    }
}
