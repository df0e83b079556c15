//! Dovecot's login lines, as `login-common` and `pop3-login` of 2.2, 2.3 and 2.4 write them with
//! the default `login_log_format` (checked against Dovecot 2.3):
//!
//! ```text
//! Nov 27 22:11:26 mx dovecot: pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, mpid=812, TLS, session=<…>
//! Nov 27 22:11:26 pop3-login: Info: Login: user=<alice>, …                          (own log file)
//! … pop3-login: Logged in: user=<alice>, …                                          (2.4)
//! … pop3-login: proxy(alice,10.0.0.5:110): Started proxying to <10.0.0.5> (0.012 secs): user=<alice>, …
//! … pop3-login: proxy(alice,10.0.0.5:110): Login failed: [AUTH] …: user=<alice>, …  (with `auth_verbose`)
//! … pop3-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<alice>, …   (up to 2.3)
//! … pop3-login: Login aborted: Connection closed (auth failed, 1 attempts in 0 secs) (auth_failed): user=<alice>, …   (2.4)
//! ```
//!
//! Rejected logins have no lines of their own (except those of a proxy with `auth_verbose`): the
//! line about the end of the connection has their number, and the user of the first one.

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use lru::LruCache;
use memchr::memmem::Finder;

use super::fields::{address, mechanism, rfind, split, unknown_tls};
use super::{ParsedLine, Parser, syslog, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::Ending;

static LOGIN_PROCESS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("pop3-login"));
/// The most failed logins of one connection that are accepted: Dovecot closes it much earlier.
const MAX_ATTEMPTS: u32 = 100;
/// The most connections whose earlier lines are remembered.
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Bytes of a session id that are compared.
const CONNECTION_LIMIT: usize = 64;

/// What became of the logins of a connection that ended without a successful one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailedLogins {
    /// The server rejected them.
    Rejected,
    /// If the connection had an error line before, the error prevented the logins. Otherwise the
    /// server rejected them: Dovecot gives the same reason for an account that may not log in.
    RejectedOrError,
    /// No server checked the credentials.
    Unreachable,
    /// The client disconnected before the answer to the last one. Those before were rejected.
    LastAbandoned,
    /// The client did not complete the last one. Those before were rejected.
    LastIncomplete,
    /// There were no logins.
    None,
}

/// Beginnings of the reasons in parentheses. Only 2.2 and 2.3 have `proxy dest auth failed`,
/// `disconnected while …`, `aborted authentication`, `disallowed plaintext auth` and
/// `invalid cert`.
const REASONS: [(&str, FailedLogins); 34] = [
    ("auth failed", FailedLogins::Rejected),
    ("authorization failed", FailedLogins::Rejected),
    ("user disabled", FailedLogins::Rejected),
    ("password expired", FailedLogins::Rejected),
    ("login disabled", FailedLogins::Rejected),
    ("anonymous logins disabled", FailedLogins::Rejected),
    ("credentials contain control characters", FailedLogins::Rejected),
    ("connection limit reached", FailedLogins::Rejected),
    ("auth referral", FailedLogins::Rejected),
    ("proxy dest auth failed", FailedLogins::Rejected),
    ("proxy dest authentication failure", FailedLogins::Rejected),
    ("proxy dest connection limit reached", FailedLogins::Rejected),
    ("tried to use disallowed plaintext auth", FailedLogins::Rejected),
    ("tried to use disallowed cleartext auth", FailedLogins::Rejected),
    ("tried to use unsupported auth mechanism", FailedLogins::Rejected),
    ("sent invalid base64 in response", FailedLogins::Rejected),
    ("cert required, client didn't start TLS", FailedLogins::Rejected),
    ("client sent an invalid cert", FailedLogins::Rejected),
    ("client sent an untrusted cert", FailedLogins::Rejected),
    ("client didn't send a cert", FailedLogins::Rejected),
    ("auth service reported temporary failure", FailedLogins::Unreachable),
    ("auth process communication failure", FailedLogins::Unreachable),
    ("internal failure", FailedLogins::RejectedOrError),
    // Connection, internal, remote, protocol or temporary failure, or a failed redirection.
    ("proxy dest ", FailedLogins::Unreachable),
    ("disconnected while authenticating", FailedLogins::LastAbandoned),
    ("disconnected while finishing login", FailedLogins::LastAbandoned),
    ("client didn't finish SASL auth", FailedLogins::LastIncomplete),
    ("auth aborted by client", FailedLogins::LastIncomplete),
    ("aborted authentication", FailedLogins::LastIncomplete),
    ("no auth attempts", FailedLogins::None),
    ("disconnected before auth was ready", FailedLogins::None),
    ("disconnected during TLS handshake", FailedLogins::None),
    ("client_limit and process_limit was hit", FailedLogins::None),
    ("The process is shutting down", FailedLogins::None),
];

/// Parses the lines of one log.
#[derive(Debug)]
pub(super) struct Dovecot {
    /// Connections that have not ended, by session id: the line about the end counts all logins.
    connections: LruCache<String, Connection>,
}

/// What earlier lines said about a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    /// Rejected logins that were counted already.
    counted: u32,
    /// The server or the destination of a proxy had an error.
    has_error: bool,
}

impl Default for Dovecot {
    fn default() -> Self {
        Self { connections: LruCache::new(MAX_CONNECTIONS) }
    }
}

impl Parser for Dovecot {
    /// Parses a line. Logins over IMAP are not logins.
    fn parse(&mut self, line: &str, calendar: &mut Calendar) -> ParsedLine {
        if LOGIN_PROCESS.find(line.as_bytes()).is_none() {
            return ParsedLine::NoLogin;
        }
        // Dovecot 1 began the lines of its own log file with its name.
        let line = line.strip_prefix("dovecot: ").unwrap_or(line);
        let Some(split) = syslog::split(line) else {
            return ParsedLine::Malformed("no timestamp at the beginning");
        };
        let message = match split.tag {
            "pop3-login" => Some(split.message),
            _ => split.message.strip_prefix("pop3-login: "),
        };
        let Some(message) = message else { return ParsedLine::NoLogin };
        let message = message.strip_prefix("Info: ").unwrap_or(message);
        let (proxied_user, event) = match event(message) {
            Ok(Some(event)) => event,
            Ok(None) => return ParsedLine::NoLogin,
            Err(why) => return ParsedLine::Malformed(why),
        };
        let Some((user, elements)) = user(proxied_user, event.elements()) else {
            return ParsedLine::Malformed("a login without user=<…>");
        };
        if user.is_empty() {
            // The connection ended before a login.
            return ParsedLine::NoLogin;
        }
        let Some(user) = user_name(user) else { return ParsedLine::InvalidUserName };
        let elements = Elements::parse(elements);
        let endings = self.endings(&event, elements.session.unwrap_or(user));
        if endings.iter().all(|(_, times)| *times == 0) {
            return ParsedLine::NoLogin;
        }
        let Some(at_ms) = split.timestamp.resolve(calendar) else {
            return ParsedLine::Malformed("no such date");
        };
        let entry = |(ending, times)| Entry {
            mechanism: mechanism(elements.method.unwrap_or("PLAIN")),
            peer: address(elements.rip.unwrap_or("")),
            local: address(elements.lip.unwrap_or("")),
            tls: elements.tls.then(unknown_tls),
            times,
            ..Entry::new(at_ms, user, ending)
        };
        ParsedLine::Logins(endings.into_iter().filter(|(_, times)| *times > 0).map(entry).collect())
    }
}

impl Dovecot {
    fn connection(&mut self, id: &str) -> &mut Connection {
        self.connections.get_or_insert_mut_ref(id, Connection::default)
    }

    /// How the logins of an event ended, each ending with the number of logins.
    fn endings(&mut self, event: &Event<'_>, connection: &str) -> [(Ending, u32); 2] {
        const NONE: (Ending, u32) = (Ending::Rejected, 0);
        let connection = &connection[..connection.floor_char_boundary(CONNECTION_LIMIT)];
        match *event {
            Event::Login(_) => [(Ending::Authenticated, 1), NONE],
            Event::Error(_) => {
                self.connection(connection).has_error = true;
                [NONE, NONE]
            }
            Event::Rejected { is_temporary, .. } => {
                self.connection(connection).counted += 1;
                [(if is_temporary { Ending::Unreachable } else { Ending::Rejected }, 1), NONE]
            }
            Event::Ended { logins, attempts, .. } => {
                let Connection { counted, has_error } = self.connections.pop(connection).unwrap_or_default();
                let uncounted = |attempts: u32| attempts.saturating_sub(counted);
                match logins {
                    FailedLogins::RejectedOrError if has_error => {
                        [(Ending::Unreachable, uncounted(attempts)), NONE]
                    }
                    FailedLogins::Rejected | FailedLogins::RejectedOrError => {
                        [(Ending::Rejected, uncounted(attempts)), NONE]
                    }
                    FailedLogins::Unreachable => [(Ending::Unreachable, uncounted(attempts)), NONE],
                    FailedLogins::LastAbandoned => {
                        [(Ending::Rejected, uncounted(attempts - 1)), (Ending::Abandoned, 1)]
                    }
                    FailedLogins::LastIncomplete => [(Ending::Rejected, uncounted(attempts - 1)), NONE],
                    FailedLogins::None => [NONE, NONE],
                }
            }
        }
    }
}

/// What happened according to a line, with the elements (`user=<alice>, …`) that follow.
enum Event<'a> {
    Login(&'a str),
    /// An error with a connection.
    Error(&'a str),
    /// A login was rejected, and the connection stays open.
    Rejected {
        is_temporary: bool,
        elements: &'a str,
    },
    /// A connection ended without a successful login.
    Ended {
        logins: FailedLogins,
        attempts: u32,
        elements: &'a str,
    },
}

impl<'a> Event<'a> {
    fn elements(&self) -> &'a str {
        match self {
            Self::Login(elements)
            | Self::Error(elements)
            | Self::Rejected { elements, .. }
            | Self::Ended { elements, .. } => elements,
        }
    }
}

/// An event, and the user that a proxy names in front of it.
type ProxyEvent<'a> = (Option<&'a str>, Event<'a>);

/// The event that a message describes. None if it has nothing to do with logins.
fn event(message: &str) -> Result<Option<ProxyEvent<'_>>, &'static str> {
    if let Some(error) = message.strip_prefix("Error: ") {
        let elements = error.split_once("user=<").map(|(before, _)| &error[before.len()..]);
        return Ok(elements.map(|elements| (None, Event::Error(elements))));
    }
    // `proxy(alice): `, `proxy(alice,10.0.0.5:110): `
    let proxied = message.strip_prefix("proxy(").and_then(|rest| rest.split_once("): "));
    let (user, text) = match proxied {
        Some((inside, text)) => (inside.split(',').next(), text),
        None => (None, message),
    };
    if let Some(elements) = text.strip_prefix("Login: ").or_else(|| text.strip_prefix("Logged in: ")) {
        return Ok(Some((user, Event::Login(elements))));
    }
    // Only the text in front of the user name can be trusted.
    let head = text.split("user=<").next().unwrap_or(text);
    let elements = &text[head.len()..];
    if user.is_some() && head.get(1..).is_some_and(|head| head.starts_with("tarted proxying to ")) {
        return Ok(Some((user, Event::Login(elements))));
    }
    if head.starts_with("Login failed") {
        let is_temporary = head.contains("[SYS/TEMP]");
        return Ok(Some((user, Event::Rejected { is_temporary, elements })));
    }
    if let Some((logins, attempts)) = failed_logins(head) {
        return Ok(Some((user, Event::Ended { logins, attempts, elements })));
    }
    let is_end = head.starts_with("Login aborted")
        || (user.is_none() && (head.starts_with("Disconnected") || head.starts_with("Aborted login")));
    if is_end && !elements.is_empty() && !elements.starts_with("user=<>") {
        return Err("a login that failed for an unknown reason");
    }
    Ok(None)
}

/// What became of the logins of a connection that ended with this text, and their number. None if
/// the text is not about the end of a connection.
fn failed_logins(text: &str) -> Option<(FailedLogins, u32)> {
    let reason = ["Disconnected: ", "Login aborted: "].iter().find_map(|end| text.strip_prefix(end));
    let reason = reason.unwrap_or(text);
    if reason.starts_with("Internal login failure") {
        return Some((FailedLogins::Unreachable, 1));
    }
    for part in text.split('(').skip(1) {
        if let Some((reason, logins)) = REASONS.iter().find(|(reason, _)| part.starts_with(reason)) {
            return Some((*logins, attempts(&part[reason.len()..])));
        }
        // A reason that only a later version has.
        if part.contains(" attempts in ") || part.contains(" successful auths in ") {
            return Some((FailedLogins::Rejected, attempts(part)));
        }
    }
    let is_limit = reason.starts_with("Maximum number of connections from user+IP exceeded");
    is_limit.then_some((FailedLogins::Rejected, 1))
}

/// The number in `, 2 attempts in 9 secs` or `, 1/2 successful auths in 9 secs`; 1 if there is none.
fn attempts(text: &str) -> u32 {
    let number = |part: &str| {
        let part = part.split_once('/').map_or(part, |(_, all)| all);
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let is_count = part[digits..].starts_with(" attempts") || part[digits..].starts_with(" successful");
        (digits > 0 && is_count).then(|| part[..digits].parse().unwrap_or(MAX_ATTEMPTS))
    };
    split(text, b", ").find_map(number).unwrap_or(1).clamp(1, MAX_ATTEMPTS)
}

/// The user, and the elements that follow. Dovecot does not escape user names, so a client can put
/// elements into its name; those behind the name are genuine.
fn user<'a>(proxied_user: Option<&'a str>, elements: &'a str) -> Option<(&'a str, &'a str)> {
    let first = elements.strip_prefix("user=<");
    let Some(rest) = first.or_else(|| elements.split_once("user=<").map(|(_, rest)| rest)) else {
        // Older proxies name the user only at the beginning of the message.
        return Some((proxied_user?, elements));
    };
    let end = rfind(rest, ">, method=").or_else(|| rfind(rest, ">, rip=")).or_else(|| rfind(rest, ">"))?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// The elements behind the user name: the first of each name.
#[derive(Default)]
struct Elements<'a> {
    method: Option<&'a str>,
    rip: Option<&'a str>,
    lip: Option<&'a str>,
    session: Option<&'a str>,
    tls: bool,
}

impl<'a> Elements<'a> {
    fn parse(text: &'a str) -> Self {
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
