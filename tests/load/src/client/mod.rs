//! One POP3 connection from the client's side: commands out, answers in, each of them checked for
//! its form. What an answer must say is not known here.

mod dial;
mod fault;
mod stream;
pub(crate) mod tls;

use std::cell::Cell;
use std::io;
use std::time::Duration;

pub(crate) use dial::Dial;
pub(crate) use fault::{Fault, Kind, shown};
use stream::Stream;

/// What can be seen of a session from outside, also when it is cut off.
#[derive(Default)]
pub(crate) struct Trace {
    /// What it is doing.
    pub(crate) stage: Cell<&'static str>,
    /// Octets that came.
    pub(crate) received: Cell<u64>,
    /// How long the server took from USER to the answer to PASS.
    pub(crate) login: Cell<Option<Duration>>,
}

/// An open connection.
pub(crate) struct Client<'a> {
    stream: Stream,
    trace: &'a Trace,
    buffer: Box<[u8]>,
    /// What has come and has not been looked at yet is `buffer[start..end]`.
    start: usize,
    end: usize,
}

/// A status line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// +OK, and what follows.
    Ok(String),
    /// -ERR, and what follows.
    Err(String),
}

impl<'a> Client<'a> {
    /// Connects for the session of this number. `room` octets bound a line and a read.
    pub(crate) async fn connect(
        dial: &Dial,
        session: u64,
        room: usize,
        trace: &'a Trace,
    ) -> Result<Client<'a>, Fault> {
        trace.stage.set("connect");
        let stream = dial.connect(session).await?;
        Ok(Self { stream, trace, buffer: vec![0; room].into(), start: 0, end: 0 })
    }

    /// A fault at what is being done.
    pub(crate) fn fault(&self, kind: Kind, detail: impl Into<String>) -> Fault {
        Fault { stage: self.trace.stage.get(), kind, detail: detail.into() }
    }

    /// What the server says first.
    pub(crate) async fn greeting(&mut self) -> Result<(), Fault> {
        self.trace.stage.set("greeting");
        self.status().await.and_then(|reply| self.accepted(reply)).map(drop)
    }

    /// Sends a command, and returns what the server says to it.
    pub(crate) async fn ask(&mut self, stage: &'static str, command: &str) -> Result<Reply, Fault> {
        // Commands are sent one by one: what is there already answers none.
        if self.start < self.end {
            let octets = shown(&self.buffer[self.start..self.end]);
            return Err(self.fault(Kind::Unasked, octets));
        }
        self.trace.stage.set(stage);
        let line = format!("{command}\r\n");
        match self.stream.write_all(line.as_bytes()).await {
            Ok(()) => self.status().await,
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// The same for a command that must not be refused.
    pub(crate) async fn must(&mut self, stage: &'static str, command: &str) -> Result<String, Fault> {
        let reply = self.ask(stage, command).await?;
        self.accepted(reply)
    }

    /// Takes a refusal for a fault.
    pub(crate) fn accepted(&self, reply: Reply) -> Result<String, Fault> {
        match reply {
            Reply::Ok(text) => Ok(text),
            Reply::Err(text) => Err(self.fault(Kind::Refused, shown(text.as_bytes()))),
        }
    }

    /// Says QUIT, and sees the server close.
    pub(crate) async fn quit(mut self) -> Result<(), Fault> {
        self.must("QUIT", "QUIT").await?;
        if self.start < self.end {
            return Err(self.fault(Kind::Unasked, shown(&self.buffer[self.start..self.end])));
        }
        self.trace.stage.set("close");
        match self.stream.read(&mut self.buffer).await {
            Ok(0) => Ok(()),
            // Reset or closed: it is gone, and nothing is missing.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Ok(more) => Err(self.fault(Kind::Unasked, shown(&self.buffer[..more]))),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Waits as long as the server says nothing; returns with what is wrong with its saying something.
    pub(crate) async fn silence(&mut self) -> Fault {
        self.trace.stage.set("hold");
        if self.start < self.end {
            return self.fault(Kind::Unasked, shown(&self.buffer[self.start..self.end]));
        }
        match self.stream.read(&mut self.buffer).await {
            Ok(0) => self.fault(Kind::Closed, "while it was held"),
            Ok(more) => self.fault(Kind::Unasked, shown(&self.buffer[..more])),
            Err(error) => self.broken(&error),
        }
    }

    /// Hands each line of a multi-line reply on, as it is on the wire.
    pub(crate) async fn rows(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), Fault> {
        loop {
            let row = self.line().await?;
            if row == b"." {
                return Ok(());
            }
            let outcome = each(row.strip_prefix(b".").unwrap_or(row));
            outcome.map_err(|detail| self.fault(Kind::Wrong, detail))?;
        }
    }

    /// Reads exactly these octets; `before` of the reply have been read.
    pub(crate) async fn exactly(&mut self, expected: &[u8], before: usize) -> Result<(), Fault> {
        let mut checked = 0;
        while checked < expected.len() {
            self.some().await?;
            let came = &self.buffer[self.start..self.end];
            let length = came.len().min(expected.len() - checked);
            let due = &expected[checked..checked + length];
            if came[..length] != *due {
                let at = came.iter().zip(due).take_while(|(a, b)| a == b).count();
                let detail = format!(
                    "octet {} is wrong: `{}` came for `{}`",
                    before + checked + at,
                    shown(&came[at..length.min(at + 20)]),
                    shown(&due[at..length.min(at + 20)]),
                );
                return Err(self.fault(Kind::Wrong, detail));
            }
            checked += length;
            self.start += length;
        }
        Ok(())
    }

    /// Reads a message to its end, and tells its octets without the doubled dots. Lines may be
    /// longer than there is room for.
    pub(crate) async fn message(&mut self) -> Result<u64, Fault> {
        let mut octets = 0;
        loop {
            self.some().await?;
            let came = &self.buffer[self.start..self.end];
            match memchr::memchr(b'\n', came) {
                Some(at) => {
                    let line = &came[..=at];
                    self.start += at + 1;
                    if line == b".\r\n" {
                        return Ok(octets);
                    }
                    octets += (line.len() - usize::from(line[0] == b'.')) as u64;
                }
                None if came.len() < self.buffer.len() => self.more().await?,
                None => {
                    octets += self.rest_of_long_line().await?;
                }
            }
        }
    }

    /// Passes over a line that fills the buffer.
    async fn rest_of_long_line(&mut self) -> Result<u64, Fault> {
        let mut octets = 0;
        let doubled = u64::from(self.buffer[self.start] == b'.');
        loop {
            self.some().await?;
            let came = &self.buffer[self.start..self.end];
            let end = memchr::memchr(b'\n', came);
            let length = end.map_or(came.len(), |at| at + 1);
            octets += length as u64;
            self.start += length;
            if end.is_some() {
                return Ok(octets - doubled);
            }
        }
    }

    async fn status(&mut self) -> Result<Reply, Fault> {
        let line = self.line().await?;
        let text = |rest: &[u8]| String::from_utf8_lossy(rest.trim_ascii_start()).into_owned();
        let is_word = |rest: &[u8]| rest.first().is_none_or(|octet| *octet == b' ');
        if let Some(rest) = line.strip_prefix(b"+OK").filter(|rest| is_word(rest)) {
            return Ok(Reply::Ok(text(rest)));
        }
        if let Some(rest) = line.strip_prefix(b"-ERR").filter(|rest| is_word(rest)) {
            return Ok(Reply::Err(text(rest)));
        }
        let detail = format!("`{}` begins with neither +OK nor -ERR", shown(line));
        Err(self.fault(Kind::Malformed, detail))
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<&[u8], Fault> {
        loop {
            let came = &self.buffer[self.start..self.end];
            if let Some(at) = memchr::memchr(b'\n', came) {
                let line = self.start..self.start + at;
                self.start += at + 1;
                return match self.buffer[line.clone()].strip_suffix(b"\r") {
                    Some(_) => Ok(&self.buffer[line.start..line.end - 1]),
                    None => {
                        let detail = format!("`{}` ends without CR", shown(&self.buffer[line]));
                        Err(self.fault(Kind::Malformed, detail))
                    }
                };
            }
            if came.len() == self.buffer.len() {
                return Err(self.fault(Kind::Malformed, format!("a line of more than {} octets", came.len())));
            }
            self.more().await?;
        }
    }

    /// Sees to it that something has come.
    async fn some(&mut self) -> Result<(), Fault> {
        if self.start == self.end { self.more().await } else { Ok(()) }
    }

    /// Waits for more than has come, keeping what there is.
    async fn more(&mut self) -> Result<(), Fault> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        match self.stream.read(&mut self.buffer[self.end..]).await {
            Ok(0) => {
                let detail = match &self.buffer[..self.end] {
                    [] => "by the server".to_string(),
                    part => format!("after `{}`", shown(part)),
                };
                Err(self.fault(Kind::Closed, detail))
            }
            Ok(length) => {
                self.end += length;
                self.trace.received.set(self.trace.received.get() + length as u64);
                Ok(())
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &io::Error) -> Fault {
        let gone = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        let kind = if gone.contains(&error.kind()) { Kind::Closed } else { Kind::Connection };
        self.fault(kind, error.to_string())
    }
}
