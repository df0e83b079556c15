//! A POP3 client of single lines, for tests that care about each of them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::DEADLINE;
use super::account::Account;

/// One connection to a POP3 server; every wait has a deadline, every failure shows the dialogue so far.
pub struct Dialogue {
    stream: BufReader<TcpStream>,
    transcript: String,
}

/// A maildrop as a session shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maildrop {
    /// The reply to STAT: how many messages and octets.
    pub stat: String,
    /// The lines of LIST: numbers and sizes.
    pub list: Vec<String>,
    /// The lines of UIDL: numbers and unique-ids.
    pub uidl: Vec<String>,
}

impl Dialogue {
    /// Connects and takes the greeting.
    #[track_caller]
    pub fn open(server: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting to {server}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_write_timeout(Some(DEADLINE)).expect("a write deadline");
        let mut dialogue = Self { stream: BufReader::new(stream), transcript: String::new() };
        let greeting = dialogue.line();
        dialogue.check(greeting.starts_with("+OK"), "a greeting that starts with +OK");
        dialogue
    }

    /// Connects and logs in by USER and PASS.
    #[track_caller]
    pub fn log_in(account: &Account) -> Self {
        let mut dialogue = Self::open(account.server);
        dialogue.ok(&format!("USER {}", account.user));
        dialogue.ok(&format!("PASS {}", account.password));
        dialogue
    }

    /// Sends a command, or what goes for one.
    #[track_caller]
    pub fn send(&mut self, command: &str) {
        writeln!(self.transcript, "C: {command}").expect("writing to a string");
        let sent = self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes());
        self.check(sent.is_ok(), "the server to take the command");
    }

    /// Sends commands in one write, as clients do that know of pipelining.
    #[track_caller]
    pub fn send_at_once(&mut self, commands: &[&str]) {
        self.send(&commands.join("\r\n"));
    }

    /// The next line, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let octets = self.octets();
        let Some(text) = octets.strip_suffix(b"\r\n") else {
            self.fail(if octets.is_empty() {
                "a line; the server closed"
            } else {
                "a line that ends in CRLF"
            });
        };
        String::from_utf8_lossy(text).into_owned()
    }

    /// Sends a command that must succeed; the text after `+OK`.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        self.send(command);
        self.accepted()
    }

    /// Takes the reply to a command sent before, which must have succeeded; the text after `+OK`.
    #[track_caller]
    pub fn accepted(&mut self) -> String {
        let reply = self.line();
        match reply.strip_prefix("+OK") {
            Some(text) => text.trim_start().to_owned(),
            None => self.fail("+OK"),
        }
    }

    /// Sends a command that must fail; the whole reply.
    #[track_caller]
    pub fn err(&mut self, command: &str) -> String {
        self.send(command);
        self.refused()
    }

    /// Takes the reply to a command sent before, which must have failed; the whole reply.
    #[track_caller]
    pub fn refused(&mut self) -> String {
        let reply = self.line();
        self.check(reply.starts_with("-ERR"), "-ERR");
        reply
    }

    /// Sends a command that must succeed with a multi-line reply; its lines, without the stuffed dots.
    #[track_caller]
    pub fn lines(&mut self, command: &str) -> Vec<String> {
        self.ok(command);
        self.body()
    }

    /// The lines of a multi-line reply up to the dot that ends it.
    #[track_caller]
    pub fn body(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            match line.strip_prefix('.') {
                Some("") => return lines,
                Some(stuffed) => lines.push(stuffed.to_owned()),
                None => lines.push(line),
            }
        }
    }

    /// What the session shows of the maildrop: the replies to STAT, LIST and UIDL.
    #[track_caller]
    pub fn maildrop(&mut self) -> Maildrop {
        Maildrop { stat: self.ok("STAT"), list: self.lines("LIST"), uidl: self.lines("UIDL") }
    }

    /// Ends the session with QUIT; afterwards the server must close.
    #[track_caller]
    pub fn quit(mut self) {
        self.ok("QUIT");
        self.closed();
    }

    /// The server closes without another word.
    #[track_caller]
    pub fn closed(mut self) {
        let octets = self.octets();
        self.check(octets.is_empty(), "the end of the connection");
    }

    /// Octets up to and with the next LF, or none where the server closed.
    #[track_caller]
    fn octets(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        let mut octets = Vec::new();
        while octets.last() != Some(&b'\n') {
            let left = deadline.saturating_duration_since(Instant::now());
            self.check(!left.is_zero(), "a line before the deadline");
            self.stream.get_ref().set_read_timeout(Some(left)).expect("a read deadline");
            let taken = match self.stream.fill_buf() {
                Ok([]) => break,
                Ok(available) => {
                    let end = available
                        .iter()
                        .position(|&octet| octet == b'\n')
                        .map_or(available.len(), |at| at + 1);
                    octets.extend_from_slice(&available[..end]);
                    end
                }
                Err(error) => self.fail(&format!("a line; reading failed: {error}")),
            };
            self.stream.consume(taken);
        }
        if !octets.is_empty() {
            write!(self.transcript, "S: {}", String::from_utf8_lossy(&octets)).expect("writing to a string");
        }
        octets
    }

    #[track_caller]
    fn check(&self, holds: bool, expected: &str) {
        if !holds {
            self.fail(expected);
        }
    }

    #[track_caller]
    fn fail(&self, expected: &str) -> ! {
        panic!("expected {expected}; the dialogue was:\n{}", self.transcript)
    }
}

/// All that a server says, greeting to close, to commands of which each waits for the reply to
/// the one before.
#[track_caller]
pub fn spoken_one_by_one(server: SocketAddr, commands: &[&str]) -> String {
    let stream = TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting to {server}: {error}"));
    let mut dialogue = Dialogue { stream: BufReader::new(stream), transcript: String::new() };
    let mut all = dialogue.octets();
    for command in commands {
        dialogue.send(command);
        let reply = dialogue.octets();
        // Of the commands that are sent here, these have more lines where they succeed.
        let upper = command.to_ascii_uppercase();
        let more = reply.starts_with(b"+OK") && matches!(&*upper, "LIST" | "UIDL" | "CAPA" | "AUTH");
        all.extend_from_slice(&reply);
        let mut line = Vec::new();
        while more && line != b".\r\n" {
            line = dialogue.octets();
            dialogue.check(!line.is_empty(), "a line of a multi-line reply");
            all.extend_from_slice(&line);
        }
    }
    let rest = dialogue.octets();
    dialogue.check(rest.is_empty(), "the end of the connection");
    String::from_utf8_lossy(&all).into_owned()
}
