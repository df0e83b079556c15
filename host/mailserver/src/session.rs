//! The server's side of a POP3 session (RFC 1939, 2449, 3206), without I/O: takes lines, returns
//! replies.

use std::collections::HashSet;
use std::sync::Arc;

use super::maildrop::{Lease, Maildrops, Message, Refused};
use super::meter::Meter;

/// The longest command in bytes, including CR LF (RFC 2449, section 4).
pub(crate) const COMMAND_LIMIT: usize = 255;

pub(crate) const BANNER: &[u8] = b"+OK POP3 server ready\r\n";
pub(crate) const TOO_LONG: &[u8] = b"-ERR line too long\r\n";
pub(crate) const INACTIVE: &[u8] = b"-ERR closed for inactivity\r\n";

const OK: &[u8] = b"+OK\r\n";
const UNKNOWN: &[u8] = b"-ERR unknown command\r\n";
const ARGUMENTS: &[u8] = b"-ERR wrong arguments\r\n";
const NO_SUCH_MESSAGE: &[u8] = b"-ERR no such message\r\n";
const CAPABILITIES: &[u8] = b"TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n";

/// What the connection does after a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Continue,
    Close,
}

enum State {
    Authorization { user: Option<String> },
    Transaction(Transaction),
}

/// One session, from the banner to QUIT.
pub(crate) struct Session {
    maildrops: Arc<Maildrops>,
    meter: Arc<Meter>,
    state: State,
}

impl Session {
    pub(crate) fn new(maildrops: Arc<Maildrops>, meter: Arc<Meter>) -> Self {
        Self { maildrops, meter, state: State::Authorization { user: None } }
    }

    /// Handles a line, without its line end, and writes the reply.
    pub(crate) fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Next {
        let (keyword, argument) = match line.iter().position(|&byte| byte == b' ') {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        if keyword == b"QUIT" {
            return self.quit(argument, out);
        }
        match &mut self.state {
            State::Authorization { .. } => self.authorize(&keyword, argument, out),
            State::Transaction(transaction) => transaction.command(&keyword, argument, out),
        }
        Next::Continue
    }

    fn authorize(&mut self, keyword: &[u8], argument: Option<&[u8]>, out: &mut Vec<u8>) {
        let State::Authorization { user: named } = &mut self.state else { return };
        match (keyword, argument) {
            (b"CAPA", None) => {
                out.extend_from_slice(OK);
                out.extend_from_slice(CAPABILITIES);
                out.extend_from_slice(b"USER\r\n.\r\n");
            }
            (b"USER", Some(name)) if !name.is_empty() => match std::str::from_utf8(name) {
                Ok(name) => {
                    *named = Some(name.to_owned());
                    out.extend_from_slice(OK);
                }
                Err(_) => out.extend_from_slice(ARGUMENTS),
            },
            // The password is the rest of the line, including spaces.
            (b"PASS", Some(password)) => match named.take() {
                Some(user) => self.log_in(&user, password, out),
                None => out.extend_from_slice(b"-ERR USER comes first\r\n"),
            },
            (b"CAPA" | b"USER" | b"PASS", _) => out.extend_from_slice(ARGUMENTS),
            (b"STAT" | b"LIST" | b"UIDL" | b"RETR" | b"TOP" | b"DELE" | b"RSET" | b"NOOP", _) => {
                out.extend_from_slice(b"-ERR log in first\r\n");
            }
            _ => out.extend_from_slice(UNKNOWN),
        }
    }

    fn log_in(&mut self, user: &str, password: &[u8], out: &mut Vec<u8>) {
        match self.meter.login(|| self.maildrops.open(user, password)) {
            Ok(lease) => {
                let transaction = Transaction::new(lease);
                let (count, bytes) = transaction.totals();
                out.extend_from_slice(format!("+OK {count} messages ({bytes} octets)\r\n").as_bytes());
                self.state = State::Transaction(transaction);
            }
            Err(refused) => {
                self.meter.rejected();
                out.extend_from_slice(match refused {
                    Refused::Credentials => b"-ERR [AUTH] wrong user name or password\r\n",
                    Refused::InUse => b"-ERR [IN-USE] maildrop is locked by another session\r\n",
                });
            }
        }
    }

    fn quit(&mut self, argument: Option<&[u8]>, out: &mut Vec<u8>) -> Next {
        if argument.is_some() {
            out.extend_from_slice(ARGUMENTS);
            return Next::Continue;
        }
        // Before the reply, because the next session can begin right after it.
        if let State::Transaction(transaction) =
            std::mem::replace(&mut self.state, State::Authorization { user: None })
        {
            transaction.commit();
        }
        out.extend_from_slice(b"+OK bye\r\n");
        Next::Close
    }
}

/// The TRANSACTION state: a locked maildrop and the messages that are marked as deleted.
struct Transaction {
    lease: Lease,
    deleted: Vec<bool>,
}

impl Transaction {
    fn new(lease: Lease) -> Self {
        let deleted = vec![false; lease.messages().len()];
        Self { lease, deleted }
    }

    fn command(&mut self, keyword: &[u8], argument: Option<&[u8]>, out: &mut Vec<u8>) {
        match (keyword, argument) {
            (b"STAT", None) => {
                let (count, bytes) = self.totals();
                out.extend_from_slice(format!("+OK {count} {bytes}\r\n").as_bytes());
            }
            (b"LIST", argument) => self.list(argument, out, |message| message.bytes.len().to_string()),
            (b"UIDL", argument) => self.list(argument, out, |message| message.unique_id.clone()),
            (b"RETR", Some(number)) => match self.find(number) {
                Some((_, message)) => {
                    out.extend_from_slice(format!("+OK {} octets\r\n", message.bytes.len()).as_bytes());
                    push_stuffed(out, &message.bytes, usize::MAX);
                }
                None => out.extend_from_slice(NO_SUCH_MESSAGE),
            },
            (b"TOP", Some(arguments)) => self.top(arguments, out),
            (b"DELE", Some(number)) => match self.find(number).map(|(index, _)| index) {
                Some(index) => {
                    self.deleted[index] = true;
                    out.extend_from_slice(OK);
                }
                None => out.extend_from_slice(NO_SUCH_MESSAGE),
            },
            (b"RSET", None) => {
                self.deleted.fill(false);
                out.extend_from_slice(OK);
            }
            (b"NOOP", None) => out.extend_from_slice(OK),
            (b"CAPA", None) => {
                out.extend_from_slice(OK);
                out.extend_from_slice(CAPABILITIES);
                out.extend_from_slice(b".\r\n");
            }
            (b"USER" | b"PASS", _) => out.extend_from_slice(b"-ERR you are logged in\r\n"),
            (b"STAT" | b"RETR" | b"TOP" | b"DELE" | b"RSET" | b"NOOP" | b"CAPA", _) => {
                out.extend_from_slice(ARGUMENTS);
            }
            _ => out.extend_from_slice(UNKNOWN),
        }
    }

    /// Number and total size of the messages that are not marked as deleted.
    fn totals(&self) -> (usize, usize) {
        self.undeleted().fold((0, 0), |(count, bytes), (_, message)| (count + 1, bytes + message.bytes.len()))
    }

    fn undeleted(&self) -> impl Iterator<Item = (usize, &Message)> {
        let numbered = self.lease.messages().iter().enumerate();
        numbered.filter(|(index, _)| !self.deleted[*index]).map(|(index, message)| (index, &**message))
    }

    fn find(&self, number: &[u8]) -> Option<(usize, &Message)> {
        let number = usize::try_from(decimal(number)?).ok()?;
        let index = number.checked_sub(1)?;
        let message = self.lease.messages().get(index)?;
        (!self.deleted[index]).then_some((index, &**message))
    }

    fn list(&self, argument: Option<&[u8]>, out: &mut Vec<u8>, show: impl Fn(&Message) -> String) {
        match argument {
            Some(number) => match self.find(number) {
                Some((index, message)) => {
                    out.extend_from_slice(format!("+OK {} {}\r\n", index + 1, show(message)).as_bytes());
                }
                None => out.extend_from_slice(NO_SUCH_MESSAGE),
            },
            None => {
                out.extend_from_slice(OK);
                for (index, message) in self.undeleted() {
                    out.extend_from_slice(format!("{} {}\r\n", index + 1, show(message)).as_bytes());
                }
                out.extend_from_slice(b".\r\n");
            }
        }
    }

    fn top(&self, arguments: &[u8], out: &mut Vec<u8>) {
        let mut words = arguments.split(|&byte| byte == b' ');
        let (Some(number), Some(lines), None) = (words.next(), words.next().and_then(decimal), words.next())
        else {
            out.extend_from_slice(ARGUMENTS);
            return;
        };
        match self.find(number) {
            Some((_, message)) => {
                out.extend_from_slice(OK);
                push_stuffed(out, &message.bytes, usize::try_from(lines).unwrap_or(usize::MAX));
            }
            None => out.extend_from_slice(NO_SUCH_MESSAGE),
        }
    }

    fn commit(self) {
        let messages = self.lease.messages().to_vec();
        let marked = messages.iter().zip(&self.deleted).filter(|(_, deleted)| **deleted);
        self.lease.delete(&marked.map(|(message, _)| message.unique_id.as_str()).collect::<HashSet<_>>());
    }
}

/// Parses a number of digits only.
fn decimal(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Writes the header of a message, up to `lines` lines of its body, and the final dot. Dots at the
/// start of a line are doubled (RFC 1939, section 3).
fn push_stuffed(out: &mut Vec<u8>, bytes: &[u8], lines: usize) {
    out.reserve(bytes.len() + 64);
    let mut body_lines = None;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match &mut body_lines {
            None if line == b"\r\n" => body_lines = Some(0),
            None => {}
            Some(shown) if *shown == lines => break,
            Some(shown) => *shown += 1,
        }
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Subject: dots\r\n\r\n.hidden\r\n..\r\nend\r\n.\r\n";

    fn session(messages: &[&[u8]]) -> (Session, Arc<Maildrops>) {
        let maildrops = Arc::new(Maildrops::new(2));
        maildrops.add_user("anna", "a secret");
        for message in messages {
            maildrops.deliver("anna", message);
        }
        (Session::new(Arc::clone(&maildrops), Arc::default()), maildrops)
    }

    fn say(session: &mut Session, lines: &[&str]) -> String {
        let mut out = Vec::new();
        for line in lines {
            session.line(line.as_bytes(), &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    fn logged_in(messages: &[&[u8]]) -> (Session, Arc<Maildrops>) {
        let (mut session, maildrops) = session(messages);
        assert!(say(&mut session, &["USER anna", "PASS a secret"]).starts_with("+OK\r\n+OK "));
        (session, maildrops)
    }

    #[test]
    fn a_wrong_password_gets_the_auth_response_code() {
        let (mut session, _) = session(&[]);
        assert!(say(&mut session, &["USER anna", "PASS a secre"]).contains("-ERR [AUTH]"));
        assert!(say(&mut session, &["PASS a secret"]).starts_with("-ERR"), "PASS needs a new USER");
        assert!(
            say(&mut session, &["user anna", "pass a secret"]).ends_with("+OK 0 messages (0 octets)\r\n")
        );
    }

    #[test]
    fn dots_are_doubled_on_the_wire_but_not_in_sizes() {
        let (mut session, _) = logged_in(&[MESSAGE]);
        assert_eq!(say(&mut session, &["LIST 1"]), format!("+OK 1 {}\r\n", MESSAGE.len()));
        assert_eq!(
            say(&mut session, &["RETR 1"]),
            format!(
                "+OK {} octets\r\nSubject: dots\r\n\r\n..hidden\r\n...\r\nend\r\n..\r\n.\r\n",
                MESSAGE.len()
            ),
        );
    }

    #[test]
    fn top_shows_the_header_and_the_requested_number_of_lines() {
        let (mut session, _) = logged_in(&[MESSAGE]);
        assert_eq!(say(&mut session, &["TOP 1 0"]), "+OK\r\nSubject: dots\r\n\r\n.\r\n");
        assert_eq!(say(&mut session, &["TOP 1 1"]), "+OK\r\nSubject: dots\r\n\r\n..hidden\r\n.\r\n");
        assert!(say(&mut session, &["TOP 1 99"]).ends_with("end\r\n..\r\n.\r\n"));
        for wrong in ["TOP 1", "TOP", "TOP 1 -1", "TOP 1 1 1", "TOP 2 0"] {
            assert!(say(&mut session, &[wrong]).starts_with("-ERR"), "{wrong}");
        }
    }

    #[test]
    fn listings_leave_out_deleted_messages_and_keep_the_numbers() {
        let (mut session, _) = logged_in(&[b"one\r\n", b"two!\r\n", b"three\r\n"]);
        assert_eq!(say(&mut session, &["STAT"]), "+OK 3 18\r\n");
        assert_eq!(say(&mut session, &["DELE 2"]), "+OK\r\n");
        assert_eq!(say(&mut session, &["STAT", "LIST"]), "+OK 2 12\r\n+OK\r\n1 5\r\n3 7\r\n.\r\n");
        let ids = say(&mut session, &["UIDL"]);
        assert!(ids.contains("\r\n1 ") && !ids.contains("\r\n2 ") && ids.contains("\r\n3 "), "{ids}");
        for gone in ["DELE 2", "RETR 2", "LIST 2", "UIDL 2", "TOP 2 0"] {
            assert_eq!(say(&mut session, &[gone]), "-ERR no such message\r\n", "{gone}");
        }
        assert_eq!(say(&mut session, &["RSET", "STAT"]), "+OK\r\n+OK 3 18\r\n");
    }

    #[test]
    fn messages_are_deleted_only_by_quit() {
        let (mut session, maildrops) = logged_in(&[b"one\r\n", b"two\r\n"]);
        say(&mut session, &["DELE 1"]);
        drop(session);
        assert_eq!(maildrops.messages("anna").len(), 2, "a dropped session deletes nothing");

        let mut session = Session::new(Arc::clone(&maildrops), Arc::default());
        say(&mut session, &["USER anna", "PASS a secret", "DELE 1"]);
        assert_eq!(maildrops.messages("anna").len(), 2);
        assert_eq!(session.line(b"QUIT", &mut Vec::new()), Next::Close);
        let left = maildrops.messages("anna");
        assert_eq!(left.len(), 1);
        assert_eq!(&*left[0].bytes, b"two\r\n");
    }

    #[test]
    fn a_locked_maildrop_gets_the_in_use_response_code_until_quit() {
        let (mut first, maildrops) = logged_in(&[]);
        let mut second = Session::new(maildrops, Arc::default());
        assert!(say(&mut second, &["USER anna", "PASS a secret"]).contains("-ERR [IN-USE]"));
        say(&mut first, &["QUIT"]);
        assert!(say(&mut second, &["USER anna", "PASS a secret"]).ends_with("(0 octets)\r\n"));
    }

    #[test]
    fn commands_of_another_state_and_wrong_arguments_are_errors() {
        let (mut session, _) = session(&[]);
        for line in
            ["", "STAT", "NOOP", "AUTH PLAIN", "STLS", "LAST", "USER", "USER ", "PASS x", "CAPA x", "QUIT x"]
        {
            assert!(say(&mut session, &[line]).starts_with("-ERR"), "{line}");
        }
        let (mut session, _) = logged_in(&[b"one\r\n"]);
        for line in
            ["", "USER anna", "PASS x", "LAST", "STAT 1", "RETR", "RETR 0", "RETR +1", "RETR 1x", "LIST 2"]
        {
            assert!(say(&mut session, &[line]).starts_with("-ERR"), "{line}");
        }
        assert!(say(&mut session, &["CAPA"]).ends_with("PIPELINING\r\n.\r\n"));
    }
}
