//! A denied session: the host answers in the mail server's place.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::link::LinkEnd;
use super::login::Candidate;
use super::patience::patience;
use super::record::End;
use super::{Session, Stage};
use crate::maildrop::{Left, Route};
use reprieve_pop3::command::Command;
use reprieve_pop3::line::{COMMAND_LIMIT, Next};
use reprieve_pop3::posed::{self, Event, Maildrop};
use reprieve_pop3::reply;

/// Rows of a listing that one session looks at before others have their turn.
pub(super) const ROWS_AT_ONCE: u32 = 20_000;

/// What is shown.
pub(super) enum Pose {
    /// The maildrop as it was left.
    Maildrop(Left),
    /// An empty one.
    Empty,
    /// A mail server that is busy.
    Busy,
}

/// A session that is to be posed.
pub(super) struct Posing {
    pub(super) pose: Pose,
    pub(super) candidate: Candidate,
}

/// What a posed session needs to go on at the mail server.
pub(super) struct Means {
    /// None once it was tried: the secret is not kept beyond that.
    pub(super) candidate: Option<Candidate>,
    /// What the client is told then.
    pub(super) refusal: Cow<'static, [u8]>,
    /// Where the maildrop is that is shown.
    pub(super) route: Option<Arc<Route>>,
    /// The session that has left it.
    pub(super) left_by: u64,
}

/// What the client is shown.
struct Shown {
    maildrop: Maildrop,
    busy: bool,
    /// None where there is nothing to upgrade for.
    means: Option<Box<Means>>,
}

impl Posing {
    #[expect(clippy::boxed_local, reason = "a session that opened the box itself would keep it")]
    fn show(self: Box<Self>) -> Shown {
        let Self { pose, candidate } = *self;
        let busy = matches!(pose, Pose::Busy);
        let (maildrop, route, left_by) = match pose {
            Pose::Maildrop(Left { snapshot, route, by }) => (Maildrop::new(snapshot), route, by),
            Pose::Empty | Pose::Busy => (Maildrop::new(Arc::default()), None, 0),
        };
        let is_empty = maildrop.snapshot().count() == 0;
        let means = (!is_empty).then(|| {
            Box::new(Means { candidate: Some(candidate), refusal: reply::LOST.into(), route, left_by })
        });
        Shown { maildrop, busy, means }
    }
}

impl Session {
    /// The secret is held as long as the session may need it for an upgrade: not at all where
    /// there is nothing to upgrade for.
    pub(super) async fn pose(&mut self, posing: Box<Posing>) -> Result<Stage, LinkEnd> {
        let Shown { maildrop, busy, mut means } = posing.show();
        let mut bad = 0;
        let mut looked_at = 0;
        // From one whole command to the next: one that comes octet by octet is none yet.
        let context = self.context.clone();
        let mut deadline = Instant::now() + context.settings.idle_timeout;
        let mut patience = pin!(patience(deadline, &context.drain));
        loop {
            let event = match self.link.inbox.next_line(COMMAND_LIMIT) {
                Next::Line => {
                    let command = Command::parse(self.link.inbox.line());
                    let capabilities = &self.capabilities;
                    if busy {
                        posed::busy(command, capabilities, &mut self.link.out)
                    } else {
                        maildrop.command(command, capabilities, &mut self.link.out)
                    }
                }
                Next::TooLong => {
                    self.link.out.extend_from_slice(reply::TOO_LONG);
                    Event::Bad
                }
                Next::Incomplete => {
                    self.link.flush().await?;
                    match self.link.fill_until(deadline, patience.as_mut()).await {
                        Ok(()) => continue,
                        Err(end) => return Box::pin(self.say_why(end)).await.map(Stage::Over),
                    }
                }
            };
            match event {
                Event::Answered => {}
                Event::Bad => {
                    bad += 1;
                    if bad >= self.context.settings.max_bad_commands {
                        return self.part(reply::TOO_MANY_BAD, End::BadCommands).await.map(Stage::Over);
                    }
                }
                Event::Quit => return self.part(b"", End::Quit).await.map(Stage::Over),
                Event::Upgrade => {
                    self.link.flush().await?;
                    let Some(means) = &mut means else {
                        self.link.out.extend_from_slice(reply::LOST);
                        continue;
                    };
                    if let Some(relaying) = Box::pin(self.upgrade(means, &maildrop)).await? {
                        return Ok(Stage::Relay(relaying));
                    }
                    self.link.out.extend_from_slice(&means.refusal);
                }
            }
            looked_at += maildrop.snapshot().count();
            if looked_at >= ROWS_AT_ONCE {
                looked_at = 0;
                tokio::task::yield_now().await;
            }
            self.link.flush_if_large().await?;
            deadline = Instant::now() + context.settings.idle_timeout;
        }
    }
}
