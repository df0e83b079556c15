//! Log formats. Each has a parser that turns lines into logins; nothing here opens files.
//!
//! To add a format, write its parser in a file here, and add a variant to [`Format`] and its row
//! to `FORMATS`.

mod courier;
mod cyrus;
mod decision_log;
pub mod delivery;
mod detector;
mod dovecot;
mod exchange;
mod fields;
mod nginx;
mod reader;
mod repeated;
mod session_log;
mod syslog;
mod timestamp;

use std::fmt::Debug;

use super::calendar::Calendar;
use super::entry::Entry;

pub(super) use detector::{Detected, Detector};
pub use reader::Reader;

/// What a parser found in a line.
#[derive(Clone, Debug)]
pub enum ParsedLine {
    /// POP3 logins: usually one.
    Logins(Vec<Entry>),
    /// Nothing about a POP3 login.
    NoLogin,
    /// A login with a user name that no mail server accepts.
    InvalidUserName,
    /// A line that should describe a login but cannot be parsed, and why.
    Malformed(&'static str),
}

impl ParsedLine {
    fn login(entry: Entry) -> Self {
        Self::Logins(vec![entry])
    }
}

/// The software that wrote a log.
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
    /// Exchange's POP3 protocol log, from the servers that clients connect to
    Exchange,
    /// nginx as a mail proxy: its error log, at level info or lower
    Nginx,
}

/// Parses the lines of one log, one after the other.
trait Parser: Debug {
    fn parse(&mut self, line: &str, calendar: &mut Calendar) -> ParsedLine;
}

/// A parser that needs no other line than the one that it parses.
type ParseLine = fn(&str, &mut Calendar) -> ParsedLine;

impl Parser for ParseLine {
    fn parse(&mut self, line: &str, calendar: &mut Calendar) -> ParsedLine {
        self(line, calendar)
    }
}

/// How the lines of a format begin, so that other lines can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineStart {
    /// A syslog header. The syslog daemon may have replaced repeated lines by a count.
    Syslog,
    /// A date and a time.
    Time,
    /// Something else: the parser reports each line that is not of its format.
    Other,
}

/// Everything about a format except its documentation, which is in [`Format`] for `--help`.
#[derive(Debug)]
struct FormatInfo {
    format: Format,
    /// Name in reports.
    name: &'static str,
    line_start: LineStart,
    /// Whether Reprieve wrote the log: a line per session, written when the session ends.
    is_own: bool,
    parser: fn() -> Box<dyn Parser>,
}

/// All formats, in the order in which they are tried on a log. It is the order of the variants.
static FORMATS: [FormatInfo; 7] = [
    FormatInfo {
        format: Format::DecisionLog,
        name: "Reprieve's decision log",
        line_start: LineStart::Other,
        is_own: true,
        parser: || Box::new(decision_log::parse as ParseLine),
    },
    FormatInfo {
        format: Format::SessionLog,
        name: "Reprieve's log",
        line_start: LineStart::Other,
        is_own: true,
        parser: || Box::new(session_log::parse as ParseLine),
    },
    FormatInfo {
        format: Format::Dovecot,
        name: "Dovecot",
        line_start: LineStart::Syslog,
        is_own: false,
        parser: || Box::new(dovecot::Dovecot::default()),
    },
    FormatInfo {
        format: Format::Courier,
        name: "Courier",
        line_start: LineStart::Syslog,
        is_own: false,
        parser: || Box::new(courier::parse as ParseLine),
    },
    FormatInfo {
        format: Format::Cyrus,
        name: "Cyrus",
        line_start: LineStart::Syslog,
        is_own: false,
        parser: || Box::new(cyrus::parse as ParseLine),
    },
    FormatInfo {
        format: Format::Exchange,
        name: "Exchange",
        line_start: LineStart::Other,
        is_own: false,
        parser: || Box::new(exchange::Exchange::default()),
    },
    FormatInfo {
        format: Format::Nginx,
        name: "nginx",
        line_start: LineStart::Time,
        is_own: false,
        parser: || Box::new(nginx::parse as ParseLine),
    },
];

impl Format {
    /// All formats, in the order in which they are tried on a log.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|info| info.format)
    }

    fn info(self) -> &'static FormatInfo {
        &FORMATS[self as usize]
    }

    /// Name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Whether Reprieve wrote the log: lines of JSON, written when sessions end, so that logins
    /// are out of order.
    pub(super) fn is_own(self) -> bool {
        self.info().is_own
    }

    /// Whether a line without a login could be from a log of this format.
    pub(super) fn could_have_written(self, line: &str) -> bool {
        match self.info().line_start {
            LineStart::Syslog => program(line).is_some(),
            LineStart::Time => timestamp::parse_prefix(line).is_some(),
            LineStart::Other => true,
        }
    }
}

/// The program that wrote a syslog line; empty if the line names none. None if the line does not
/// begin with a time. For Dovecot, the name of the process: `imap-login` instead of `dovecot`.
pub(super) fn program(line: &str) -> Option<&str> {
    let line = line.strip_prefix("dovecot: ").unwrap_or(line);
    let line = syslog::split(line)?;
    if line.tag != "dovecot" {
        return Some(line.tag);
    }
    Some(line.message.split([':', '(', ' ']).next().filter(|name| !name.is_empty()).unwrap_or(line.tag))
}

/// The longest accepted user name in bytes: more than any mail server accepts.
const USER_LIMIT: usize = 512;

/// Cuts a text at the limit of user names, so that a hostile log cannot fill the memory.
fn truncated(mut text: String) -> String {
    if text.len() > USER_LIMIT {
        text.truncate(text.floor_char_boundary(USER_LIMIT));
        text.shrink_to_fit();
    }
    text
}

/// The user name if it is valid: not empty, not too long, without a null character.
fn user_name(text: &str) -> Option<&str> {
    (!text.is_empty() && text.len() <= USER_LIMIT && !text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calendar::FirstYear;

    #[test]
    fn the_table_has_the_order_of_the_variants() {
        for (index, format) in Format::all().enumerate() {
            assert_eq!(format as usize, index, "{format:?}");
        }
    }

    pub(super) fn calendar() -> Calendar {
        Calendar::new(jiff::tz::TimeZone::UTC, FirstYear::Is(2026))
    }

    /// The login of a line that has exactly one.
    #[track_caller]
    pub(super) fn one(parsed: ParsedLine) -> Entry {
        match parsed {
            ParsedLine::Logins(mut logins) if logins.len() == 1 => logins.remove(0),
            other => panic!("{other:?} is not one login"),
        }
    }

    pub(super) fn utc_ms(text: &str) -> u64 {
        u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    /// Pieces of real lines, in any order and with anything between them: they get further into
    /// the parsers than random text. One table of pieces, so long.
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
        fn every_line_is_parsed_without_a_panic(lines in proptest::collection::vec(pieces(), 1..4)) {
            for format in Format::all() {
                let mut reader = Reader::new(format);
                let mut calendar = calendar();
                for line in &lines {
                    if let ParsedLine::Logins(logins) = reader.parse(line, &mut calendar) {
                        prop_assert!(logins.iter().all(|login| user_name(&login.user).is_some() && login.times > 0));
                    }
                }
            }
        }
    }
}
