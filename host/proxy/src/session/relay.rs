//! Relays between a client and a node in both directions, and watches the listing on its way.

mod maildrop_access;
mod time_limits;
mod wind_up;

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Session;
use super::client_io::{ClientIo, Disconnect, LARGE};
use super::context::Context;
use super::pose::ROWS_AT_ONCE;
use super::session_record::SessionEnd;
use super::splice::Splice;
use crate::pool::Connection;
use crate::time::Sleep;
pub(super) use maildrop_access::MaildropAccess;
pub(super) use maildrop_access::Opened;
use maildrop_access::Waiting;
use reprieve_policy_host::Login;
use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::line::{COMMAND_LIMIT, NextLine};
use reprieve_pop3::relay::{CommandStatus, Relay, RelayEvent};
use reprieve_pop3::reply;
use time_limits::{Limits, Progress};

/// Bytes per read from a node.
const READ: usize = 64 << 10;

thread_local! {
    /// Read buffer of the thread, so that an idle session has none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

impl Session {
    /// Relays until either side ends. The reply to the login is written first.
    pub(super) async fn relay(&mut self, mut relaying: Box<Relaying>) -> Result<SessionEnd, Disconnect> {
        let reported = relaying.reported.take();
        let mut pump = self.pump(relaying);
        let end = poll_fn(|task| {
            pump.connection.wake_when_disabled(task.waker());
            pump.poll(task)
        });
        let end = end.await;
        if is_left_by_client(end) {
            Box::pin(pump.wind_up()).await;
        }
        let committing = pump.commit_at_last();
        let report = reported.map(|login| Box::new((login, pump.relay.totals())));
        drop(pump);
        if let Some(committing) = committing {
            committing.await;
        }
        let end = match end {
            Ok(SessionEnd::Quit) => {
                self.client.close().await;
                Ok(SessionEnd::Quit)
            }
            Ok(SessionEnd::Idle) => self.notify_and_close(Disconnect::Idle).await,
            Ok(SessionEnd::BadCommands) => {
                self.close_with(reply::TOO_MANY_BAD, SessionEnd::BadCommands).await
            }
            Ok(SessionEnd::ServerLost) => self.lost_server().await,
            Ok(SessionEnd::NodeDisabled) => self.lost_server().await.map(|_| SessionEnd::NodeDisabled),
            Ok(end) => Ok(end),
            Err(end) => Err(end),
        };
        if let Some(report) = report {
            // The client does not wait for the policy.
            self.client.close().await;
            let (login, totals) = *report;
            Box::pin(self.report_end(login, totals)).await;
        }
        end
    }

    /// A function of its own, so that the session's future does not contain the temporaries.
    fn pump(&mut self, relaying: Box<Relaying>) -> Pump<'_> {
        let Relaying { mut connection, relay, access, open, first, .. } = *relaying;
        let tick = Limits::of(&self.context, &connection).shortest();
        let early = connection.take_rest();
        let mut pump = Pump {
            context: &self.context,
            to_client: Outbox { bytes: std::mem::take(&mut self.client.out), written: 0 },
            client: &mut self.client,
            capabilities: &self.capabilities,
            connection,
            relay: Box::new(relay),
            access,
            open: Some(open),
            unread: Vec::new(),
            to_server: Outbox::default(),
            splice: Splice::default(),
            held: first.map_or(Held::Nothing, Held::Command),
            bad: 0,
            client_closed: false,
            finished: None,
            waiting: Waiting::Nothing,
            progress: Progress::default(),
            timer: Box::pin(crate::time::sleep(tick)),
        };
        pump.client.bytes_out += pump.to_client.bytes.len() as u64;
        if !early.is_empty() {
            pump.take_replies(&early);
        }
        pump
    }
}

/// A session that is logged in to a node.
pub(super) struct Relaying {
    pub(super) connection: Connection,
    pub(super) relay: Relay,
    pub(super) access: MaildropAccess,
    pub(super) open: Box<Opened>,
    /// The login, if the policy wants to know how the session ends.
    pub(super) reported: Option<Arc<Login>>,
    /// A command that was read before the relay started.
    pub(super) first: Option<Vec<u8>>,
}

/// Whether the client ended the session without QUIT, while the mail server still answers.
fn is_left_by_client(end: Result<SessionEnd, Disconnect>) -> bool {
    match end {
        Ok(end) if end == SessionEnd::BadCommands || end.is_disconnect() => true,
        Err(_) => true,
        Ok(_) => false,
    }
}

/// Bytes waiting to be written.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Writes what is waiting. Ready when everything is written.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut W,
        task: &mut TaskContext<'_>,
    ) -> Poll<std::io::Result<()>> {
        while !self.is_empty() {
            match Pin::new(&mut *stream).poll_write(task, &self.bytes[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.bytes.capacity() > 0 {
            *self = Self::default();
        }
        // A TLS connection buffers what it could not write.
        Pin::new(stream).poll_flush(task)
    }
}

/// A command that was read but must wait for outstanding replies.
enum Held {
    Nothing,
    /// The current line of the inbox.
    Line,
    /// A line that was too long.
    TooLong,
    /// The command that a posed session was upgraded for.
    Command(Vec<u8>),
}

struct Pump<'a> {
    context: &'a Context,
    capabilities: &'a Capabilities,
    client: &'a mut ClientIo,
    connection: Connection,
    relay: Box<Relay>,
    access: MaildropAccess,
    /// None after QUIT.
    open: Option<Box<Opened>>,
    /// Replies that were read before the session's begin was recorded.
    unread: Vec<u8>,
    to_server: Outbox,
    to_client: Outbox,
    splice: Splice,
    held: Held,
    bad: u32,
    /// The client has closed its sending side; replies are still delivered.
    client_closed: bool,
    /// How the session ends once everything is written.
    finished: Option<SessionEnd>,
    waiting: Waiting,
    progress: Progress,
    timer: Pin<Box<Sleep>>,
}

impl Pump<'_> {
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<SessionEnd, Disconnect>> {
        self.splice.begin_turn();
        loop {
            let mut moved = false;
            if self.poll_waiting(task).is_pending() {
                break;
            }
            match self.poll_to_client(task) {
                Poll::Ready(Ok(())) => {
                    if let Some(end) = self.finished {
                        return Poll::Ready(Ok(end));
                    }
                    // A node is read only after the client has taken what was read before.
                    moved |= self.poll_server(task);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Disconnect::Lost)),
                Poll::Pending => {}
            }
            if self.finished.is_none() {
                match self.poll_client(task) {
                    Ok(progress) => moved |= progress,
                    Err(end) => return Poll::Ready(Err(end)),
                }
                if let Poll::Ready(Err(_)) = self.to_server.poll_write(self.connection.stream(), task) {
                    self.finished = Some(SessionEnd::ServerLost);
                    moved = true;
                }
            }
            if self.connection.is_disabled() && self.finished.is_none() {
                self.finished = Some(SessionEnd::NodeDisabled);
                moved = true;
            }
            if !moved {
                break;
            }
        }
        while self.timer.as_mut().poll(task).is_ready() {
            if let Some(end) = self.tick() {
                return Poll::Ready(end);
            }
            let next = crate::time::Instant::now() + self.limits().shortest();
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    /// Writes what is waiting for the client; spliced bytes came first.
    fn poll_to_client(&mut self, task: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.splice.poll_write(&self.client.stream, task))?;
        self.to_client.poll_write(&mut self.client.stream, task)
    }

    /// Reads from the node once. True if that made progress.
    fn poll_server(&mut self, task: &mut TaskContext<'_>) -> bool {
        if !self.is_waiting()
            && self.finished.is_none()
            && let Some(passed) =
                self.splice.take(&mut self.relay, self.connection.stream(), &self.client.stream)
        {
            self.progress.server = true;
            self.client.bytes_out += passed as u64;
            return true;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(self.connection.stream()).poll_read(task, &mut buffer) {
                Poll::Pending => false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.progress.server = true;
                    let bytes = buffer.filled();
                    self.splice.was_read(bytes.len() == READ);
                    self.take_replies_and_write(bytes, task);
                    true
                }
                Poll::Ready(_) => {
                    self.finished.get_or_insert(SessionEnd::ServerLost);
                    true
                }
            }
        })
    }

    fn take_replies_and_write(&mut self, bytes: &[u8], task: &mut TaskContext<'_>) {
        let whole = self.take_replies_until_split(bytes);
        if whole < bytes.len() {
            return;
        }
        // Everything goes to the client unchanged: it is written from the read buffer.
        self.client.bytes_out += bytes.len() as u64;
        // The last reply is sent together with the end of the connection.
        let is_last = self.finished.is_some() && !self.is_waiting();
        let mut written = if is_last { self.client.stream.write_deferred(bytes) } else { 0 };
        while written < bytes.len() && !self.is_waiting() {
            match Pin::new(&mut self.client.stream).poll_write(task, &bytes[written..]) {
                Poll::Ready(Ok(count)) if count > 0 => written += count,
                // An error recurs when the rest is written.
                _ => break,
            }
        }
        self.to_client.bytes.extend_from_slice(&bytes[written..]);
    }

    /// Parses replies. If all of them go to the client unchanged, returns their length and leaves the
    /// writing to the caller; otherwise queues them and returns 0.
    fn take_replies_until_split(&mut self, bytes: &[u8]) -> usize {
        let mut split = false;
        let mut done = 0;
        while done < bytes.len() {
            match self.relay.reply(&bytes[done..], &mut self.to_server.bytes) {
                Ok(progress) => {
                    match progress.event {
                        Some(RelayEvent::Opened) => self.begin(),
                        Some(RelayEvent::Quit { snapshot, has_deletions }) => {
                            self.quit(snapshot, has_deletions)
                        }
                        None => {}
                    }
                    let part = &bytes[done..done + progress.consumed];
                    let waits = matches!(self.waiting, Waiting::Beginning(_));
                    if (!progress.forward && progress.consumed > 0 || waits) && !split {
                        split = true;
                        self.to_client.bytes.extend_from_slice(&bytes[..done]);
                        self.client.bytes_out += done as u64;
                    }
                    if waits {
                        self.unread = bytes[done..].to_vec();
                        return 0;
                    }
                    if let Some(replacement) = &progress.replacement {
                        self.to_client.bytes.extend_from_slice(replacement);
                        self.client.bytes_out += replacement.len() as u64;
                    } else if progress.forward && split {
                        self.to_client.bytes.extend_from_slice(part);
                        self.client.bytes_out += part.len() as u64;
                    }
                    done += progress.consumed;
                }
                Err(error) => {
                    tracing::warn!(
                        node = &**self.connection.node_name(),
                        "the mail server's reply cannot be relayed: {error}"
                    );
                    if !split {
                        split = true;
                        self.to_client.bytes.extend_from_slice(&bytes[..done]);
                        self.client.bytes_out += done as u64;
                    }
                    self.finished.get_or_insert(SessionEnd::ServerLost);
                    break;
                }
            }
        }
        if split { 0 } else { bytes.len() }
    }

    /// Parses replies that arrived together with the one to the login.
    fn take_replies(&mut self, bytes: &[u8]) {
        if self.take_replies_until_split(bytes) > 0 {
            self.to_client.bytes.extend_from_slice(bytes);
            self.client.bytes_out += bytes.len() as u64;
        }
    }

    /// Handles the client's commands, and reads more. True if that made progress.
    fn poll_client(&mut self, task: &mut TaskContext<'_>) -> Result<bool, Disconnect> {
        if self.relay.is_quitting() {
            return Ok(false);
        }
        let mut moved = false;
        let mut looked_at = 0;
        loop {
            if looked_at >= ROWS_AT_ONCE {
                // Yields to other sessions.
                task.waker().wake_by_ref();
                return Ok(false);
            }
            looked_at += self.relay.local_rows();
            if self.to_client.bytes.len() >= LARGE {
                // A client that sends commands but does not read must not fill memory.
                return Ok(moved);
            }
            match self.take_command() {
                Some(CommandStatus::Done) => moved = true,
                Some(CommandStatus::Bad) => {
                    moved = true;
                    self.bad += 1;
                    if self.bad >= self.context.settings.max_bad_commands {
                        self.finished = Some(SessionEnd::BadCommands);
                        return Ok(true);
                    }
                }
                Some(CommandStatus::Wait) => return Ok(moved),
                None if self.client_closed => {
                    // The outstanding replies are delivered before the session ends.
                    if self.relay.is_waiting() || !self.to_client.is_empty() {
                        return Ok(moved);
                    }
                    return Err(Disconnect::Closed);
                }
                None => match self.client.poll_fill(task) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(Disconnect::Closed)) => {
                        self.client_closed = true;
                        moved = true;
                    }
                    Poll::Ready(Err(end)) => return Err(end),
                    Poll::Pending => return Ok(moved),
                },
            }
            if self.relay.is_quitting() {
                return Ok(true);
            }
        }
    }

    /// Takes the held command or the next one, if there is any.
    fn take_command(&mut self) -> Option<CommandStatus> {
        if let Held::Nothing = self.held {
            self.held = match self.client.inbox.next_line(COMMAND_LIMIT) {
                NextLine::Line => Held::Line,
                NextLine::TooLong => Held::TooLong,
                NextLine::Incomplete => return None,
            };
        }
        let line = match &self.held {
            Held::TooLong => {
                let before = self.to_client.bytes.len();
                let taken = self.relay.too_long(&mut self.to_client.bytes);
                return Some(self.taken(taken, before));
            }
            Held::Command(line) => line,
            Held::Line | Held::Nothing => self.client.inbox.line(),
        };
        let before = self.to_client.bytes.len();
        let taken =
            self.relay.command(line, self.capabilities, &mut self.to_server.bytes, &mut self.to_client.bytes);
        Some(self.taken(taken, before))
    }

    fn taken(&mut self, taken: CommandStatus, before: usize) -> CommandStatus {
        self.client.bytes_out += (self.to_client.bytes.len() - before) as u64;
        if taken != CommandStatus::Wait {
            self.held = Held::Nothing;
            self.progress.command = true;
        }
        taken
    }
}
