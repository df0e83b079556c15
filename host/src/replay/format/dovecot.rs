//! Dovecot's login lines, as `login-common/client-common.c` and `pop3-login` write them with the
//! usual `login_log_format`; checked against a running 2.3, and 2.4's own words:
//!
//! ```text
//! Nov 27 22:11:26 mx dovecot: pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, mpid=812, TLS, session=<…>
//! Nov 27 22:11:26 pop3-login: Info: Login: user=<alice>, …                          (a log file of its own)
//! … pop3-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<alice>, …   (to 2.3)
//! … pop3-login: Aborted login (auth failed, 1 attempts in 2 secs): user=<alice>, …
//! … pop3-login: Login aborted: Connection closed (auth failed, 1 attempts in 0 secs) (auth_failed): user=<alice>, …   (2.4)
//! … pop3-login: proxy(alice,10.0.0.5:110): Started proxying to <10.0.0.5> (0.012 secs): user=<alice>, …
//! ```

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::words::{address, between, mechanism, rfind, some_tls, split};
use super::{Told, syslog, user_name};
use crate::policy::Ending;
use crate::replay::calendar::Calendar;
use crate::replay::entry::Entry;

static LOGIN_PROCESS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("pop3-login"));
/// Failed logins of one connection that are believed: Dovecot ends it long before.
const MOST_ATTEMPTS: u32 = 100;

/// What the line tells; IMAP's are nothing.
pub(super) fn read(line: &str, calendar: &mut Calendar) -> Told {
    if LOGIN_PROCESS.find(line.as_bytes()).is_none() {
        return Told::Nothing;
    }
    // Version 1 began the lines of its own file so.
    let line = line.strip_prefix("dovecot: ").unwrap_or(line);
    let Some(split) = syslog::split(line) else {
        return Told::Malformed("no time at its beginning");
    };
    let message = if split.tag == "pop3-login" {
        split.message
    } else {
        match split.message.strip_prefix("pop3-login: ") {
            Some(message) => message,
            None => return Told::Nothing,
        }
    };
    let message = message.strip_prefix("Info: ").unwrap_or(message);
    let (ending, times, elements) = match event(message) {
        Event::Login(elements) => (Ending::Authenticated, 1, elements),
        Event::Failed { attempts, elements } => (Ending::Rejected, attempts, elements),
        Event::Other => return Told::Nothing,
    };
    let Some((user, elements)) = user(message, elements) else {
        return Told::Malformed("a login without user=<…>");
    };
    if user.is_empty() {
        // Somebody who never came to say who he is.
        return Told::Nothing;
    }
    let Some(user) = user_name(user) else { return Told::Malformed("no user name can be like that") };
    let Some(at_ms) = split.stamp.resolve(calendar) else {
        return Told::Malformed("no such date");
    };
    let elements = Elements::of(elements);
    Told::login(Entry {
        mechanism: mechanism(elements.method.unwrap_or("PLAIN")),
        peer: address(elements.rip.unwrap_or("")),
        local: address(elements.lip.unwrap_or("")),
        tls: elements.tls.then(some_tls),
        times,
        ..Entry::new(at_ms, user, ending)
    })
}

enum Event<'a> {
    Login(&'a str),
    Failed { attempts: u32, elements: &'a str },
    Other,
}

fn event(message: &str) -> Event<'_> {
    if let Some(elements) = message.strip_prefix("Login: ") {
        return Event::Login(elements);
    }
    if message.starts_with("proxy(") {
        return match message.split_once("tarted proxying to ") {
            Some((_, elements)) => Event::Login(elements),
            None => Event::Other,
        };
    }
    // Before the name: it can be anything.
    let head = message.split("user=<").next().unwrap_or(message);
    let Some((_, rest)) = head.split_once("(auth failed, ") else { return Event::Other };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let attempts = rest[..digits].parse().unwrap_or(MOST_ATTEMPTS).clamp(1, MOST_ATTEMPTS);
    Event::Failed { attempts, elements: message.get(head.len()..).unwrap_or("") }
}

/// The user, and the elements after him. What clients call themselves is not escaped: they may
/// write elements into their names, but not behind them.
fn user<'a>(message: &'a str, elements: &'a str) -> Option<(&'a str, &'a str)> {
    let first = elements.strip_prefix("user=<");
    let Some(rest) = first.or_else(|| elements.split_once("user=<").map(|(_, rest)| rest)) else {
        // Older proxies name the user only at the beginning.
        let inside = between(message, "proxy(", ")")?;
        return Some((inside.split(',').next()?, elements));
    };
    let end = rfind(rest, ">, method=").or_else(|| rfind(rest, ">, rip=")).or_else(|| rfind(rest, ">"))?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// What stands behind the name: the first of each.
#[derive(Default)]
struct Elements<'a> {
    method: Option<&'a str>,
    rip: Option<&'a str>,
    lip: Option<&'a str>,
    tls: bool,
}

impl<'a> Elements<'a> {
    fn of(text: &'a str) -> Self {
        let mut all = Self::default();
        for element in split(text, b", ") {
            if let Some(value) = element.strip_prefix("method=") {
                all.method = all.method.or(Some(value));
            } else if let Some(value) = element.strip_prefix("rip=") {
                all.rip = all.rip.or(Some(value));
            } else if let Some(value) = element.strip_prefix("lip=") {
                all.lip = all.lip.or(Some(value));
            } else {
                all.tls |= element == "TLS" || element.starts_with("TLS:");
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, one, utc_ms};
    use super::*;
    use crate::policy::Mechanism;

    fn told(line: &str) -> Told {
        read(line, &mut calendar())
    }

    #[test]
    fn a_login_is_read_from_syslog_and_from_a_file_of_its_own() {
        for prefix in [
            "Nov 27 22:11:26 mx dovecot: pop3-login: ",
            "<22>Nov 27 22:11:26 mx dovecot[812]: pop3-login: ",
            "2026-11-27T23:11:26.000000+01:00 mx dovecot: pop3-login: ",
            "<22>1 2026-11-27T22:11:26Z mx dovecot 812 - - pop3-login: ",
            "Nov 27 22:11:26 pop3-login: Info: ",
            "2026-11-27 22:11:26 pop3-login: Info: ",
            "dovecot: Nov 27 22:11:26 Info: pop3-login: ",
        ] {
            let line = format!(
                "{prefix}Login: user=<alice@example.org>, method=PLAIN, rip=2001:db8::7, lip=198.51.100.1, mpid=812, TLS, session=<Kx7f/2p9q>"
            );
            let login = one(told(&line));
            assert_eq!(
                (login.at_ms, &*login.user),
                (utc_ms("2026-11-27T22:11:26Z"), "alice@example.org"),
                "{line}"
            );
            assert_eq!(login.mechanism, Mechanism::Plain);
            assert_eq!(login.peer.to_string(), "[2001:db8::7]:0");
            assert_eq!(login.local.to_string(), "198.51.100.1:0");
            assert_eq!(login.outcome, Some(Ending::Authenticated));
            assert!(login.tls.is_some());
        }
    }

    #[test]
    fn failed_logins_are_counted_whatever_ended_the_connection() {
        for (words, attempts) in [
            ("Disconnected (auth failed, 1 attempts in 2 secs)", 1),
            ("Disconnected (auth failed, 3 attempts)", 3),
            ("Aborted login (auth failed, 2 attempts in 9 secs)", 2),
            ("Disconnected: Aborted login by logging out (auth failed, 1 attempts in 1 secs)", 1),
            ("Disconnected: Inactivity (auth failed, 1 attempts in 180 secs)", 1),
            ("Login aborted: Connection closed (auth failed, 1 attempts in 0 secs) (auth_failed)", 1),
            ("Aborted login (auth failed, 99999999999999999999 attempts in 2 secs)", MOST_ATTEMPTS),
        ] {
            let line = format!(
                "Nov 27 22:11:26 mx dovecot: pop3-login: {words}: user=<alice>, method=LOGIN, rip=192.0.2.7, lip=198.51.100.1, session=<x>"
            );
            let login = one(told(&line));
            assert_eq!((login.times, login.outcome), (attempts, Some(Ending::Rejected)), "{words}");
            assert_eq!((login.mechanism, login.tls.is_some()), (Mechanism::Login, false));
        }
    }

    #[test]
    fn a_dovecot_that_is_a_proxy_tells_of_logins_too() {
        for line in [
            "Nov 27 22:11:26 mx dovecot: pop3-login: proxy(alice,10.0.0.5:110): Started proxying to <10.0.0.5> (0.012 secs): user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, TLS, session=<x>",
            "Nov 27 22:11:26 mx dovecot: pop3-login: proxy(alice): started proxying to 10.0.0.5:110: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1",
            "Nov 27 22:11:26 mx dovecot: pop3-login: proxy(alice): started proxying to 10.0.0.5:110",
        ] {
            let login = one(told(line));
            assert_eq!((&*login.user, login.outcome), ("alice", Some(Ending::Authenticated)), "{line}");
        }
    }

    #[test]
    fn what_is_no_login_is_nothing() {
        for line in [
            "Nov 27 22:11:26 mx dovecot: imap-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1",
            "Nov 27 22:11:26 mx dovecot: pop3-login: Disconnected (no auth attempts in 5 secs): user=<>, rip=192.0.2.7, lip=198.51.100.1, TLS handshaking",
            "Nov 27 22:11:26 mx dovecot: pop3-login: Aborted login (auth failed, 1 attempts in 2 secs): user=<>, method=PLAIN, rip=192.0.2.7",
            "Nov 27 22:11:26 mx dovecot: pop3-login: proxy(alice,10.0.0.5:110): Disconnected by client: user=<alice>",
            "Nov 27 22:11:26 mx dovecot: pop3(alice)<812><x>: Disconnected: Logged out top=0/0, retr=0/0, del=0/1, size=455",
            "Nov 27 22:11:26 mx postfix/smtpd[7]: warning: pop3-login: Login: user=<mallory>, method=PLAIN",
        ] {
            assert!(matches!(told(line), Told::Nothing), "{line}");
        }
    }

    #[test]
    fn a_name_cannot_pretend_to_be_more_than_a_name() {
        // As a 2.3 writes it for a client that says USER with all of that.
        let name = "a (auth failed, 50 attempts): user=<b>, method=APOP, rip=203.0.113.9, TLS";
        let login = one(told(&format!(
            "2026-11-27 22:33:36.981634 pop3-login: Info: Disconnected: Connection closed (auth failed, 1 attempts in 4 secs): user=<{name}>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, secured, session=<XgZmpklhnIx/AAAB>"
        )));
        assert_eq!((login.times, &*login.user, login.mechanism), (1, name, Mechanism::Plain));
        assert_eq!((login.peer.to_string(), login.tls.is_some()), ("127.0.0.1:0".to_owned(), false));
        assert_eq!(login.at_ms, utc_ms("2026-11-27T22:33:36.981Z"));
    }

    #[test]
    fn a_login_line_that_cannot_be_read_is_malformed() {
        for line in [
            "pop3-login: Login: user=<alice>, method=PLAIN",
            "Nov 27 22:11:26 mx dovecot: pop3-login: Login: method=PLAIN, rip=192.0.2.7",
            "Feb 30 22:11:26 mx dovecot: pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7",
            "Nov 27 22:11:26 mx dovecot: pop3-login: Login: user=<alice\0>, method=PLAIN, rip=192.0.2.7",
        ] {
            assert!(matches!(told(line), Told::Malformed(_)), "{line}");
        }
    }
}
