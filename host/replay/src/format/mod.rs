//! Log formats: each turns a line into a login, or finds none in it. Nothing here reads files.

mod courier;
mod cyrus;
mod decision_log;
mod dovecot;
mod exchange;
mod nginx;
mod reader;
mod repeated;
mod session_log;
mod stamp;
mod syslog;
mod words;

use super::entry::Entry;

pub use reader::Reader;
pub(super) use reader::{Detected, Detector};

/// What a line tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// These logins, most often one.
    Logins(Vec<Entry>),
    /// Nothing about POP3 logins.
    Nothing,
    /// It is about a login by a name that no user can have.
    BadName,
    /// It is about one, or claims to be, and cannot be read: why not.
    Malformed(&'static str),
}

impl Told {
    fn login(entry: Entry) -> Self {
        Self::Logins(vec![entry])
    }
}

/// Who wrote a log.
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Reprieve's decision log
    DecisionLog,
    /// Reprieve's own log (run --log-format json): the last login of each session
    SessionLog,
    /// Dovecot: syslog, or a log file of its own
    Dovecot,
    /// Courier: syslog
    Courier,
    /// Cyrus: syslog
    Cyrus,
    /// Exchange's POP3 protocol log, of the servers that clients connect to
    Exchange,
    /// nginx as a mail proxy: its error log, at level info or lower
    Nginx,
}

impl Format {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 7] = [
        Self::DecisionLog,
        Self::SessionLog,
        Self::Dovecot,
        Self::Courier,
        Self::Cyrus,
        Self::Exchange,
        Self::Nginx,
    ];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DecisionLog => "Reprieve's decision log",
            Self::SessionLog => "Reprieve's session lines",
            Self::Dovecot => "Dovecot",
            Self::Courier => "Courier",
            Self::Cyrus => "Cyrus",
            Self::Exchange => "Exchange",
            Self::Nginx => "nginx",
        }
    }

    /// Whether it is Reprieve's own: lines of JSON, written when sessions end, so that logins are
    /// out of order.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::DecisionLog | Self::SessionLog)
    }

    /// Whether a line that tells nothing could be one of such a log: it begins with a time.
    pub(super) fn knows(self, line: &str) -> bool {
        match self {
            Self::Dovecot | Self::Courier | Self::Cyrus => program(line).is_some(),
            Self::Nginx => stamp::take(line).is_some(),
            // Their readers say of each line whether it is one.
            Self::DecisionLog | Self::SessionLog | Self::Exchange => true,
        }
    }
}

/// The program that wrote a line of syslog, empty if it names none. None if the line does not
/// begin with a time. Dovecot's processes follow its name.
pub(super) fn program(line: &str) -> Option<&str> {
    let line = line.strip_prefix("dovecot: ").unwrap_or(line);
    let split = syslog::split(line)?;
    if split.tag != "dovecot" {
        return Some(split.tag);
    }
    Some(split.message.split([':', '(', ' ']).next().filter(|name| !name.is_empty()).unwrap_or(split.tag))
}

/// The longest user name that is believed, in octets: more than any mail server takes.
const USER_LIMIT: usize = 512;

/// A text that is kept of a login, at most so long: logs are not to fill the memory.
fn kept(mut text: String) -> String {
    if text.len() > USER_LIMIT {
        text.truncate(text.floor_char_boundary(USER_LIMIT));
        text.shrink_to_fit();
    }
    text
}

/// A user name as a log has it; none where it is empty or no name.
fn user_name(text: &str) -> Option<&str> {
    (!text.is_empty() && text.len() <= USER_LIMIT && !text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calendar::{Calendar, FirstYear};

    pub(super) fn calendar() -> Calendar {
        Calendar::new(jiff::tz::TimeZone::UTC, FirstYear::Is(2026))
    }

    /// The one login of a line.
    #[track_caller]
    pub(super) fn one(told: Told) -> Entry {
        match told {
            Told::Logins(mut logins) if logins.len() == 1 => logins.remove(0),
            other => panic!("{other:?} is not one login"),
        }
    }

    pub(super) fn utc_ms(text: &str) -> u64 {
        u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    /// Pieces of real lines, in any order and with anything between them, are what gets
    /// deepest into the readers.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            proptest::sample::select(vec![
                "Nov 27 22:11:26",
                "Feb 29 99:99:99",
                "<22>1 ",
                "<999999999999>",
                "2026-11-27T22:11:26.999999999Z",
                "2026-11-27 22:11:26",
                "2026/11/27 22:11:26",
                "99999-99-99T",
                " host ",
                "dovecot: ",
                "pop3-login: ",
                "Info: ",
                "Login: ",
                "user=<",
                ">, ",
                "method=PLAIN, ",
                "rip=",
                "lip=",
                "::1",
                "TLS",
                "session=<",
                "(auth failed, ",
                "99999999999999999999 attempts",
                " in 2 secs)",
                "proxy(",
                "): started proxying to ",
                "pop3d: ",
                "LOGIN, ",
                "LOGIN FAILED, ",
                "user=",
                "ip=[",
                "], port=[",
                "]",
                "pop3[1]: ",
                "cyrus/pop3s[",
                "login: ",
                "badlogin: ",
                " plaintext",
                "User logged in",
                " [",
                "(",
                ")",
                "message repeated 3 times: [ ",
                "last message repeated 99 times",
                "Logged in: ",
                "Login aborted: x (",
                "Login failed",
                ", 1/2 successful auths in 3 secs",
                "#Fields: ",
                "dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context",
                ",pass,",
                ",user,",
                "R=ok",
                "\"",
                "\"\"",
                ",",
                "[info] 1#0: *",
                "client logged in, ",
                "client login failed: ",
                "client: ",
                "server: ",
                "login: \"",
                "upstream: ",
                "{",
                "}",
                "\"v\":1",
                "\"logins\":[{",
                "\"at\":18446744073709551615",
                "\"user\":",
                "\"message\":\"session\"",
                ":",
                "\\u0000",
                "\u{feff}",
                "é",
                "\0",
                "-",
                " ",
            ])
            .prop_map(str::to_owned),
            ".{0,6}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_line_is_too_much(lines in proptest::collection::vec(pieces(), 1..4)) {
            for format in Format::ALL {
                let mut reader = Reader::new(format);
                let mut calendar = calendar();
                for line in &lines {
                    if let Told::Logins(logins) = reader.read(line, &mut calendar) {
                        prop_assert!(logins.iter().all(|login| user_name(&login.user).is_some() && login.times > 0));
                    }
                }
            }
        }
    }
}
