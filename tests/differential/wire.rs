//! A client's end of a connection: sends bytes, and cuts what comes into replies.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reply, or what came in its place.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status line or a challenge, and the lines after it up to the dot, if it has any.
    Line(Vec<u8>, Option<Vec<u8>>),
    /// The end of the connection.
    End,
    /// Nothing within the time.
    Nothing,
}

impl Reply {
    /// Its first word: `+OK`, `-ERR`, `+`, or that there is none.
    pub fn sign(&self) -> &[u8] {
        match self {
            Self::Line(line, _) => line.split(|&byte| byte == b' ').next().unwrap_or_default(),
            Self::End => b"end",
            Self::Nothing => b"nothing",
        }
    }

    /// The status line, `+OK` included.
    pub fn status(&self) -> &[u8] {
        match self {
            Self::Line(line, _) => line,
            Self::End | Self::Nothing => b"",
        }
    }

    /// The lines after the status line.
    pub fn body(&self) -> Option<&[u8]> {
        match self {
            Self::Line(_, body) => body.as_deref(),
            Self::End | Self::Nothing => None,
        }
    }

    /// Whether it is `+OK`.
    pub fn is_ok(&self) -> bool {
        self.sign() == b"+OK"
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line, body) => {
                write!(f, "{}", line.escape_ascii())?;
                match body {
                    Some(body) if body.len() > 600 => {
                        write!(f, " | {} … {} bytes", body[..600].escape_ascii(), body.len())
                    }
                    Some(body) => write!(f, " | {}", body.escape_ascii()),
                    None => Ok(()),
                }
            }
            Self::End => write!(f, "(the connection ends)"),
            Self::Nothing => write!(f, "(nothing within {PATIENCE:?})"),
        }
    }
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    ended: bool,
}

impl Wire {
    /// Connects; the greeting is the first reply.
    pub fn open(server: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(server).unwrap_or_else(|error| panic!("connecting to {server}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream.set_write_timeout(Some(PATIENCE)).expect("a deadline");
        Self { stream, received: Vec::new(), ended: false }
    }

    /// Sends bytes in pieces of these lengths by turns, or at once. The other side may have closed: that
    /// is seen in the replies.
    pub fn send(&mut self, bytes: &[u8], pieces: &[usize]) {
        let mut rest = bytes;
        let mut lengths = pieces.iter().cycle();
        while !rest.is_empty() {
            let length = lengths.next().map_or(rest.len(), |&length| length.clamp(1, rest.len()));
            if self.stream.write_all(&rest[..length]).is_err() {
                return;
            }
            rest = &rest[length..];
        }
    }

    /// Says that nothing more comes.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next reply. `multi_line`: whether a positive one has lines after the status line.
    pub fn reply(&mut self, multi_line: bool) -> Reply {
        let status = match self.line() {
            Ok(line) => line,
            Err(instead) => return instead,
        };
        if !multi_line || !(status.starts_with(b"+OK ") || status == b"+OK") {
            return Reply::Line(status, None);
        }
        let mut body = Vec::new();
        loop {
            match self.line() {
                Ok(line) if line == b"." => return Reply::Line(status, Some(body)),
                Ok(line) => body.extend([&line[..], b"\r\n"].concat()),
                Err(_) => {
                    body.extend_from_slice(b"(cut)");
                    return Reply::Line(status, Some(body));
                }
            }
        }
    }

    /// The next line without its CR LF.
    fn line(&mut self) -> Result<Vec<u8>, Reply> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.received[searched..].iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=searched + at).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                } else {
                    // That is a difference of its own.
                    line.extend_from_slice(b"(LF)");
                }
                return Ok(line);
            }
            searched = self.received.len();
            if self.ended {
                return Err(Reply::End);
            }
            let mut more = [0; 16 << 10];
            match self.stream.read(&mut more) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received.extend_from_slice(&more[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Reply::Nothing);
                }
                // The process was stopped meanwhile.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Reset: what the other side had not read.
                Err(_) => self.ended = true,
            }
        }
    }
}

/// Whether a positive reply to this line has more lines.
pub fn is_multi_line(line: &[u8]) -> bool {
    let line = line.to_ascii_uppercase();
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    match words.next() {
        _ if line.starts_with(b" ") => false,
        Some(b"CAPA" | b"RETR" | b"TOP") => true,
        Some(b"LIST" | b"UIDL" | b"AUTH") => words.next().is_none(),
        _ => false,
    }
}
