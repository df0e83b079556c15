//! A denied session: the host answers in the mail server's place.

use tokio::time::Instant;

use super::link::LinkEnd;
use super::login::Candidate;
use super::record::End;
use super::upgrade::Upgraded;
use super::{Session, Stage};
use crate::pop3::command::Command;
use crate::pop3::line::{COMMAND_LIMIT, Next};
use crate::pop3::posed::{self, Event, Maildrop};
use crate::pop3::reply;

/// What is shown.
pub(super) enum Pose {
    /// A maildrop: as it was, or empty.
    Maildrop(Maildrop),
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
    pub(super) candidate: Candidate,
    pub(super) maildrop: Maildrop,
}

impl Session {
    /// The secret is held as long as the session may need it for an upgrade: not at all where
    /// there is nothing to upgrade for.
    pub(super) async fn pose(&mut self, posing: Box<Posing>) -> Result<Stage, LinkEnd> {
        let Posing { pose, candidate } = *posing;
        let busy = matches!(pose, Pose::Busy);
        let mut means = match pose {
            Pose::Maildrop(maildrop) if maildrop.snapshot().count() > 0 => {
                Some(Box::new(Means { candidate, maildrop }))
            }
            Pose::Maildrop(_) | Pose::Busy => None,
        };
        let empty = Maildrop::new(std::sync::Arc::default());
        let idle_timeout = self.context.settings.idle_timeout;
        let mut bad = 0;
        let mut upgrade_failed = false;
        loop {
            let event = match self.link.inbox.next_line(COMMAND_LIMIT) {
                Next::Line => {
                    let command = Command::parse(self.link.inbox.line());
                    let capabilities = &self.context.settings.capabilities;
                    if busy {
                        posed::busy(command, capabilities, &mut self.link.out)
                    } else {
                        let maildrop = means.as_ref().map_or(&empty, |means| &means.maildrop);
                        maildrop.command(command, capabilities, &mut self.link.out)
                    }
                }
                Next::TooLong => {
                    self.link.out.extend_from_slice(reply::TOO_LONG);
                    Event::Bad
                }
                Next::Incomplete => {
                    self.link.flush(idle_timeout).await?;
                    let deadline = Instant::now() + idle_timeout;
                    match self.link.fill_until(deadline, &self.context).await {
                        Ok(()) => continue,
                        Err(end) => return self.say_why(end).await.map(Stage::Over),
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
                Event::Upgrade if upgrade_failed => self.link.out.extend_from_slice(reply::LOST),
                Event::Upgrade => {
                    self.link.flush(idle_timeout).await?;
                    if let Some(kept) = means.take() {
                        match Box::pin(self.upgrade(kept)).await? {
                            Upgraded::Done(relaying) => return Ok(Stage::Relay(relaying)),
                            Upgraded::Failed(kept) => {
                                upgrade_failed = true;
                                means = Some(kept);
                                self.link.out.extend_from_slice(reply::LOST);
                            }
                        }
                    }
                }
            }
            self.link.flush_if_large(idle_timeout).await?;
        }
    }
}
