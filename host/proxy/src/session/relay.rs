//! Both ways at once between a client and a node, with what passes in view.

mod wind_up;

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Session;
use super::context::Context;
use super::link::{LARGE, LEAST_PROGRESS, Link, LinkEnd};
use super::pose::ROWS_AT_ONCE;
use super::record::End;
use super::unseen::Unseen;
use crate::maildrop::{Begun, Commit, NoSnapshot, Opening, Session as ServerSession, Takes};
use crate::pool::Connection;
use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::line::{COMMAND_LIMIT, Next};
use reprieve_pop3::listing::Unknowable;
use reprieve_pop3::relay::{Event, Relay, Taken};
use reprieve_pop3::reply;
use reprieve_pop3::snapshot::Snapshot;

/// Octets that are read from a node at once.
const READ: usize = 64 << 10;

thread_local! {
    /// What nodes say goes through here: a session that waits has no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

impl Session {
    /// Relays until the end, beginning with the reply to the login, which waits to be written.
    pub(super) async fn relay(&mut self, relaying: Box<Relaying>) -> Result<End, LinkEnd> {
        let mut pump = self.pump(relaying);
        let end = poll_fn(|task| {
            pump.connection.watch(task.waker());
            pump.poll(task)
        });
        let end = end.await;
        if is_left_by_client(end) {
            Box::pin(pump.wind_up()).await;
        }
        let committing = pump.commit_at_last();
        drop(pump);
        if let Some(committing) = committing {
            committing.await;
        }
        match end {
            Ok(End::Quit) => {
                self.link.close().await;
                Ok(End::Quit)
            }
            Ok(End::Link(LinkEnd::Idle)) => self.say_why(LinkEnd::Idle).await,
            Ok(End::BadCommands) => self.part(reply::TOO_MANY_BAD, End::BadCommands).await,
            Ok(End::Server) => self.lost_server().await,
            Ok(End::NodeDisabled) => self.lost_server().await.map(|_| End::NodeDisabled),
            Ok(end) => Ok(end),
            Err(end) => Err(end),
        }
    }

    /// Made aside, so that the session holds neither the room for making it nor an empty box.
    fn pump(&mut self, relaying: Box<Relaying>) -> Pump<'_> {
        let Relaying { mut connection, relay, access, first } = *relaying;
        let tick = Limits::of(&self.context, &connection).shortest();
        let early = connection.take_rest();
        let mut pump = Pump {
            context: &self.context,
            to_client: Outbox { octets: std::mem::take(&mut self.link.out), written: 0 },
            link: &mut self.link,
            capabilities: &self.capabilities,
            connection,
            relay,
            access,
            unread: Vec::new(),
            to_server: Outbox::default(),
            unseen: Unseen::default(),
            held: first.map_or(Held::Nothing, Held::Command),
            bad: 0,
            client_closed: false,
            finished: None,
            waiting: Waiting::Nothing,
            progress: Progress::default(),
            timer: Box::pin(tokio::time::sleep(tick)),
        };
        pump.link.octets_out += pump.to_client.octets.len() as u64;
        if !early.is_empty() {
            pump.take_replies(&early);
        }
        pump
    }
}

/// A session that is logged in at a node.
pub(super) struct Relaying {
    pub(super) connection: Connection,
    pub(super) relay: Relay,
    pub(super) access: Access,
    /// A command that was taken already.
    pub(super) first: Option<Vec<u8>>,
}

/// What the session is for what is remembered of the user.
pub(super) enum Access {
    /// The client has not been shown the maildrop yet.
    Opening(Box<Opening>),
    /// It has, or is about to be.
    Begun(ServerSession),
    /// It was shown nothing, or what it leaves is committed.
    Over,
}

/// What both sides have to wait for.
enum Waiting {
    Nothing,
    /// Nobody else may be shown the old snapshot any more: then the client may see the maildrop.
    Beginning(Takes<ServerSession>),
    /// What the session leaves is on its way to other proxies: then the client may know that
    /// it is over.
    Committing(Commit),
}

/// Whether a session is over while the mail server still answers it, and without QUIT.
fn is_left_by_client(end: Result<End, LinkEnd>) -> bool {
    match end {
        Ok(End::BadCommands | End::Link(_)) | Err(_) => true,
        Ok(_) => false,
    }
}

/// Bytes that wait to be written.
#[derive(Default)]
struct Outbox {
    octets: Vec<u8>,
    written: usize,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.written == self.octets.len()
    }

    /// Writes what waits. Ready when nothing does.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut W,
        task: &mut TaskContext<'_>,
    ) -> Poll<std::io::Result<()>> {
        while !self.is_empty() {
            match Pin::new(&mut *stream).poll_write(task, &self.octets[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.octets.capacity() > 0 {
            *self = Self::default();
        }
        // An encrypted connection keeps what it could not write.
        Pin::new(stream).poll_flush(task)
    }
}

/// A command that was read and has to wait for replies that are under way.
enum Held {
    Nothing,
    /// The inbox's present line.
    Line,
    /// A line that was too long.
    TooLong,
    /// The command that a posed session was upgraded for.
    Command(Vec<u8>),
}

struct Pump<'a> {
    context: &'a Context,
    capabilities: &'a Capabilities,
    link: &'a mut Link,
    connection: Connection,
    relay: Relay,
    access: Access,
    /// Replies that were read and are looked at when the session has begun.
    unread: Vec<u8>,
    to_server: Outbox,
    to_client: Outbox,
    unseen: Unseen,
    held: Held,
    bad: u32,
    /// The client will send no more; what it asked for is still brought.
    client_closed: bool,
    /// How it ends once everything is written.
    finished: Option<End>,
    waiting: Waiting,
    progress: Progress,
    timer: Pin<Box<Sleep>>,
}

/// How long each side may keep the other waiting.
#[derive(Clone, Copy)]
struct Limits {
    /// The client, for its next command.
    idle: Duration,
    /// The client, for 1 KiB of a reply.
    stall: Duration,
    /// The mail server, while a reply is awaited.
    reply: Duration,
}

impl Limits {
    fn of(context: &Context, connection: &Connection) -> Self {
        let settings = &context.settings;
        Self { idle: settings.idle_timeout, stall: settings.stall_timeout, reply: connection.reply_timeout() }
    }

    fn shortest(&self) -> Duration {
        self.idle.min(self.stall).min(self.reply)
    }
}

/// What has moved, for the timer: it ticks once in a while, not once a command.
#[derive(Default)]
struct Progress {
    /// Whole commands were taken, or the mail server has spoken, since the last tick.
    command: bool,
    server: bool,
    /// Time without either, and without the client taking octets, by ticks.
    without_command: Waited,
    without_server: Waited,
    without_delivery: Waited,
    /// Octets that the client had acknowledged when it was last found to have taken enough.
    delivered: u64,
}

/// How long something is waited for: there are three in each session.
#[derive(Clone, Copy, Default)]
struct Waited {
    ms: u32,
}

impl Waited {
    /// So long again. True where that has reached a limit; one beyond 49 days is reached then.
    fn goes_on(&mut self, tick: Duration, limit: Duration) -> bool {
        let tick_ms = u32::try_from(tick.as_millis()).unwrap_or(u32::MAX);
        self.ms = self.ms.saturating_add(tick_ms.max(1));
        self.ms == u32::MAX || Duration::from_millis(self.ms.into()) >= limit
    }
}

impl Pump<'_> {
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<End, LinkEnd>> {
        self.unseen.begin_turn();
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
                    // A node is read only when the client has taken what was read before.
                    moved |= self.poll_server(task);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(LinkEnd::Lost)),
                Poll::Pending => {}
            }
            if self.finished.is_none() {
                match self.poll_client(task) {
                    Ok(progress) => moved |= progress,
                    Err(end) => return Poll::Ready(Err(end)),
                }
                if let Poll::Ready(Err(_)) = self.to_server.poll_write(self.connection.stream(), task) {
                    self.finished = Some(End::Server);
                    moved = true;
                }
            }
            if self.connection.is_cut() && self.finished.is_none() {
                self.finished = Some(End::NodeDisabled);
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
            let next = tokio::time::Instant::now() + self.limits().shortest();
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    fn poll_waiting(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        match &mut self.waiting {
            Waiting::Nothing => {}
            Waiting::Committing(committing) => {
                ready!(committing.as_mut().poll(task));
                self.waiting = Waiting::Nothing;
            }
            Waiting::Beginning(beginning) => {
                self.access = Access::Begun(ready!(beginning.as_mut().poll(task)));
                self.waiting = Waiting::Nothing;
                let unread = std::mem::take(&mut self.unread);
                self.take_replies(&unread);
            }
        }
        Poll::Ready(())
    }

    fn is_waiting(&self) -> bool {
        !matches!(self.waiting, Waiting::Nothing)
    }

    fn limits(&self) -> Limits {
        Limits::of(self.context, &self.connection)
    }

    /// Looks how long everything takes. Where that is too long, how the session ends. Each limit
    /// is noticed at the first tick after it.
    fn tick(&mut self) -> Option<Result<End, LinkEnd>> {
        let limits = self.limits();
        let tick = limits.shortest();
        let delivered = self.link.octets_out.saturating_sub(
            (self.unseen.held() + self.to_client.octets.len() - self.to_client.written) as u64
                + self.link.stream.unacknowledged(),
        );
        let is_owed = delivered < self.link.octets_out;
        let progress = &mut self.progress;
        let taken = delivered.saturating_sub(progress.delivered);
        if !is_owed || taken >= LEAST_PROGRESS {
            progress.delivered = delivered;
            progress.without_delivery = Waited::default();
        } else if progress.without_delivery.goes_on(tick, limits.stall) {
            return Some(Err(LinkEnd::Stalled));
        }
        // A mail server that is not read because the client does not read is not to blame.
        if std::mem::take(&mut progress.server) || !self.relay.is_waiting() || is_owed {
            progress.without_server = Waited::default();
        } else if progress.without_server.goes_on(tick, limits.reply) {
            return Some(Ok(End::Server));
        }
        if std::mem::take(&mut progress.command) || self.relay.is_waiting() || is_owed {
            progress.without_command = Waited::default();
        } else if progress.without_command.goes_on(tick, limits.idle) {
            return Some(Ok(End::Link(LinkEnd::Idle)));
        }
        None
    }

    /// Writes what waits for the client: what has passed unseen came first.
    fn poll_to_client(&mut self, task: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.unseen.poll_write(&self.link.stream, task))?;
        self.to_client.poll_write(&mut self.link.stream, task)
    }

    /// Reads what the node says, once. True where something came of it.
    fn poll_server(&mut self, task: &mut TaskContext<'_>) -> bool {
        if !self.is_waiting()
            && self.finished.is_none()
            && let Some(passed) =
                self.unseen.take(&mut self.relay, self.connection.stream(), &self.link.stream)
        {
            self.progress.server = true;
            self.link.octets_out += passed as u64;
            return true;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(self.connection.stream()).poll_read(task, &mut buffer) {
                Poll::Pending => false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.progress.server = true;
                    let octets = buffer.filled();
                    self.unseen.was_read(octets.len() == READ);
                    self.take_replies_and_write(octets, task);
                    true
                }
                Poll::Ready(_) => {
                    self.finished.get_or_insert(End::Server);
                    true
                }
            }
        })
    }

    fn take_replies_and_write(&mut self, octets: &[u8], task: &mut TaskContext<'_>) {
        let whole = self.take_replies_until_split(octets);
        if whole < octets.len() {
            return;
        }
        // Everything is for the client: it is written from where it was read.
        self.link.octets_out += octets.len() as u64;
        // The last reply goes out together with the end of the connection.
        let is_last = self.finished.is_some() && !self.is_waiting();
        let mut written = if is_last { self.link.stream.hold_back(octets) } else { 0 };
        while written < octets.len() && !self.is_waiting() {
            match Pin::new(&mut self.link.stream).poll_write(task, &octets[written..]) {
                Poll::Ready(Ok(count)) if count > 0 => written += count,
                // An error shows again when the rest is written.
                _ => break,
            }
        }
        self.to_client.octets.extend_from_slice(&octets[written..]);
    }

    /// Reads replies. Where all of them go to the client as they are, returns their length and
    /// leaves the writing to the caller; otherwise they wait to be written, and it returns 0.
    fn take_replies_until_split(&mut self, octets: &[u8]) -> usize {
        let mut split = false;
        let mut done = 0;
        while done < octets.len() {
            match self.relay.reply(&octets[done..], &mut self.to_server.octets) {
                Ok(fed) => {
                    match fed.event {
                        Some(Event::Opened) => self.begin(),
                        Some(Event::Quit { leaves, deleted }) => self.quit(leaves, deleted),
                        None => {}
                    }
                    let part = &octets[done..done + fed.used];
                    let waits = matches!(self.waiting, Waiting::Beginning(_));
                    if (!fed.forward && fed.used > 0 || waits) && !split {
                        split = true;
                        self.to_client.octets.extend_from_slice(&octets[..done]);
                        self.link.octets_out += done as u64;
                    }
                    if waits {
                        self.unread = octets[done..].to_vec();
                        return 0;
                    }
                    if let Some(instead) = &fed.instead {
                        self.to_client.octets.extend_from_slice(instead);
                        self.link.octets_out += instead.len() as u64;
                    } else if fed.forward && split {
                        self.to_client.octets.extend_from_slice(part);
                        self.link.octets_out += part.len() as u64;
                    }
                    done += fed.used;
                }
                Err(fault) => {
                    tracing::warn!(node = &**self.connection.node(), "{fault}");
                    if !split {
                        split = true;
                        self.to_client.octets.extend_from_slice(&octets[..done]);
                        self.link.octets_out += done as u64;
                    }
                    self.finished.get_or_insert(End::Server);
                    break;
                }
            }
        }
        if split { 0 } else { octets.len() }
    }

    /// Reads replies that came together with the one to the login.
    fn take_replies(&mut self, octets: &[u8]) {
        if self.take_replies_until_split(octets) > 0 {
            self.to_client.octets.extend_from_slice(octets);
            self.link.octets_out += octets.len() as u64;
        }
    }

    /// The first reply that shows the maildrop is there. The client sees it when nobody else is
    /// shown the old snapshot any more.
    fn begin(&mut self) {
        let Access::Opening(opening) = std::mem::replace(&mut self.access, Access::Over) else { return };
        match self.context.registry.begin(*opening) {
            Begun::Now(session) => self.access = Access::Begun(session),
            Begun::Later(beginning) => self.waiting = Waiting::Beginning(beginning),
        }
    }

    /// The mail server has answered QUIT: what the session leaves counts before the client
    /// knows, because its next session can come at once.
    fn quit(&mut self, leaves: Result<Snapshot, Unknowable>, deleted: bool) {
        if let Some(committing) = self.commit(leaves.map_err(NoSnapshot::from), deleted) {
            self.waiting = Waiting::Committing(committing);
        }
        self.finished = Some(End::Quit);
    }

    fn commit(&mut self, leaves: Result<Snapshot, NoSnapshot>, deleted: bool) -> Option<Commit> {
        match std::mem::replace(&mut self.access, Access::Over) {
            Access::Begun(session) => self.context.registry.commit(session, leaves, deleted),
            Access::Opening(_) | Access::Over => None,
        }
    }

    /// What is still to be written of the session when it is over, however it ended.
    fn commit_at_last(&mut self) -> Option<Commit> {
        if let Waiting::Committing(committing) = std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            return Some(committing);
        }
        match std::mem::replace(&mut self.access, Access::Over) {
            // The mail server has accepted the login, and the policy knows: what clients saw before
            // is too old for the denials that follow.
            Access::Opening(opening) => return self.context.registry.forget_opened(*opening),
            begun => self.access = begun,
        }
        // After an unanswered QUIT nobody knows whether the deletions were carried out.
        self.commit(Err(NoSnapshot::Incomplete), self.relay.is_quit_unanswered())
    }

    /// Takes commands of the client's, and reads more. True where something came of it.
    fn poll_client(&mut self, task: &mut TaskContext<'_>) -> Result<bool, LinkEnd> {
        if self.relay.is_quitting() {
            return Ok(false);
        }
        let mut moved = false;
        let mut looked_at = 0;
        loop {
            if looked_at >= ROWS_AT_ONCE {
                // Others have their turn; this goes on after it.
                task.waker().wake_by_ref();
                return Ok(false);
            }
            looked_at += self.relay.rows();
            if self.to_client.octets.len() >= LARGE {
                // A client that asks and does not read fills no memory.
                return Ok(moved);
            }
            match self.take_command() {
                Some(Taken::Done) => moved = true,
                Some(Taken::Bad) => {
                    moved = true;
                    self.bad += 1;
                    if self.bad >= self.context.settings.max_bad_commands {
                        self.finished = Some(End::BadCommands);
                        return Ok(true);
                    }
                }
                Some(Taken::Wait) => return Ok(moved),
                None if self.client_closed => {
                    // What it asked for is brought; then it is gone.
                    if self.relay.is_waiting() || !self.to_client.is_empty() {
                        return Ok(moved);
                    }
                    return Err(LinkEnd::Closed);
                }
                None => match self.link.poll_fill(task) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(LinkEnd::Closed)) => {
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

    /// Takes the command that is held, or the next one. None where there is none.
    fn take_command(&mut self) -> Option<Taken> {
        if let Held::Nothing = self.held {
            self.held = match self.link.inbox.next_line(COMMAND_LIMIT) {
                Next::Line => Held::Line,
                Next::TooLong => Held::TooLong,
                Next::Incomplete => return None,
            };
        }
        let line = match &self.held {
            Held::TooLong => {
                let before = self.to_client.octets.len();
                let taken = self.relay.too_long(&mut self.to_client.octets);
                return Some(self.taken(taken, before));
            }
            Held::Command(line) => line,
            Held::Line | Held::Nothing => self.link.inbox.line(),
        };
        let before = self.to_client.octets.len();
        let taken = self.relay.command(
            line,
            self.capabilities,
            &mut self.to_server.octets,
            &mut self.to_client.octets,
        );
        Some(self.taken(taken, before))
    }

    fn taken(&mut self, taken: Taken, before: usize) -> Taken {
        self.link.octets_out += (self.to_client.octets.len() - before) as u64;
        if taken != Taken::Wait {
            self.held = Held::Nothing;
            self.progress.command = true;
        }
        taken
    }
}
