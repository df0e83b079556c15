//! Exchange's POP3 protocol log: CSV with a line per command and a `#Fields:` line that names the
//! columns. The columns are those of Exchange 2013 to 2019; their contents are from published
//! samples and parsers, not checked against an Exchange server:
//!
//! ```text
//! #Log-type: POP3 Log
//! #Fields: dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context
//! 2026-11-27T22:11:26.123Z,0000000000000001,1,10.0.0.1:995,192.0.2.7:50312,,1,10,5,user,alice@example.org,R=OK
//! 2026-11-27T22:11:26.250Z,0000000000000001,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,pass,*****,R=OK
//! 2026-11-27T22:11:27.250Z,0000000000000002,2,10.0.0.1:995,192.0.2.7:50313,,102,10,66,pass,*****,"R=""-ERR Logon failure: unknown user name or bad password."""
//! ```

use std::collections::HashMap;

use super::fields::{address, mechanism, unknown_tls};
use super::{ParsedLine, Parser, timestamp, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::{Ending, Mechanism};

/// The most sessions between USER and PASS. If a hostile log has more, all are forgotten.
const MAX_SESSIONS: usize = 10_000;
/// The most columns that are parsed; Exchange has twelve.
const MAX_COLUMNS: usize = 64;
/// The port of the back-end service. The front end has logged its logins already.
const BACK_END_PORT: u16 = 1995;

/// Parses the lines of one log.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    columns: Option<Columns>,
    /// The IMAP log has the same columns.
    is_imap: bool,
    /// User names from USER commands, by session id.
    users: HashMap<String, String>,
}

#[derive(Clone, Copy, Debug)]
struct Columns {
    time: usize,
    session: usize,
    server: usize,
    client: usize,
    user: usize,
    duration: Option<usize>,
    command: usize,
    parameters: usize,
    context: usize,
}

impl Columns {
    fn parse(header: &str) -> Option<Self> {
        let names: Vec<&str> = header.split(',').map(str::trim).take(MAX_COLUMNS).collect();
        let find = |name: &str| names.iter().position(|other| other.eq_ignore_ascii_case(name));
        Some(Self {
            time: find("dateTime")?,
            session: find("sessionId")?,
            server: find("sIp")?,
            client: find("cIp")?,
            user: find("user")?,
            duration: find("duration"),
            command: find("command")?,
            parameters: find("parameters")?,
            context: find("context")?,
        })
    }
}

impl Parser for Exchange {
    fn parse(&mut self, line: &str, calendar: &mut Calendar) -> ParsedLine {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if let Some(log_type) = line.strip_prefix("#Log-type:") {
            self.is_imap = log_type.contains("IMAP");
        }
        // Some logs have the header without `#Fields:`.
        let header = line.strip_prefix("#Fields:").or_else(|| line.starts_with("dateTime,").then_some(line));
        if let Some(header) = header {
            self.columns = Columns::parse(header);
            if self.columns.is_none() {
                return ParsedLine::Malformed("a #Fields line without the columns of a POP3 log");
            }
            return ParsedLine::NoLogin;
        }
        if line.is_empty() || line.starts_with('#') || self.is_imap {
            return ParsedLine::NoLogin;
        }
        let Some(columns) = self.columns else { return ParsedLine::NoLogin };
        match csv_fields(line) {
            Some(fields) => self.command(&fields, columns, calendar),
            None => ParsedLine::Malformed("a quotation mark that is not closed"),
        }
    }
}

impl Exchange {
    /// Parses the fields of a line: one command of a client.
    fn command(&mut self, fields: &[String], columns: Columns, calendar: &mut Calendar) -> ParsedLine {
        let field = |column: usize| fields.get(column).map(String::as_str);
        let (Some(command), Some(session)) = (field(columns.command), field(columns.session)) else {
            return ParsedLine::Malformed("fewer columns than in #Fields");
        };
        let parameters = field(columns.parameters).unwrap_or("");
        let mechanism = match command.to_ascii_lowercase().as_str() {
            "user" => {
                if self.users.len() >= MAX_SESSIONS {
                    self.users.clear();
                }
                if let Some(name) = user_name(parameters.trim()) {
                    self.users.insert(session.chars().take(64).collect(), name.to_owned());
                }
                return ParsedLine::NoLogin;
            }
            "pass" => Mechanism::UserPass,
            "apop" => Mechanism::Apop,
            "auth" | "authenticate" => mechanism(parameters.split_whitespace().next().unwrap_or("")),
            _ => return ParsedLine::NoLogin,
        };
        let user = self.users.remove(session);
        login(fields, columns, user, mechanism, calendar)
    }
}

fn login(
    fields: &[String],
    columns: Columns,
    user: Option<String>,
    mechanism: Mechanism,
    calendar: &mut Calendar,
) -> ParsedLine {
    let field = |column: usize| fields.get(column).map_or("", String::as_str);
    let Some((timestamp, _)) = timestamp::parse_prefix(field(columns.time)) else {
        return ParsedLine::Malformed("no timestamp at the beginning");
    };
    let local = address(field(columns.server));
    // A proxy sees the name that the client sends; the column has the name of the account.
    let user = user.or_else(|| Some(field(columns.user).to_owned()).filter(|user| !user.is_empty()));
    let Some(user) = user else { return ParsedLine::NoLogin };
    // Exchange logs in to itself as a health check.
    if local.port() == BACK_END_PORT || user.starts_with("HealthMailbox") {
        return ParsedLine::NoLogin;
    }
    let Some(user) = user_name(&user) else { return ParsedLine::InvalidUserName };
    let result = field(columns.context);
    let result = result.get(..2).filter(|prefix| prefix.eq_ignore_ascii_case("R=")).map(|_| &result[2..]);
    let ending = match result {
        Some(result) if result.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("ok")) => {
            Ending::Authenticated
        }
        Some(result) if result.contains("-ERR") => Ending::Rejected,
        // A continuation, or a client that disconnected.
        _ => return ParsedLine::NoLogin,
    };
    let Some(at_ms) = timestamp.resolve(calendar) else { return ParsedLine::Malformed("no such date") };
    ParsedLine::login(Entry {
        mechanism,
        peer: address(field(columns.client)),
        local,
        tls: (local.port() == 995).then(unknown_tls),
        latency_ms: columns.duration.and_then(|column| field(column).parse().ok()),
        ..Entry::new(at_ms, user, ending)
    })
}

/// The fields of a line of CSV (RFC 4180). None if a quotation mark is not closed.
fn csv_fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::with_capacity(13);
    let mut rest = line;
    loop {
        if fields.len() >= MAX_COLUMNS {
            return Some(fields);
        }
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            loop {
                let (inside, after) = quoted.split_once('"')?;
                field.push_str(inside);
                quoted = after;
                match quoted.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        quoted = after;
                    }
                    None => break,
                }
            }
            // Text between the closing mark and the comma is ignored.
            fields.push(field);
            match quoted.split_once(',') {
                Some((_, after)) => rest = after,
                None => return Some(fields),
            }
        } else {
            match rest.split_once(',') {
                Some((field, after)) => {
                    fields.push(field.to_owned());
                    rest = after;
                }
                None => {
                    fields.push(rest.to_owned());
                    return Some(fields);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, one, utc_ms};
    use super::*;

    const FIELDS: &str = "#Fields: dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context";

    /// Parses all lines; the result of the last one.
    fn parse_last(lines: &[&str]) -> ParsedLine {
        let (mut exchange, mut calendar) = (Exchange::default(), calendar());
        let mut parsed = ParsedLine::NoLogin;
        for line in lines {
            parsed = exchange.parse(line, &mut calendar);
        }
        parsed
    }

    #[test]
    fn a_login_has_the_name_that_the_client_sent_and_its_latency() {
        let login = one(parse_last(&[
            "\u{feff}#Software: Microsoft Exchange Server",
            FIELDS,
            "2026-11-27T22:11:26.001Z,00A1,0,10.0.0.1:995,192.0.2.7:50312,,3,0,53,OpenSession,,",
            "2026-11-27T22:11:26.123Z,00A1,1,10.0.0.1:995,192.0.2.7:50312,,1,10,5,user,alice@example.org,R=OK",
            "2026-11-27T22:11:26.250Z,00A1,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,pass,*****,\"R=OK;Msg=\"\"Proxy:EX1:1995:SSL\"\"\"",
        ]));
        assert_eq!((login.at_ms, &*login.user), (utc_ms("2026-11-27T22:11:26.250Z"), "alice@example.org"));
        assert_eq!((login.latency_ms, login.outcome), (Some(102), Some(Ending::Authenticated)));
        assert_eq!(login.peer.to_string(), "192.0.2.7:50312");
        assert!(login.tls.is_some());
    }

    #[test]
    fn a_rejected_login_is_parsed() {
        let login = one(parse_last(&[
            FIELDS,
            "2026-11-27T22:11:26.123Z,00A1,1,10.0.0.1:110,192.0.2.7:50312,,1,10,5,user,alice,R=OK",
            "2026-11-27T22:11:26.250Z,00A1,2,10.0.0.1:110,192.0.2.7:50312,,102,10,66,pass,*****,\"R=\"\"-ERR Logon failure: unknown user name or bad password.\"\"\"",
        ]));
        assert_eq!((&*login.user, login.outcome), ("alice", Some(Ending::Rejected)));
    }

    #[test]
    fn columns_are_found_by_the_header() {
        let login = one(parse_last(&[
            "#Fields: user,command,context,parameters,cIp,sIp,sessionId,dateTime",
            "alice,auth,R=ok,PLAIN,[2001:db8::7]:1,10.0.0.1:110,1,2026-11-27T22:11:26.250Z",
        ]));
        assert_eq!((&*login.user, login.mechanism), ("alice", Mechanism::Plain));
    }

    #[test]
    fn lines_that_are_not_client_logins_are_ignored() {
        for line in [
            "2026-11-27T22:11:26.250Z,1,2,10.0.0.1:1995,10.0.0.1:50312,alice,102,10,66,pass,*****,R=OK",
            "2026-11-27T22:11:26.250Z,1,2,127.0.0.1:995,127.0.0.1:50312,HealthMailboxb4dbf9b,102,10,66,pass,*****,R=OK",
            "2026-11-27T22:11:26.250Z,1,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,stat,,R=OK",
        ] {
            assert!(matches!(parse_last(&[FIELDS, line]), ParsedLine::NoLogin), "{line}");
        }
        for line in ["garbage", "a,\"b", "x,1,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,pass,*****,R=OK"]
        {
            assert!(matches!(parse_last(&[FIELDS, line]), ParsedLine::Malformed(_)), "{line}");
        }
        assert!(matches!(parse_last(&["#Fields: dateTime,user"]), ParsedLine::Malformed(_)));
        let imap = "2026-11-27T22:11:26.250Z,1,2,10.0.0.1:993,192.0.2.7:50312,alice,102,10,66,authenticate,PLAIN,R=OK";
        assert!(matches!(parse_last(&["#Log-type: IMAP4 Protocol Log", FIELDS, imap]), ParsedLine::NoLogin));
    }
}
