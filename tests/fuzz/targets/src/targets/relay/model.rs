//! A mail server that keeps to RFC 1939, and what a client is to see of it.

use std::collections::BTreeSet;

use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::command::Command;
use reprieve_pop3::reply;

/// A message of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub size: u64,
    pub unique_id: String,
    /// As it is sent: with dots doubled, and its end.
    pub body: Vec<u8>,
}

/// Bodies that look like their own end.
const BODIES: [&[u8]; 8] = [
    b".\r\n",
    b"Subject: x\r\n\r\ntext\r\n.\r\n",
    b"..\r\n.\r\n",
    b"\r\n\r\n.\r\n",
    b"\n.\n\r\n.\r\n",
    b"\r\n\r.\r\n.x\r\n..\r\n\n.\r\n.\r\n",
    b"\r\r\n.\r\n",
    b"+OK\r\n-ERR\r\n.\n.\n.\r\r\n.\r\n",
];

pub fn body(choice: usize) -> Vec<u8> {
    BODIES[choice % BODIES.len()].to_vec()
}

/// A maildrop, and the messages that are deleted in this session.
#[derive(Clone, Debug, Default)]
pub struct Maildrop {
    pub messages: Vec<Message>,
    pub deleted: BTreeSet<usize>,
}

impl Maildrop {
    /// The index of a message that is there.
    pub fn find(&self, number: u32) -> Option<usize> {
        let index = (number as usize).checked_sub(1)?;
        (index < self.messages.len() && !self.deleted.contains(&index)).then_some(index)
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Message)> {
        let all = self.messages.iter().enumerate();
        all.filter(|(index, _)| !self.deleted.contains(index)).map(|(index, message)| (index + 1, message))
    }

    pub fn stat(&self) -> String {
        let bytes: u64 = self.present().map(|(_, message)| message.size).sum();
        format!("+OK {} {bytes}\r\n", self.present().count())
    }

    fn rows(&self, verb: &str) -> String {
        self.present().map(|(number, message)| row(verb, number, message)).collect()
    }
}

fn row(verb: &str, number: usize, message: &Message) -> String {
    match verb {
        "LIST" => format!("{number} {}\r\n", message.size),
        _ => format!("{number} {}\r\n", message.unique_id),
    }
}

/// A mail server. It may refuse a command without a reason, as a server whose disk is full.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub maildrop: Maildrop,
    pub is_over: bool,
}

pub const REFUSED: &[u8] = b"-ERR [SYS/TEMP] not now\r\n";

impl Server {
    /// Answers a command.
    pub fn answer(&mut self, verb: &str, numbers: &[u32]) -> Vec<u8> {
        const NO_MESSAGE: &str = "-ERR no such message here\r\n";
        let message = numbers.first().map(|&number| self.maildrop.find(number));
        match (verb, message) {
            ("STAT", _) => self.maildrop.stat().into_bytes(),
            ("LIST" | "UIDL", None) => format!("+OK\r\n{}.\r\n", self.maildrop.rows(verb)).into_bytes(),
            (_, Some(None)) => NO_MESSAGE.into(),
            ("LIST" | "UIDL", Some(Some(index))) => {
                format!("+OK {}", row(verb, index + 1, &self.maildrop.messages[index])).into_bytes()
            }
            ("RETR" | "TOP", Some(Some(index))) => {
                [b"+OK message follows\r\n", &*self.maildrop.messages[index].body].concat()
            }
            ("DELE", Some(Some(index))) => {
                self.maildrop.deleted.insert(index);
                format!("+OK deleted {}\r\n", index + 1).into_bytes()
            }
            ("RSET", _) => {
                self.maildrop.deleted.clear();
                b"+OK all back\r\n".to_vec()
            }
            ("QUIT", _) => {
                self.is_over = true;
                b"+OK good bye\r\n".to_vec()
            }
            ("NOOP", _) => b"+OK nothing\r\n".to_vec(),
            other => panic!("{other:?}"),
        }
    }
}

/// The listing of a maildrop in the words of a posed session.
pub fn posed_listing(maildrop: &Maildrop, command: Command<'_>) -> Option<Vec<u8>> {
    let single = |verb, number| match maildrop.find(number) {
        Some(index) => format!("+OK {}", row(verb, index + 1, &maildrop.messages[index])),
        None => "-ERR no such message\r\n".to_owned(),
    };
    Some(match command {
        Command::Stat => maildrop.stat().into_bytes(),
        Command::List(None) => {
            let stat = maildrop.stat();
            let (count, bytes) = stat["+OK ".len()..].trim_end().split_once(' ')?;
            format!("+OK {count} messages ({bytes} octets)\r\n{}.\r\n", maildrop.rows("LIST")).into_bytes()
        }
        Command::Uidl(None) => format!("+OK\r\n{}.\r\n", maildrop.rows("UIDL")).into_bytes(),
        Command::List(Some(number)) => single("LIST", number).into_bytes(),
        Command::Uidl(Some(number)) => single("UIDL", number).into_bytes(),
        _ => return None,
    })
}

/// The reply of Reprieve's own to a command that no mail server gets.
pub fn own_reply(command: Command<'_>, capabilities: &Capabilities) -> Vec<u8> {
    match command {
        Command::Capa => capabilities.after_login().to_vec(),
        Command::User(_) | Command::Pass(_) | Command::Apop(..) | Command::Auth { .. } | Command::Stls => {
            b"-ERR you are logged in\r\n".to_vec()
        }
        Command::Malformed => reply::MALFORMED.to_vec(),
        _ => reply::UNKNOWN.to_vec(),
    }
}
