//! One session at the stub, without I/O: lines in, replies out.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::counts::Counts;
use crate::mailbox::{Mailbox, Wire};

const GREETING: &[u8] = b"+OK reprieve-load ready\r\n";
const CAPABILITIES: &[u8] = b"+OK\r\nTOP\r\nUIDL\r\nUSER\r\nRESP-CODES\r\nPIPELINING\r\nSASL PLAIN\r\n.\r\n";
const OK: &[u8] = b"+OK\r\n";

/// Shared by all sessions.
pub(super) struct Shared {
    mailbox: Mailbox,
    pub(super) counts: Counts,
    stat: Vec<u8>,
    list: Vec<u8>,
    uidl: Vec<u8>,
}

impl Shared {
    /// Renders the listings once, because they are the same for every user.
    pub(super) fn new(mailbox: Mailbox) -> Self {
        let mut list = "+OK\r\n".to_string();
        let mut uidl = list.clone();
        for number in 1..=mailbox.messages() {
            let _ = write!(list, "{number} {}\r\n", mailbox.size());
            let _ = write!(uidl, "{number} {}\r\n", mailbox.unique_id(number));
        }
        list.push_str(".\r\n");
        uidl.push_str(".\r\n");
        let stat = format!("+OK {} {}\r\n", mailbox.messages(), mailbox.bytes());
        Self { mailbox, counts: Counts::default(), stat: stat.into(), list: list.into(), uidl: uidl.into() }
    }
}

/// What to do after sending the output.
pub(super) enum Action<'a> {
    /// Read the next line.
    Continue,
    /// Send a message.
    Send(Wire<'a>),
    /// Close the connection.
    Close,
}

enum State {
    Authorization,
    /// After AUTH PLAIN without an initial response.
    Response,
    Transaction,
}

pub(super) struct Dialogue<'a> {
    shared: &'a Shared,
    state: State,
    user_given: bool,
}

impl<'a> Dialogue<'a> {
    /// Starts a session with the greeting.
    pub(super) fn begin(shared: &'a Shared, output: &mut Vec<u8>) -> Self {
        shared.counts.connection();
        output.extend_from_slice(GREETING);
        Self { shared, state: State::Authorization, user_given: false }
    }

    /// Handles a line, given without its end.
    pub(super) fn answer(&mut self, line: &[u8], output: &mut Vec<u8>) -> Action<'a> {
        if matches!(self.state, State::Response) {
            self.response(line, output);
            return Action::Continue;
        }
        let (verb, argument) = match memchr::memchr(b' ', line) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let mut name = [0; 6];
        let Some(name) = name.get_mut(..verb.len()) else {
            return refuse(output, "unknown command");
        };
        name.copy_from_slice(verb);
        name.make_ascii_uppercase();
        match (&*name, &self.state) {
            (b"QUIT", _) => {
                output.extend_from_slice(OK);
                Action::Close
            }
            (b"CAPA", _) => reply(output, CAPABILITIES),
            (b"XCOUNT", _) => {
                output.extend_from_slice(format!("+OK {}\r\n", self.shared.counts).as_bytes());
                Action::Continue
            }
            (b"USER", State::Authorization) if !argument.is_empty() => {
                self.user_given = true;
                reply(output, OK)
            }
            (b"PASS", State::Authorization) if self.user_given => self.log_in(output),
            (b"AUTH", State::Authorization) => self.auth(argument, output),
            (_, State::Authorization) => refuse(output, "log in first"),
            (b"STAT", _) => reply(output, &self.shared.stat),
            (b"NOOP" | b"RSET", _) => reply(output, OK),
            (b"LIST", _) if argument.is_empty() => reply(output, &self.shared.list),
            (b"UIDL", _) if argument.is_empty() => reply(output, &self.shared.uidl),
            (b"LIST" | b"UIDL" | b"RETR" | b"DELE" | b"TOP", _) => {
                self.message_command(name, argument, output)
            }
            _ => refuse(output, "unknown command"),
        }
    }

    fn message_command(&self, verb: &[u8], argument: &[u8], output: &mut Vec<u8>) -> Action<'a> {
        let mailbox = &self.shared.mailbox;
        let mut words = std::str::from_utf8(argument).unwrap_or_default().split(' ');
        let number = words.next().and_then(|word| word.parse::<u32>().ok());
        let Some(number) = number.filter(|number| (1..=mailbox.messages()).contains(number)) else {
            return refuse(output, "no such message");
        };
        match verb {
            b"LIST" => {
                output.extend_from_slice(format!("+OK {number} {}\r\n", mailbox.size()).as_bytes());
                Action::Continue
            }
            b"UIDL" => {
                let line = format!("+OK {number} {}\r\n", mailbox.unique_id(number));
                output.extend_from_slice(line.as_bytes());
                Action::Continue
            }
            b"RETR" => {
                self.shared.counts.retrieval();
                output.extend_from_slice(format!("+OK {} bytes\r\n", mailbox.size()).as_bytes());
                Action::Send(mailbox.message(number))
            }
            b"TOP" => match words.next().and_then(|word| word.parse().ok()) {
                Some(lines) => {
                    output.extend_from_slice(OK);
                    Action::Send(mailbox.top(number, lines))
                }
                None => refuse(output, "TOP needs a number of lines"),
            },
            // DELE is accepted but deletes nothing.
            _ => reply(output, OK),
        }
    }

    fn auth(&mut self, argument: &[u8], output: &mut Vec<u8>) -> Action<'a> {
        let mut words = argument.splitn(2, |byte| *byte == b' ');
        let mechanism = words.next().unwrap_or_default();
        if !mechanism.eq_ignore_ascii_case(b"PLAIN") {
            return refuse(output, "only PLAIN is known");
        }
        match words.next() {
            Some(response) => self.response(response, output),
            None => {
                self.state = State::Response;
                output.extend_from_slice(b"+ \r\n");
            }
        }
        Action::Continue
    }

    /// Checks only that the response has three parts; any user and password are accepted.
    fn response(&mut self, response: &[u8], output: &mut Vec<u8>) {
        self.state = State::Authorization;
        let parts = BASE64_STANDARD.decode(response).unwrap_or_default();
        if parts.iter().filter(|byte| **byte == 0).count() == 2 {
            self.log_in(output);
        } else {
            refuse(output, "not a valid response for PLAIN");
        }
    }

    fn log_in(&mut self, output: &mut Vec<u8>) -> Action<'a> {
        self.shared.counts.login();
        self.state = State::Transaction;
        reply(output, OK)
    }
}

fn reply<'a>(output: &mut Vec<u8>, answer: &[u8]) -> Action<'a> {
    output.extend_from_slice(answer);
    Action::Continue
}

fn refuse<'a>(output: &mut Vec<u8>, why: &str) -> Action<'a> {
    output.extend_from_slice(b"-ERR ");
    output.extend_from_slice(why.as_bytes());
    output.extend_from_slice(b"\r\n");
    Action::Continue
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stub's replies to these lines, and whether it closes the connection.
    fn talk(lines: &[&str]) -> (String, bool) {
        let shared = Shared::new(Mailbox::new(2, 100));
        let mut output = Vec::new();
        let mut dialogue = Dialogue::begin(&shared, &mut output);
        output.clear();
        let mut closed = false;
        for line in lines {
            match dialogue.answer(line.as_bytes(), &mut output) {
                Action::Continue => {}
                Action::Send(wire) => output.extend(wire.parts().concat()),
                Action::Close => closed = true,
            }
        }
        (String::from_utf8(output).unwrap(), closed)
    }

    #[test]
    fn a_session_follows_rfc_1939() {
        let (said, closed) =
            talk(&["USER a", "PASS b", "STAT", "LIST", "list 2", "UIDL 1", "DELE 1", "STAT"]);
        let expected = "+OK\r\n+OK\r\n+OK 2 200\r\n+OK\r\n1 100\r\n2 100\r\n.\r\n+OK 2 100\r\n\
                        +OK 1 load.100.00000001\r\n+OK\r\n+OK 2 200\r\n";
        assert_eq!(said, expected);
        assert!(!closed);
        assert!(talk(&["quit"]).1);
    }

    #[test]
    fn a_message_has_its_size_and_its_end() {
        let (said, _) = talk(&["USER a", "PASS b", "RETR 2"]);
        let message = said.strip_prefix("+OK\r\n+OK\r\n+OK 100 bytes\r\n").unwrap();
        assert!(message.contains("Subject: message 00000002\r\n") && message.ends_with("\r\n.\r\n"));
        let (said, _) = talk(&["USER a", "PASS b", "TOP 1 0"]);
        assert!(said.ends_with("Subject: message 00000001\r\n\r\n.\r\n"));
    }

    #[test]
    fn auth_plain_works_with_and_without_an_initial_response() {
        assert_eq!(talk(&["AUTH PLAIN AGEAYg==", "NOOP"]).0, "+OK\r\n+OK\r\n");
        assert_eq!(talk(&["AUTH PLAIN", "AGEAYg==", "NOOP"]).0, "+ \r\n+OK\r\n+OK\r\n");
        assert!(talk(&["AUTH PLAIN", "*"]).0.contains("-ERR"));
        assert!(talk(&["AUTH CRAM-MD5"]).0.starts_with("-ERR"));
    }

    #[test]
    fn invalid_commands_are_refused() {
        for wrong in ["STAT", "PASS b", "USER", "XYZZY", "A-LONG-COMMAND x", ""] {
            assert!(talk(&[wrong]).0.starts_with("-ERR"), "{wrong}");
        }
        for wrong in ["RETR 3", "RETR 0", "RETR", "LIST x", "TOP 1", "DELE 9"] {
            assert!(talk(&["USER a", "PASS b", wrong]).0.contains("-ERR"), "{wrong}");
        }
    }

    #[test]
    fn xcount_counts_connections_logins_and_messages() {
        let (said, _) = talk(&["USER a", "PASS b", "RETR 1", "XCOUNT"]);
        assert!(said.ends_with("+OK connections=1 logins=1 retrieved=1\r\n"));
    }
}
