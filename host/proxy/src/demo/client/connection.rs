//! A client's POP3 connection, which validates and counts replies.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::fault::Fault;

/// Longest valid line in bytes: 998 and CR LF in a message (RFC 5322, section 2.1.1), and a stuffed
/// dot. Status lines are shorter (RFC 1939, section 3).
const MAX_LINE_BYTES: u64 = 1001;

/// A status line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) positive: bool,
    /// The text after `+OK ` or `-ERR `.
    pub(crate) text: String,
}

impl Status {
    /// Whether the failure is temporary according to its response code (RFC 2449, RFC 3206).
    pub(crate) fn is_temporary(&self) -> bool {
        !self.positive && ["[IN-USE]", "[SYS/TEMP]"].iter().any(|code| self.text.starts_with(code))
    }

    pub(crate) fn expect_positive(self, command: &'static str) -> Result<String, Fault> {
        if self.positive { Ok(self.text) } else { Err(Fault::Refused { command, text: self.text }) }
    }
}

/// An open POP3 connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// Number of replies read, including the greeting.
    pub(crate) replies: u64,
}

impl Connection {
    pub(crate) async fn connect(to: SocketAddr) -> Result<Self, Fault> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), replies: 0 })
    }

    pub(crate) async fn send(&mut self, commands: &str) -> Result<(), Fault> {
        Ok(self.stream.write_all(commands.as_bytes()).await?)
    }

    pub(crate) async fn status(&mut self, command: &'static str) -> Result<Status, Fault> {
        let line = self.line(command).await?;
        let invalid = || Fault::Invalid { command, line: String::from_utf8_lossy(&line).into_owned() };
        let text = std::str::from_utf8(&line).map_err(|_| invalid())?;
        let (positive, rest) = match (text.strip_prefix("+OK"), text.strip_prefix("-ERR")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(invalid()),
        };
        if !rest.is_empty() && !rest.starts_with(' ') {
            return Err(invalid());
        }
        self.replies += 1;
        Ok(Status { positive, text: rest.trim_start().to_owned() })
    }

    /// Reads the lines of a multi-line reply after its status, without the final dot.
    pub(crate) async fn lines(&mut self, command: &'static str) -> Result<Vec<Vec<u8>>, Fault> {
        let mut lines = Vec::new();
        loop {
            let mut line = self.line(command).await?;
            if line.first() == Some(&b'.') {
                line.remove(0);
                if line.is_empty() {
                    return Ok(lines);
                }
            }
            lines.push(line);
        }
    }

    /// Whether the server has closed the connection without sending more, as it must after QUIT.
    pub(crate) async fn is_closed(&mut self) -> Result<bool, Fault> {
        let mut byte = [0];
        match self.stream.read(&mut byte).await {
            Ok(count) => Ok(count == 0),
            Err(error) => Err(error.into()),
        }
    }

    async fn line(&mut self, command: &'static str) -> Result<Vec<u8>, Fault> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(text) => {
                let length = text.len();
                line.truncate(length);
                Ok(line)
            }
            None if line.is_empty() => Err(Fault::Closed { command }),
            None => Err(Fault::Invalid { command, line: String::from_utf8_lossy(&line).into_owned() }),
        }
    }
}
