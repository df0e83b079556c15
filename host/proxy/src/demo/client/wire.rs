//! A client's end of a POP3 connection: replies read strictly, each of them counted.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::fault::Fault;

/// Longer lines are no POP3: 512 octets for replies (RFC 1939), 998 and the end for a
/// message's own (RFC 5322), and a doubled dot.
const LINE_LIMIT: u64 = 1001;

/// A status line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) positive: bool,
    /// What follows `+OK ` or `-ERR `.
    pub(crate) text: String,
}

impl Status {
    /// Whether the server says that this is for now and not for good (RFC 2449, 3206).
    pub(crate) fn is_temporary(&self) -> bool {
        !self.positive && ["[IN-USE]", "[SYS/TEMP]"].iter().any(|code| self.text.starts_with(code))
    }

    pub(crate) fn expect_positive(self, command: &'static str) -> Result<String, Fault> {
        if self.positive { Ok(self.text) } else { Err(Fault::Refused { command, text: self.text }) }
    }
}

/// An open connection.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    /// Replies read so far, the banner included.
    pub(crate) replies: u64,
}

impl Wire {
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
        let nonsense = || Fault::Nonsense { command, line: String::from_utf8_lossy(&line).into_owned() };
        let text = std::str::from_utf8(&line).map_err(|_| nonsense())?;
        let (positive, rest) = match (text.strip_prefix("+OK"), text.strip_prefix("-ERR")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(nonsense()),
        };
        if !rest.is_empty() && !rest.starts_with(' ') {
            return Err(nonsense());
        }
        self.replies += 1;
        Ok(Status { positive, text: rest.trim_start().to_owned() })
    }

    /// The lines that follow a positive status, up to the dot, which is not one of them.
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

    /// Whether the server closes without another word, as it must after QUIT.
    pub(crate) async fn is_closed(&mut self) -> Result<bool, Fault> {
        let mut octet = [0];
        match self.stream.read(&mut octet).await {
            Ok(count) => Ok(count == 0),
            Err(error) => Err(error.into()),
        }
    }

    async fn line(&mut self, command: &'static str) -> Result<Vec<u8>, Fault> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_LIMIT).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(text) => {
                let length = text.len();
                line.truncate(length);
                Ok(line)
            }
            None if line.is_empty() => Err(Fault::Closed { command }),
            None => Err(Fault::Nonsense { command, line: String::from_utf8_lossy(&line).into_owned() }),
        }
    }
}
