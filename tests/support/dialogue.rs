//! A POP3 client that sends and receives single lines.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::DEADLINE;
use super::account::Account;

/// A connection to a POP3 server. Every read has a deadline; a failure shows the dialogue so far.
pub struct Dialogue {
    stream: BufReader<Channel>,
    transcript: String,
}

/// A maildrop as a session shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maildrop {
    /// The reply to STAT: messages and bytes.
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
    /// Moved elsewhere, during the TLS handshake of STLS.
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
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
            Self::Gone => Ok(0),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
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

/// Performs the TLS handshake as a client.
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
    /// Connects with implicit TLS and reads the greeting.
    #[track_caller]
    pub fn open_tls(server: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let tcp = TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting: {error}"));
        let stream = handshake(tcp, config, name).unwrap_or_else(|error| panic!("shaking hands: {error}"));
        Self::greeted(Channel::Tls(stream))
    }

    /// Sends STLS and performs the handshake; nothing may be left to read.
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

    /// The TLS session.
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

    /// The TCP connection.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().tcp()
    }

    /// Connects and reads the greeting.
    #[track_caller]
    pub fn open(server: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting to {server}: {error}"));
        Self::greeted(Channel::Plain(stream))
    }

    /// Logs in with USER and PASS.
    #[track_caller]
    pub fn give_password(&mut self, user: &str, password: &str) {
        self.ok(&format!("USER {user}"));
        self.ok(&format!("PASS {password}"));
    }

    /// Connects and logs in with USER and PASS.
    #[track_caller]
    pub fn log_in(account: &Account) -> Self {
        let mut dialogue = Self::open(account.server);
        dialogue.ok(&format!("USER {}", account.user));
        dialogue.ok(&format!("PASS {}", account.password));
        dialogue
    }

    /// Sends a line.
    #[track_caller]
    pub fn send(&mut self, command: &str) {
        writeln!(self.transcript, "C: {command}").expect("writing to a string");
        let sent = self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes());
        self.check(sent.is_ok(), "the server to take the command");
    }

    /// Sends commands in one write, as clients that use pipelining do.
    #[track_caller]
    pub fn send_at_once(&mut self, commands: &[&str]) {
        self.send(&commands.join("\r\n"));
    }

    /// Reads the next line, without its line end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let bytes = self.bytes();
        let Some(text) = bytes.strip_suffix(b"\r\n") else {
            self.fail(if bytes.is_empty() {
                "a line; the server closed"
            } else {
                "a line that ends in CRLF"
            });
        };
        String::from_utf8_lossy(text).into_owned()
    }

    /// Sends a command that must succeed; returns the text after `+OK`.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        self.send(command);
        self.accepted()
    }

    /// Reads the reply to an earlier command, which must have succeeded; returns the text after `+OK`.
    #[track_caller]
    pub fn accepted(&mut self) -> String {
        let reply = self.line();
        match reply.strip_prefix("+OK") {
            Some(text) => text.trim_start().to_owned(),
            None => self.fail("+OK"),
        }
    }

    /// Sends a command that must fail; returns the whole reply.
    #[track_caller]
    pub fn err(&mut self, command: &str) -> String {
        self.send(command);
        self.refused()
    }

    /// Reads the reply to an earlier command, which must have failed; returns the whole reply.
    #[track_caller]
    pub fn refused(&mut self) -> String {
        let reply = self.line();
        self.check(reply.starts_with("-ERR"), "-ERR");
        reply
    }

    /// Sends a command that must succeed with a multi-line reply; returns its lines, unstuffed.
    #[track_caller]
    pub fn lines(&mut self, command: &str) -> Vec<String> {
        self.ok(command);
        self.body()
    }

    /// Reads the lines of a multi-line reply, up to the final dot.
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

    /// Reads the maildrop with STAT, LIST and UIDL.
    #[track_caller]
    pub fn maildrop(&mut self) -> Maildrop {
        Maildrop { stat: self.ok("STAT"), list: self.lines("LIST"), uidl: self.lines("UIDL") }
    }

    /// Sends QUIT; the server must accept it and close the connection.
    #[track_caller]
    pub fn quit(mut self) {
        self.ok("QUIT");
        self.closed();
    }

    /// Reads until the connection ends or fails.
    pub fn rest(mut self, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
        let _ = self.tcp().set_read_timeout(Some(DEADLINE));
        self.stream.read_to_end(bytes)
    }

    /// Sends QUIT to a server that may be gone, and waits for the end of the connection.
    pub fn leave(mut self) {
        let _ = self.stream.get_mut().write_all(b"QUIT\r\n");
        let _ = self.tcp().set_read_timeout(Some(DEADLINE));
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    /// The server must close the connection and send nothing more.
    #[track_caller]
    pub fn closed(mut self) {
        let bytes = self.bytes();
        self.check(bytes.is_empty(), "the end of the connection");
    }

    /// Reads bytes up to and including the next LF; none if the server has closed the connection.
    #[track_caller]
    fn bytes(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        let mut bytes = Vec::new();
        while bytes.last() != Some(&b'\n') {
            let left = deadline.saturating_duration_since(Instant::now());
            self.check(!left.is_zero(), "a line before the deadline");
            self.tcp().set_read_timeout(Some(left)).expect("a read deadline");
            let taken = match self.stream.fill_buf() {
                Ok([]) => break,
                Ok(available) => {
                    let end =
                        available.iter().position(|&byte| byte == b'\n').map_or(available.len(), |at| at + 1);
                    bytes.extend_from_slice(&available[..end]);
                    end
                }
                Err(error) => self.fail(&format!("a line; reading failed: {error}")),
            };
            self.stream.consume(taken);
        }
        if !bytes.is_empty() {
            write!(self.transcript, "S: {}", String::from_utf8_lossy(&bytes)).expect("writing to a string");
        }
        bytes
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

/// Everything that a server sends, from greeting to close, if each command waits for the reply to
/// the previous one.
#[track_caller]
pub fn spoken_one_by_one(server: SocketAddr, commands: &[&str]) -> String {
    let stream = TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting to {server}: {error}"));
    let mut dialogue = Dialogue { stream: BufReader::new(Channel::Plain(stream)), transcript: String::new() };
    let mut all = dialogue.bytes();
    for command in commands {
        dialogue.send(command);
        let reply = dialogue.bytes();
        // These commands have multi-line replies if they succeed.
        let upper = command.to_ascii_uppercase();
        let more = reply.starts_with(b"+OK") && matches!(&*upper, "LIST" | "UIDL" | "CAPA" | "AUTH");
        all.extend_from_slice(&reply);
        let mut line = Vec::new();
        while more && line != b".\r\n" {
            line = dialogue.bytes();
            dialogue.check(!line.is_empty(), "a line of a multi-line reply");
            all.extend_from_slice(&line);
        }
    }
    let rest = dialogue.bytes();
    dialogue.check(rest.is_empty(), "the end of the connection");
    String::from_utf8_lossy(&all).into_owned()
}
