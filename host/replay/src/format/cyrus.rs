//! Cyrus' login lines, as `imap/pop3d.c` writes them to syslog (checked against a running 3.6;
//! 2.x as others have kept them):
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

use super::words::{address, mechanism, some_tls};
use super::{Told, syslog, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::Ending;

static LOGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("login: "));

/// What the line tells; IMAP's are nothing.
pub(super) fn read(line: &str, calendar: &mut Calendar) -> Told {
    if LOGIN.find(line.as_bytes()).is_none() {
        return Told::Nothing;
    }
    let Some(split) = syslog::split(line) else { return Told::Nothing };
    let service = split.tag.rsplit('/').next().unwrap_or(split.tag);
    if !matches!(service, "pop3" | "pop3s" | "pop3d" | "pop3proxyd") {
        return Told::Nothing;
    }
    let read = if let Some(rest) = split.message.strip_prefix("login: ") {
        logged_in(rest)
    } else if let Some(rest) = split.message.strip_prefix("badlogin: ") {
        refused(rest)
    } else {
        return Told::Nothing;
    };
    let Some(Login { peer, user, mechanism: word, ending }) = read else {
        return Told::Malformed("a login without [address], user and mechanism");
    };
    let Some(user) = user else { return Told::Nothing };
    let Some(user) = user_name(user) else { return Told::BadName };
    let Some(at_ms) = split.stamp.resolve(calendar) else { return Told::Malformed("no such date") };
    let (word, has_tls) = match word.split_once("+TLS") {
        Some((word, _)) => (word, true),
        None => (word, service == "pop3s"),
    };
    Told::login(Entry {
        peer: address(peer),
        mechanism: mechanism(word),
        tls: has_tls.then(some_tls),
        ..Entry::new(at_ms, user, ending)
    })
}

struct Login<'a> {
    peer: &'a str,
    /// None where it was not told.
    user: Option<&'a str>,
    mechanism: &'a str,
    ending: Ending,
}

/// The client's address, behind its name where it has one, and what follows.
fn client(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once("] ")
}

fn logged_in(text: &str) -> Option<Login<'_>> {
    let (peer, rest) = client(text)?;
    let before = match rest.rfind(" User logged in") {
        Some(end) => &rest[..end],
        // Others that are let in are not POP3 users.
        None if rest.starts_with("anonymous ") => {
            return Some(Login { peer, user: None, mechanism: "", ending: Ending::Authenticated });
        }
        None => return None,
    };
    let (user, mechanism) = before.rsplit_once(' ')?;
    Some(Login { peer, user: Some(user), mechanism, ending: Ending::Authenticated })
}

fn refused(text: &str) -> Option<Login<'_>> {
    let (peer, rest) = client(text)?;
    let (mechanism, rest) = rest.split_once(' ')?;
    let user = match rest.strip_prefix('(') {
        Some(rest) => rest.rfind(") [").or_else(|| rest.rfind(") ")).map(|end| &rest[..end])?,
        // Version 2.x: the name stands alone, and by SASL there is none.
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

    fn told(rest: &str) -> Told {
        read(&format!("Nov 27 22:11:26 mx {rest}"), &mut calendar())
    }

    #[test]
    fn logins_and_refusals_are_read() {
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
            let login = one(told(rest));
            let read = (&*login.user, login.mechanism, login.tls.is_some(), login.outcome);
            assert_eq!(read, (user, mechanism, tls, Some(ending)), "{rest}");
            assert_eq!(
                (login.at_ms, login.peer.ip().to_string()),
                (utc_ms("2026-11-27T22:11:26Z"), "192.0.2.7".to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_login_is_nothing() {
        for rest in [
            "cyrus/imap[812]: login: [192.0.2.7] alice plaintext User logged in SESSIONID=<x>",
            "cyrus/pop3[812]: accepted connection",
            "cyrus/pop3[812]: badlogin: [192.0.2.7] CRAM-MD5 SASL(-13): authentication failure",
            "cyrus/pop3[812]: badlogin: [192.0.2.7] PLAIN () [SASL(-1): generic failure]",
            "cyrus/master[812]: process type:SERVICE name:pop3 exited",
        ] {
            assert!(matches!(told(rest), Told::Nothing), "{rest}");
        }
        assert!(matches!(told("cyrus/pop3[812]: login: alice"), Told::Malformed(_)));
    }
}
