//! Dovecot's login lines, as `login-common` and `pop3-login` of 2.2, 2.3 and 2.4 write them with
//! the usual `login_log_format`; checked against a running 2.3:
//!
//! ```text
//! Nov 27 22:11:26 mx dovecot: pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, mpid=812, TLS, session=<…>
//! Nov 27 22:11:26 pop3-login: Info: Login: user=<alice>, …                          (a log file of its own)
//! … pop3-login: Logged in: user=<alice>, …                                          (2.4)
//! … pop3-login: proxy(alice,10.0.0.5:110): Started proxying to <10.0.0.5> (0.012 secs): user=<alice>, …
//! … pop3-login: proxy(alice,10.0.0.5:110): Login failed: [AUTH] …: user=<alice>, …  (with auth_verbose)
//! … pop3-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<alice>, …   (to 2.3)
//! … pop3-login: Login aborted: Connection closed (auth failed, 1 attempts in 0 secs) (auth_failed): user=<alice>, …   (2.4)
//! ```
//!
//! The user is named after the first login that was judged, and refused logins are told together
//! when their connection ends.

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use lru::LruCache;
use memchr::memmem::Finder;

use super::words::{address, mechanism, rfind, some_tls, split};
use super::{Told, syslog, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::Ending;

static LOGIN_PROCESS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("pop3-login"));
/// Failed logins of one connection that are believed: Dovecot ends it long before.
const MOST_ATTEMPTS: u32 = 100;
/// Connections that are remembered until their end.
const MOST_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Bytes of a connection's name that are kept.
const CONNECTION_LIMIT: usize = 64;

/// What logins came to whose connection ended without one that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// The server refused them.
    Refused,
    /// It did, or an error kept it from judging, which has a line of its own: an account that may
    /// not log in has these words, too.
    NotLetIn,
    /// No server judged them.
    Unjudged,
    /// The client left before the last one was judged.
    Left,
    /// The client did not finish the last one; those before were refused.
    Unfinished,
    /// There was none.
    ToNothing,
}

/// Reasons in parentheses, by their beginnings. The same words are in several versions; those of
/// 2.2 and 2.3 only: `proxy dest auth failed`, `disconnected while …`, `aborted authentication`,
/// `disallowed plaintext auth`, `invalid cert`.
const REASONS: [(&str, Came); 34] = [
    ("auth failed", Came::Refused),
    ("authorization failed", Came::Refused),
    ("user disabled", Came::Refused),
    ("password expired", Came::Refused),
    ("login disabled", Came::Refused),
    ("anonymous logins disabled", Came::Refused),
    ("credentials contain control characters", Came::Refused),
    ("connection limit reached", Came::Refused),
    ("auth referral", Came::Refused),
    ("proxy dest auth failed", Came::Refused),
    ("proxy dest authentication failure", Came::Refused),
    ("proxy dest connection limit reached", Came::Refused),
    ("tried to use disallowed plaintext auth", Came::Refused),
    ("tried to use disallowed cleartext auth", Came::Refused),
    ("tried to use unsupported auth mechanism", Came::Refused),
    ("sent invalid base64 in response", Came::Refused),
    ("cert required, client didn't start TLS", Came::Refused),
    ("client sent an invalid cert", Came::Refused),
    ("client sent an untrusted cert", Came::Refused),
    ("client didn't send a cert", Came::Refused),
    ("auth service reported temporary failure", Came::Unjudged),
    ("auth process communication failure", Came::Unjudged),
    ("internal failure", Came::NotLetIn),
    // Connection, internal, remote or protocol failure, a temporary one, a redirection that
    // leads nowhere.
    ("proxy dest ", Came::Unjudged),
    ("disconnected while authenticating", Came::Left),
    ("disconnected while finishing login", Came::Left),
    ("client didn't finish SASL auth", Came::Unfinished),
    ("auth aborted by client", Came::Unfinished),
    ("aborted authentication", Came::Unfinished),
    ("no auth attempts", Came::ToNothing),
    ("disconnected before auth was ready", Came::ToNothing),
    ("disconnected during TLS handshake", Came::ToNothing),
    ("client_limit and process_limit was hit", Came::ToNothing),
    ("The process is shutting down", Came::ToNothing),
];

/// Reads the lines of one log.
#[derive(Debug)]
pub(super) struct Dovecot {
    /// What lines told of connections, by the session's id: their ends tell of it again.
    connections: LruCache<String, Connection>,
}

/// What lines told of a connection before its end.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    /// Refused logins, which were counted.
    counted: u32,
    /// Something went wrong with the server, or the destination of a proxy.
    has_error: bool,
}

impl Default for Dovecot {
    fn default() -> Self {
        Self { connections: LruCache::new(MOST_CONNECTIONS) }
    }
}

impl Dovecot {
    /// What the line tells; IMAP's are nothing.
    pub(super) fn read(&mut self, line: &str, calendar: &mut Calendar) -> Told {
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
        let (proxied, event) = match event(message) {
            Ok(Some(event)) => event,
            Ok(None) => return Told::Nothing,
            Err(why) => return Told::Malformed(why),
        };
        let Some((user, elements)) = user(proxied, event.elements()) else {
            return Told::Malformed("a login without user=<…>");
        };
        if user.is_empty() {
            // The connection ended before anybody's login was judged.
            return Told::Nothing;
        }
        let Some(user) = user_name(user) else { return Told::BadName };
        let elements = Elements::of(elements);
        let connection = elements.session.unwrap_or(user);
        let connection = &connection[..connection.floor_char_boundary(CONNECTION_LIMIT)];
        let endings = self.endings(&event, connection);
        if endings.iter().all(|(_, times)| *times == 0) {
            return Told::Nothing;
        }
        let Some(at_ms) = split.stamp.resolve(calendar) else {
            return Told::Malformed("no such date");
        };
        let entry = |(ending, times)| Entry {
            mechanism: mechanism(elements.method.unwrap_or("PLAIN")),
            peer: address(elements.rip.unwrap_or("")),
            local: address(elements.lip.unwrap_or("")),
            tls: elements.tls.then(some_tls),
            times,
            ..Entry::new(at_ms, user, ending)
        };
        Told::Logins(endings.into_iter().filter(|(_, times)| *times > 0).map(entry).collect())
    }

    fn connection(&mut self, id: &str) -> &mut Connection {
        self.connections.get_or_insert_mut_ref(id, Connection::default)
    }

    /// How logins ended, and how many.
    fn endings(&mut self, event: &Event<'_>, connection: &str) -> [(Ending, u32); 2] {
        const NONE: (Ending, u32) = (Ending::Rejected, 0);
        match *event {
            Event::Login(_) => [(Ending::Authenticated, 1), NONE],
            Event::Error(_) => {
                self.connection(connection).has_error = true;
                [NONE, NONE]
            }
            Event::Refused { came, .. } => {
                self.connection(connection).counted += 1;
                [(if came == Came::Unjudged { Ending::Unreachable } else { Ending::Rejected }, 1), NONE]
            }
            Event::Ended { came, attempts, .. } => {
                let Connection { counted, has_error } = self.connections.pop(connection).unwrap_or_default();
                let left = |of: u32| of.saturating_sub(counted);
                match came {
                    Came::NotLetIn if has_error => [(Ending::Unreachable, left(attempts)), NONE],
                    Came::Refused | Came::NotLetIn => [(Ending::Rejected, left(attempts)), NONE],
                    Came::Unjudged => [(Ending::Unreachable, left(attempts)), NONE],
                    Came::Left => [(Ending::Rejected, left(attempts - 1)), (Ending::Abandoned, 1)],
                    Came::Unfinished => [(Ending::Rejected, left(attempts - 1)), NONE],
                    Came::ToNothing => [NONE, NONE],
                }
            }
        }
    }
}

/// What a line tells, with what follows its words.
enum Event<'a> {
    Login(&'a str),
    /// Something went wrong with a connection.
    Error(&'a str),
    /// One login, before its connection ends.
    Refused {
        came: Came,
        elements: &'a str,
    },
    /// A connection ended without a login.
    Ended {
        came: Came,
        attempts: u32,
        elements: &'a str,
    },
}

impl<'a> Event<'a> {
    fn elements(&self) -> &'a str {
        match self {
            Self::Login(elements)
            | Self::Error(elements)
            | Self::Refused { elements, .. }
            | Self::Ended { elements, .. } => elements,
        }
    }
}

/// An event, and the user that a proxy names before it.
type Named<'a> = (Option<&'a str>, Event<'a>);

/// What a message tells of logins, if it does.
fn event(message: &str) -> Result<Option<Named<'_>>, &'static str> {
    if let Some(error) = message.strip_prefix("Error: ") {
        let elements = error.split_once("user=<").map(|(before, _)| &error[before.len()..]);
        return Ok(elements.map(|elements| (None, Event::Error(elements))));
    }
    // `proxy(alice): `, `proxy(alice,10.0.0.5:110): `
    let proxied = message.strip_prefix("proxy(").and_then(|rest| rest.split_once("): "));
    let (user, words) = match proxied {
        Some((inside, words)) => (inside.split(',').next(), words),
        None => (None, message),
    };
    if let Some(elements) = words.strip_prefix("Login: ").or_else(|| words.strip_prefix("Logged in: ")) {
        return Ok(Some((user, Event::Login(elements))));
    }
    // Before the user's name: that can be anything.
    let head = words.split("user=<").next().unwrap_or(words);
    let elements = &words[head.len()..];
    if user.is_some() && head.get(1..).is_some_and(|head| head.starts_with("tarted proxying to ")) {
        return Ok(Some((user, Event::Login(elements))));
    }
    if head.starts_with("Login failed") {
        let came = if head.contains("[SYS/TEMP]") { Came::Unjudged } else { Came::Refused };
        return Ok(Some((user, Event::Refused { came, elements })));
    }
    if let Some((came, attempts)) = ended(head) {
        return Ok(Some((user, Event::Ended { came, attempts, elements })));
    }
    let is_end = head.starts_with("Login aborted")
        || (user.is_none() && (head.starts_with("Disconnected") || head.starts_with("Aborted login")));
    if is_end && !elements.is_empty() && !elements.starts_with("user=<>") {
        return Err("a login that ended for a reason that is not known");
    }
    Ok(None)
}

/// What the logins of a connection came to that ended with these words, and how many they were.
fn ended(words: &str) -> Option<(Came, u32)> {
    let reason = ["Disconnected: ", "Login aborted: "].iter().find_map(|end| words.strip_prefix(end));
    let reason = reason.unwrap_or(words);
    if reason.starts_with("Internal login failure") {
        return Some((Came::Unjudged, 1));
    }
    for part in words.split('(').skip(1) {
        if let Some((reason, came)) = REASONS.iter().find(|(reason, _)| part.starts_with(reason)) {
            return Some((*came, attempts(&part[reason.len()..])));
        }
        // A reason of a later version.
        if part.contains(" attempts in ") || part.contains(" successful auths in ") {
            return Some((Came::Refused, attempts(part)));
        }
    }
    let is_limit = reason.starts_with("Maximum number of connections from user+IP exceeded");
    is_limit.then_some((Came::Refused, 1))
}

/// `, 2 attempts in 9 secs`, `, 1/2 successful auths in 9 secs`; one, if it is not told.
fn attempts(text: &str) -> u32 {
    let number = |part: &str| {
        let part = part.split_once('/').map_or(part, |(_, all)| all);
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let is_count = part[digits..].starts_with(" attempts") || part[digits..].starts_with(" successful");
        (digits > 0 && is_count).then(|| part[..digits].parse().unwrap_or(MOST_ATTEMPTS))
    };
    split(text, b", ").find_map(number).unwrap_or(1).clamp(1, MOST_ATTEMPTS)
}

/// The user, and the elements that follow. What clients call themselves is not escaped: they may
/// write elements into their names, but not behind them.
fn user<'a>(proxied: Option<&'a str>, elements: &'a str) -> Option<(&'a str, &'a str)> {
    let first = elements.strip_prefix("user=<");
    let Some(rest) = first.or_else(|| elements.split_once("user=<").map(|(_, rest)| rest)) else {
        // Older proxies name the user only at the beginning.
        return Some((proxied?, elements));
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
    session: Option<&'a str>,
    tls: bool,
}

impl<'a> Elements<'a> {
    fn of(text: &'a str) -> Self {
        let mut all = Self::default();
        for element in split(text, b", ") {
            let (name, value) = element.split_once('=').unwrap_or((element, ""));
            match name {
                "method" => all.method = all.method.or(Some(value)),
                "rip" => all.rip = all.rip.or(Some(value)),
                "lip" => all.lip = all.lip.or(Some(value)),
                "session" => all.session = all.session.or(Some(value)),
                _ => all.tls |= element == "TLS" || element.starts_with("TLS:"),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
