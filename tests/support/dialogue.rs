//! A POP3 client of single lines, for tests that care about each of them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::DEADLINE;
use super::account::Account;

/// One connection to a POP3 server; every wait has a deadline, every failure shows the dialogue so far.
pub struct Dialogue {
    stream: BufReader<Channel>,
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

/// A connection, in cleartext or encrypted.
pub enum Channel {
    /// In cleartext.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Given away.
    Gone,
}

impl Channel {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
            Self::Gone => panic!("there is no connection"),
        }
    }
}

impl Read for Channel {
    fn read(&mut self, octets: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(octets),
            Self::Tls(stream) => stream.read(octets),
            Self::Gone => Ok(0),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
            Self::Gone => Ok(0),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Gone => Ok(()),
        }
    }
}

/// Shakes hands as a client; the error is why not.
pub fn handshake(
    tcp: TcpStream,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Box<StreamOwned<ClientConnection, TcpStream>>> {
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a server's name");
    let connection = ClientConnection::new(config.clone(), name).expect("a TLS client");
    let mut stream = Box::new(StreamOwned::new(connection, tcp));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

impl Dialogue {
    /// Connects from a TLS handshake on and takes the greeting.
    #[track_caller]
    pub fn open_tls(server: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let tcp = TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting: {error}"));
        let stream = handshake(tcp, config, name).unwrap_or_else(|error| panic!("shaking hands: {error}"));
        Self::greeted(Channel::Tls(stream))
    }

    /// Encrypts a connection by STLS; nothing may be waiting to be read.
    #[track_caller]
    pub fn start_tls(&mut self, config: &Arc<ClientConfig>, name: &str) {
        self.ok("STLS");
        self.check(self.stream.buffer().is_empty(), "nothing before the handshake");
        let Channel::Plain(tcp) = std::mem::replace(self.stream.get_mut(), Channel::Gone) else {
            self.fail("a connection in cleartext");
        };
        let stream = handshake(tcp, config, name).unwrap_or_else(|error| panic!("shaking hands: {error}"));
        self.stream = BufReader::new(Channel::Tls(stream));
    }

    /// What is known of the TLS session.
    pub fn tls(&self) -> &ClientConnection {
        match self.stream.get_ref() {
            Channel::Tls(stream) => &stream.conn,
            _ => panic!("a connection in cleartext"),
        }
    }

    #[track_caller]
    fn greeted(channel: Channel) -> Self {
        channel.tcp().set_nodelay(true).expect("TCP_NODELAY");
        channel.tcp().set_write_timeout(Some(DEADLINE)).expect("a write deadline");
        let mut dialogue = Self { stream: BufReader::new(channel), transcript: String::new() };
        let greeting = dialogue.line();
        dialogue.check(greeting.starts_with("+OK"), "a greeting that starts with +OK");
        dialogue
    }

    /// The connection itself.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().tcp()
    }

    /// Connects and takes the greeting.
    #[track_caller]
    pub fn open(server: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting to {server}: {error}"));
        Self::greeted(Channel::Plain(stream))
    }

    /// Logs in by USER and PASS.
    #[track_caller]
    pub fn give_password(&mut self, user: &str, password: &str) {
        self.ok(&format!("USER {user}"));
        self.ok(&format!("PASS {password}"));
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

    /// All that comes until the connection ends, however it does.
    pub fn rest(mut self, octets: &mut Vec<u8>) -> std::io::Result<usize> {
        let _ = self.tcp().set_read_timeout(Some(DEADLINE));
        self.stream.read_to_end(octets)
    }

    /// Says QUIT to a server that may have gone meanwhile, and waits for the end.
    pub fn leave(mut self) {
        let _ = self.stream.get_mut().write_all(b"QUIT\r\n");
        let _ = self.tcp().set_read_timeout(Some(DEADLINE));
        let _ = self.stream.read_to_end(&mut Vec::new());
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
            self.tcp().set_read_timeout(Some(left)).expect("a read deadline");
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
    let mut dialogue = Dialogue { stream: BufReader::new(Channel::Plain(stream)), transcript: String::new() };
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
