//! Exchange's POP3 protocol log: CSV whose `#Fields:` line names the columns, one line a command
//! (the columns are those of Exchange 2013 to 2019; what stands in them is as parsers of other
//! people and their samples have it, for want of an Exchange):
//!
//! ```text
//! #Log-type: POP3 Log
//! #Fields: dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context
//! 2026-11-27T22:11:26.123Z,0000000000000001,1,10.0.0.1:995,192.0.2.7:50312,,1,10,5,user,alice@example.org,R=OK
//! 2026-11-27T22:11:26.250Z,0000000000000001,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,pass,*****,R=OK
//! 2026-11-27T22:11:27.250Z,0000000000000002,2,10.0.0.1:995,192.0.2.7:50313,,102,10,66,pass,*****,"R=""-ERR Logon failure: unknown user name or bad password."""
//! ```

use std::collections::HashMap;

use super::words::{address, mechanism, some_tls};
use super::{Told, stamp, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::{Ending, Mechanism};

/// Sessions that have said USER and not yet PASS; those of a hostile log are forgotten.
const MOST_SESSIONS: usize = 10_000;
/// Columns of a line; Exchange has a dozen.
const MOST_COLUMNS: usize = 64;
/// The port on which a server takes what the front end passes on: it has logged that already.
const BACK_END_PORT: u16 = 1995;

/// Reads the lines of one log, the first of which say what the columns are.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    columns: Option<Columns>,
    /// It has the same columns.
    is_imap: bool,
    /// Who has been named in a session, by its id.
    named: HashMap<String, String>,
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
    fn read(header: &str) -> Option<Self> {
        let names: Vec<&str> = header.split(',').map(str::trim).take(MOST_COLUMNS).collect();
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

impl Exchange {
    pub(super) fn read(&mut self, line: &str, calendar: &mut Calendar) -> Told {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if let Some(kind) = line.strip_prefix("#Log-type:") {
            self.is_imap = kind.contains("IMAP");
        }
        // Some have it without the word.
        let header = line.strip_prefix("#Fields:").or_else(|| line.starts_with("dateTime,").then_some(line));
        if let Some(header) = header {
            self.columns = Columns::read(header);
            if self.columns.is_none() {
                return Told::Malformed("a #Fields line without the columns of a POP3 log");
            }
            return Told::Nothing;
        }
        if line.starts_with('#') || self.is_imap {
            return Told::Nothing;
        }
        let Some(columns) = self.columns else { return Told::Nothing };
        if line.is_empty() {
            return Told::Nothing;
        }
        let Some(fields) = fields(line) else {
            return Told::Malformed("a quotation mark that is not closed");
        };
        let field = |column: usize| fields.get(column).map(String::as_str);
        let (Some(command), Some(session)) = (field(columns.command), field(columns.session)) else {
            return Told::Malformed("fewer columns than #Fields names");
        };
        let parameters = field(columns.parameters).unwrap_or("");
        match command.to_ascii_lowercase().as_str() {
            "user" => {
                if self.named.len() >= MOST_SESSIONS {
                    self.named.clear();
                }
                if let Some(name) = user_name(parameters.trim()) {
                    self.named.insert(session.chars().take(64).collect(), name.to_owned());
                }
                Told::Nothing
            }
            word @ ("pass" | "auth" | "authenticate" | "apop") => {
                let mechanism = match word {
                    "pass" => Mechanism::UserPass,
                    "apop" => Mechanism::Apop,
                    _ => mechanism(parameters.split_whitespace().next().unwrap_or("")),
                };
                let named = self.named.remove(session);
                login(&fields, columns, named, mechanism, calendar)
            }
            _ => Told::Nothing,
        }
    }
}

fn login(
    fields: &[String],
    columns: Columns,
    named: Option<String>,
    mechanism: Mechanism,
    calendar: &mut Calendar,
) -> Told {
    let field = |column: usize| fields.get(column).map_or("", String::as_str);
    let Some((when, _)) = stamp::take(field(columns.time)) else {
        return Told::Malformed("no time at its beginning");
    };
    let local = address(field(columns.server));
    // What the client named is what the proxy would see; the column has Exchange's own name.
    let user = named.or_else(|| Some(field(columns.user).to_owned()).filter(|user| !user.is_empty()));
    let Some(user) = user else { return Told::Nothing };
    // Exchange looks after itself by logins that no proxy sees.
    if local.port() == BACK_END_PORT || user.starts_with("HealthMailbox") {
        return Told::Nothing;
    }
    let Some(user) = user_name(&user) else { return Told::BadName };
    let result = field(columns.context);
    let result = result.get(..2).filter(|prefix| prefix.eq_ignore_ascii_case("R=")).map(|_| &result[2..]);
    let ending = match result {
        Some(result) if result.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("ok")) => {
            Ending::Authenticated
        }
        Some(result) if result.contains("-ERR") => Ending::Rejected,
        // A continuation, or a client that went.
        _ => return Told::Nothing,
    };
    let Some(at_ms) = when.resolve(calendar) else { return Told::Malformed("no such date") };
    Told::login(Entry {
        mechanism,
        peer: address(field(columns.client)),
        local,
        tls: (local.port() == 995).then(some_tls),
        latency_ms: columns.duration.and_then(|column| field(column).parse().ok()),
        ..Entry::new(at_ms, user, ending)
    })
}

/// The fields of a line of CSV (RFC 4180). None where a quotation mark is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::with_capacity(13);
    let mut rest = line;
    loop {
        if fields.len() >= MOST_COLUMNS {
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
            // What follows the closing mark up to the comma belongs to nothing.
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

    fn last(lines: &[&str]) -> Told {
        let (mut exchange, mut calendar) = (Exchange::default(), calendar());
        let mut told = Told::Nothing;
        for line in lines {
            told = exchange.read(line, &mut calendar);
        }
        told
    }

    #[test]
    fn a_login_has_the_clients_name_and_how_long_it_took() {
        let login = one(last(&[
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
    fn a_refused_login_is_one_too() {
        let login = one(last(&[
            FIELDS,
            "2026-11-27T22:11:26.123Z,00A1,1,10.0.0.1:110,192.0.2.7:50312,,1,10,5,user,alice,R=OK",
            "2026-11-27T22:11:26.250Z,00A1,2,10.0.0.1:110,192.0.2.7:50312,,102,10,66,pass,*****,\"R=\"\"-ERR Logon failure: unknown user name or bad password.\"\"\"",
        ]));
        assert_eq!((&*login.user, login.outcome), ("alice", Some(Ending::Rejected)));
    }

    #[test]
    fn columns_are_where_the_log_says() {
        let login = one(last(&[
            "#Fields: user,command,context,parameters,cIp,sIp,sessionId,dateTime",
            "alice,auth,R=ok,PLAIN,[2001:db8::7]:1,10.0.0.1:110,1,2026-11-27T22:11:26.250Z",
        ]));
        assert_eq!((&*login.user, login.mechanism), ("alice", Mechanism::Plain));
    }

    #[test]
    fn what_no_proxy_would_see_is_nothing() {
        for line in [
            "2026-11-27T22:11:26.250Z,1,2,10.0.0.1:1995,10.0.0.1:50312,alice,102,10,66,pass,*****,R=OK",
            "2026-11-27T22:11:26.250Z,1,2,127.0.0.1:995,127.0.0.1:50312,HealthMailboxb4dbf9b,102,10,66,pass,*****,R=OK",
            "2026-11-27T22:11:26.250Z,1,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,stat,,R=OK",
        ] {
            assert!(matches!(last(&[FIELDS, line]), Told::Nothing), "{line}");
        }
        for line in ["garbage", "a,\"b", "x,1,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,pass,*****,R=OK"]
        {
            assert!(matches!(last(&[FIELDS, line]), Told::Malformed(_)), "{line}");
        }
        assert!(matches!(last(&["#Fields: dateTime,user"]), Told::Malformed(_)));
        let imap = "2026-11-27T22:11:26.250Z,1,2,10.0.0.1:993,192.0.2.7:50312,alice,102,10,66,authenticate,PLAIN,R=OK";
        assert!(matches!(last(&["#Log-type: IMAP4 Protocol Log", FIELDS, imap]), Told::Nothing));
    }
}
