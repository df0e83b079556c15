//! A posed session: Reprieve answers in the mail server's place.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use super::client_io::Disconnect;
use super::deadline::deadline_or_drain;
use super::login::PosedUser;
use super::session_record::SessionEnd;
use super::{Session, Stage};
use crate::maildrop::{LastSeen, Route};
use crate::time::Instant;
use reprieve_pop3::command::Command;
use reprieve_pop3::line::{COMMAND_LIMIT, NextLine};
use reprieve_pop3::posed::{self, PosedEvent, PosedMaildrop};
use reprieve_pop3::reply;

/// Rows of a listing that a session handles before it yields to other sessions.
pub(super) const ROWS_AT_ONCE: u32 = 20_000;

/// What is shown.
pub(super) enum Pose {
    /// The maildrop as the user's clients last saw it.
    Maildrop(LastSeen),
    /// An empty one.
    Empty,
    /// A mail server that is busy.
    Busy,
}

/// What a posed session starts with.
pub(super) struct Posing {
    pub(super) pose: Pose,
    pub(super) user: PosedUser,
    /// The note of the verdict.
    pub(super) note: Option<String>,
}

/// What a posed session needs to continue at the mail server.
pub(super) struct UpgradeContext {
    /// None after the first attempt: the secret is not kept any longer.
    pub(super) user: Option<PosedUser>,
    /// The reply if the upgrade fails or has failed.
    pub(super) refusal: Cow<'static, [u8]>,
    /// The pool and user name of the maildrop that is shown.
    pub(super) route: Option<Arc<Route>>,
    /// The session that left the snapshot.
    pub(super) posed_token: u64,
    /// [`LastSeen::heard`] of the snapshot.
    pub(super) posed_heard: Option<u64>,
    /// The note of the verdict, for the outcome of the upgrade.
    pub(super) note: Option<String>,
}

/// What the client is shown.
struct Shown {
    maildrop: PosedMaildrop,
    busy: bool,
    /// None if no command can ask for an upgrade.
    upgrade: Option<Box<UpgradeContext>>,
}

impl Posing {
    fn show(self: Box<Self>) -> Shown {
        let Self { pose, user, note } = *self;
        let busy = matches!(pose, Pose::Busy);
        let (maildrop, route, posed_token, posed_heard) = match pose {
            Pose::Maildrop(LastSeen { snapshot, route, token, heard, .. }) => {
                (PosedMaildrop::new(snapshot), route, token, heard)
            }
            Pose::Empty | Pose::Busy => (PosedMaildrop::new(Arc::default()), None, 0, None),
        };
        let is_empty = maildrop.snapshot().count() == 0;
        let upgrade = (!is_empty).then(|| {
            Box::new(UpgradeContext {
                user: Some(user),
                refusal: reply::LOST.into(),
                route,
                posed_token,
                posed_heard,
                note,
            })
        });
        Shown { maildrop, busy, upgrade }
    }
}

impl Session {
    /// Answers until the client quits or an upgrade succeeds. The secret is kept only while an upgrade
    /// may need it.
    pub(super) async fn pose(&mut self, posing: Box<Posing>) -> Result<Stage, Disconnect> {
        let Shown { maildrop, busy, mut upgrade } = posing.show();
        let mut bad = 0;
        let mut looked_at = 0;
        // Counts between complete commands: a client that sends single bytes is idle.
        let context = self.context.clone();
        let mut deadline = Instant::now() + context.settings.idle_timeout;
        let mut wait_limit = pin!(deadline_or_drain(deadline, &context.drain));
        loop {
            let event = match self.client.inbox.next_line(COMMAND_LIMIT) {
                NextLine::Line => {
                    let command = Command::parse(self.client.inbox.line());
                    let capabilities = &self.capabilities;
                    if busy {
                        posed::busy(command, capabilities, &mut self.client.out)
                    } else {
                        maildrop.command(command, capabilities, &mut self.client.out)
                    }
                }
                NextLine::TooLong => {
                    self.client.out.extend_from_slice(reply::TOO_LONG);
                    PosedEvent::Bad
                }
                NextLine::Incomplete => {
                    self.client.flush().await?;
                    match self.client.fill_until(deadline, wait_limit.as_mut()).await {
                        Ok(()) => continue,
                        Err(end) => return Box::pin(self.notify_and_close(end)).await.map(Stage::Over),
                    }
                }
            };
            match event {
                PosedEvent::Answered => {}
                PosedEvent::Bad => {
                    bad += 1;
                    if bad >= self.context.settings.max_bad_commands {
                        return self
                            .close_with(reply::TOO_MANY_BAD, SessionEnd::BadCommands)
                            .await
                            .map(Stage::Over);
                    }
                }
                PosedEvent::Quit => return self.close_with(b"", SessionEnd::Quit).await.map(Stage::Over),
                PosedEvent::Upgrade => {
                    self.client.flush().await?;
                    let Some(upgrade) = &mut upgrade else {
                        self.client.out.extend_from_slice(reply::LOST);
                        continue;
                    };
                    if let Some(relaying) = Box::pin(self.upgrade(upgrade, &maildrop)).await? {
                        return Ok(Stage::Relay(relaying));
                    }
                    self.client.out.extend_from_slice(&upgrade.refusal);
                }
            }
            looked_at += maildrop.snapshot().count();
            if looked_at >= ROWS_AT_ONCE {
                looked_at = 0;
                tokio::task::yield_now().await;
            }
            self.client.flush_if_large().await?;
            deadline = Instant::now() + context.settings.idle_timeout;
        }
    }
}
