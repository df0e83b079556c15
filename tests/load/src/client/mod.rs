//! The client's side of a POP3 connection: sends commands, reads replies and checks their form. The
//! scenarios check their content.

mod connector;
mod fault;
mod stream;
pub(crate) mod tls;

use std::cell::Cell;
use std::io;
use std::time::Duration;

pub(crate) use connector::Connector;
pub(crate) use fault::{Fault, FaultKind, escaped};
use stream::Stream;

/// Progress of a session, readable also after a timeout has dropped it.
#[derive(Default)]
pub(crate) struct Progress {
    /// The current step, such as `STAT`.
    pub(crate) stage: Cell<&'static str>,
    /// Bytes received.
    pub(crate) received: Cell<u64>,
    /// Time from USER to the reply to PASS.
    pub(crate) login: Cell<Option<Duration>>,
}

/// An open connection.
pub(crate) struct Client<'a> {
    stream: Stream,
    progress: &'a Progress,
    buffer: Box<[u8]>,
    /// Bytes received but not yet consumed are `buffer[start..end]`.
    start: usize,
    end: usize,
}

/// A status line, without its status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Ok(String),
    Err(String),
}

impl<'a> Client<'a> {
    /// Connects the session with this number. `buffer_bytes` limits a line and a read.
    pub(crate) async fn connect(
        connector: &Connector,
        session: u64,
        buffer_bytes: usize,
        progress: &'a Progress,
    ) -> Result<Client<'a>, Fault> {
        progress.stage.set("connect");
        let stream = connector.connect(session).await?;
        Ok(Self { stream, progress, buffer: vec![0; buffer_bytes].into(), start: 0, end: 0 })
    }

    /// A fault at the current step.
    pub(crate) fn fault(&self, kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault { stage: self.progress.stage.get(), kind, detail: detail.into() }
    }

    /// Reads the greeting.
    pub(crate) async fn greeting(&mut self) -> Result<(), Fault> {
        self.progress.stage.set("greeting");
        self.status().await.and_then(|reply| self.require_ok(reply)).map(drop)
    }

    /// Sends a command and reads the status line.
    pub(crate) async fn command(&mut self, stage: &'static str, command: &str) -> Result<Reply, Fault> {
        // Commands are not pipelined, so bytes received before this one answer no command.
        if self.start < self.end {
            let bytes = escaped(&self.buffer[self.start..self.end]);
            return Err(self.fault(FaultKind::Unsolicited, bytes));
        }
        self.progress.stage.set(stage);
        let line = format!("{command}\r\n");
        match self.stream.write_all(line.as_bytes()).await {
            Ok(()) => self.status().await,
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Sends a command that must succeed, and returns the text of the reply.
    pub(crate) async fn expect_ok(&mut self, stage: &'static str, command: &str) -> Result<String, Fault> {
        let reply = self.command(stage, command).await?;
        self.require_ok(reply)
    }

    /// Turns -ERR into a fault.
    pub(crate) fn require_ok(&self, reply: Reply) -> Result<String, Fault> {
        match reply {
            Reply::Ok(text) => Ok(text),
            Reply::Err(text) => Err(self.fault(FaultKind::Refused, escaped(text.as_bytes()))),
        }
    }

    /// Sends QUIT, and waits until the server closes.
    pub(crate) async fn quit(mut self) -> Result<(), Fault> {
        self.expect_ok("QUIT", "QUIT").await?;
        if self.start < self.end {
            return Err(self.fault(FaultKind::Unsolicited, escaped(&self.buffer[self.start..self.end])));
        }
        self.progress.stage.set("close");
        match self.stream.read(&mut self.buffer).await {
            Ok(0) => Ok(()),
            // A reset after the reply to QUIT loses nothing.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Ok(more) => Err(self.fault(FaultKind::Unsolicited, escaped(&self.buffer[..more]))),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Waits until the server sends something or closes, and returns that as a fault.
    pub(crate) async fn wait_while_silent(&mut self) -> Fault {
        self.progress.stage.set("hold");
        if self.start < self.end {
            return self.fault(FaultKind::Unsolicited, escaped(&self.buffer[self.start..self.end]));
        }
        match self.stream.read(&mut self.buffer).await {
            Ok(0) => self.fault(FaultKind::Closed, "while it was held"),
            Ok(more) => self.fault(FaultKind::Unsolicited, escaped(&self.buffer[..more])),
            Err(error) => self.broken(&error),
        }
    }

    /// Calls `each` with every line of a multi-line reply, without dot-stuffing.
    pub(crate) async fn each_line(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), Fault> {
        loop {
            let line = self.line().await?;
            if line == b"." {
                return Ok(());
            }
            let outcome = each(line.strip_prefix(b".").unwrap_or(line));
            outcome.map_err(|detail| self.fault(FaultKind::Wrong, detail))?;
        }
    }

    /// Reads bytes that must equal `expected`. `before`: bytes of this message read before.
    pub(crate) async fn expect_bytes(&mut self, expected: &[u8], before: usize) -> Result<(), Fault> {
        let mut checked = 0;
        while checked < expected.len() {
            self.fill_if_empty().await?;
            let received = &self.buffer[self.start..self.end];
            let length = received.len().min(expected.len() - checked);
            let wanted = &expected[checked..checked + length];
            if received[..length] != *wanted {
                let at = received.iter().zip(wanted).take_while(|(a, b)| a == b).count();
                let detail = format!(
                    "byte {} is wrong: `{}` instead of `{}`",
                    before + checked + at,
                    escaped(&received[at..length.min(at + 20)]),
                    escaped(&wanted[at..length.min(at + 20)]),
                );
                return Err(self.fault(FaultKind::Wrong, detail));
            }
            checked += length;
            self.start += length;
        }
        Ok(())
    }

    /// Reads a message to its end, and returns its size without dot-stuffing. Lines may be longer
    /// than the buffer.
    pub(crate) async fn message(&mut self) -> Result<u64, Fault> {
        let mut bytes = 0;
        loop {
            self.fill_if_empty().await?;
            let received = &self.buffer[self.start..self.end];
            match memchr::memchr(b'\n', received) {
                Some(at) => {
                    let line = &received[..=at];
                    self.start += at + 1;
                    if line == b".\r\n" {
                        return Ok(bytes);
                    }
                    bytes += (line.len() - usize::from(line[0] == b'.')) as u64;
                }
                None if received.len() < self.buffer.len() => self.fill().await?,
                None => {
                    bytes += self.rest_of_long_line().await?;
                }
            }
        }
    }

    /// Skips a line that fills the buffer.
    async fn rest_of_long_line(&mut self) -> Result<u64, Fault> {
        let mut bytes = 0;
        let doubled = u64::from(self.buffer[self.start] == b'.');
        loop {
            self.fill_if_empty().await?;
            let received = &self.buffer[self.start..self.end];
            let end = memchr::memchr(b'\n', received);
            let length = end.map_or(received.len(), |at| at + 1);
            bytes += length as u64;
            self.start += length;
            if end.is_some() {
                return Ok(bytes - doubled);
            }
        }
    }

    async fn status(&mut self) -> Result<Reply, Fault> {
        let line = self.line().await?;
        let text = |rest: &[u8]| String::from_utf8_lossy(rest.trim_ascii_start()).into_owned();
        let is_word = |rest: &[u8]| rest.first().is_none_or(|byte| *byte == b' ');
        if let Some(rest) = line.strip_prefix(b"+OK").filter(|rest| is_word(rest)) {
            return Ok(Reply::Ok(text(rest)));
        }
        if let Some(rest) = line.strip_prefix(b"-ERR").filter(|rest| is_word(rest)) {
            return Ok(Reply::Err(text(rest)));
        }
        let detail = format!("`{}` begins with neither +OK nor -ERR", escaped(line));
        Err(self.fault(FaultKind::Malformed, detail))
    }

    /// Reads a line, and returns it without its end.
    async fn line(&mut self) -> Result<&[u8], Fault> {
        loop {
            let received = &self.buffer[self.start..self.end];
            if let Some(at) = memchr::memchr(b'\n', received) {
                let line = self.start..self.start + at;
                self.start += at + 1;
                return match self.buffer[line.clone()].strip_suffix(b"\r") {
                    Some(_) => Ok(&self.buffer[line.start..line.end - 1]),
                    None => {
                        let detail = format!("`{}` ends without CR", escaped(&self.buffer[line]));
                        Err(self.fault(FaultKind::Malformed, detail))
                    }
                };
            }
            if received.len() == self.buffer.len() {
                return Err(
                    self.fault(FaultKind::Malformed, format!("a line of more than {} bytes", received.len()))
                );
            }
            self.fill().await?;
        }
    }

    /// Makes sure that the buffer holds at least one byte.
    async fn fill_if_empty(&mut self) -> Result<(), Fault> {
        if self.start == self.end { self.fill().await } else { Ok(()) }
    }

    /// Reads more bytes behind those in the buffer.
    async fn fill(&mut self) -> Result<(), Fault> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        match self.stream.read(&mut self.buffer[self.end..]).await {
            Ok(0) => {
                let detail = match &self.buffer[..self.end] {
                    [] => "by the server".to_string(),
                    part => format!("after `{}`", escaped(part)),
                };
                Err(self.fault(FaultKind::Closed, detail))
            }
            Ok(length) => {
                self.end += length;
                self.progress.received.set(self.progress.received.get() + length as u64);
                Ok(())
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &io::Error) -> Fault {
        let gone = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        let kind = if gone.contains(&error.kind()) { FaultKind::Closed } else { FaultKind::Connection };
        self.fault(kind, error.to_string())
    }
}
