//! The life of one connection: greeted, logged in, then posed or relayed. It carries out
//! verdicts and does not know how they are made.

mod context;
mod link;
mod login;
mod pass;
mod pose;
mod record;
mod relay;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;

pub use context::{Context, Counters, CountersSnapshot, Settings};

use crate::net::{Admitted, Stream};
use crate::pop3::authorization::{Authorization, Event};
use crate::pop3::line::Next;
use crate::pop3::reply;
use link::{Link, LinkEnd};
use login::Answer;
use pose::Posing;
use record::{End, Record};
use relay::Relaying;

/// What a session goes on with.
enum Stage {
    /// Nothing: it is over.
    Over(End),
    /// The host answers.
    Pose(Box<Posing>),
    /// A mail server answers.
    Relay(Box<Relaying>),
}

/// One connection of a client.
struct Session {
    context: Arc<Context>,
    link: Link,
    record: Box<Record>,
}

/// Serves one connection to its end.
pub async fn serve(
    context: Arc<Context>,
    stream: Stream,
    peer: SocketAddr,
    local: SocketAddr,
    admitted: Admitted,
) {
    let record = Box::new(Record::new(peer, local));
    let mut session = Session { context, link: Link::new(stream), record };
    let end = session.run().await;
    session.record.finish(&session.context, &session.link, end);
    drop(admitted);
}

impl Drop for Session {
    fn drop(&mut self) {
        // One that is cut off when the server's patience ends is told of too.
        self.record.finish(&self.context, &self.link, End::Link(LinkEnd::Drained));
    }
}

impl Session {
    async fn run(&mut self) -> End {
        match self.talk().await {
            Ok(end) => end,
            Err(end) => End::Link(end),
        }
    }

    /// One stage after the other, each with no more memory than it needs itself.
    async fn talk(&mut self) -> Result<End, LinkEnd> {
        let mut stage = Box::pin(self.authorize()).await?;
        loop {
            stage = match stage {
                Stage::Over(end) => return Ok(end),
                Stage::Pose(posing) => Box::pin(self.pose(posing)).await?,
                Stage::Relay(relaying) => Stage::Over(Box::pin(self.relay(*relaying)).await?),
            };
        }
    }

    /// From the banner to a login that leads on.
    async fn authorize(&mut self) -> Result<Stage, LinkEnd> {
        self.link.out.extend_from_slice(&self.context.settings.banner);
        self.link.flush(self.context.settings.login_timeout).await?;
        let mut authorization = Authorization::default();
        let deadline = tokio::time::Instant::now() + self.context.settings.login_timeout;
        let mut bad = 0;
        let mut failed = 0;
        loop {
            let event = match self.link.inbox.next_line(authorization.line_limit()) {
                Next::Line => authorization.line(
                    self.link.inbox.line(),
                    &self.context.settings.capabilities,
                    &mut self.link.out,
                ),
                Next::TooLong => authorization.too_long(&mut self.link.out),
                Next::Incomplete => {
                    self.link.flush_until(deadline).await?;
                    match self.link.fill_until(deadline, &self.context).await {
                        Ok(()) => continue,
                        Err(end) => return self.say_why(end).await.map(Stage::Over),
                    }
                }
            };
            match event {
                Event::Continue => {}
                Event::Bad => {
                    bad += 1;
                    if bad >= self.context.settings.max_bad_commands {
                        return self.part(reply::TOO_MANY_BAD, End::BadCommands).await.map(Stage::Over);
                    }
                }
                Event::Quit => return self.part(b"", End::Quit).await.map(Stage::Over),
                Event::Login(credentials) => {
                    // What was asked before is answered before, however long the login takes.
                    self.link.flush_until(deadline).await?;
                    match Box::pin(self.log_in(credentials)).await? {
                        Answer::Go(stage) => return Ok(stage),
                        Answer::TryAgain => {
                            failed += 1;
                            if failed >= self.context.settings.max_failed_logins {
                                return self
                                    .part(reply::TOO_MANY_FAILED, End::FailedLogins)
                                    .await
                                    .map(Stage::Over);
                            }
                        }
                    }
                }
            }
            self.link.flush_if_large(self.context.settings.login_timeout).await?;
        }
    }

    /// Says a last word, where there is one, and closes.
    async fn part(&mut self, word: &[u8], end: End) -> Result<End, LinkEnd> {
        self.link.out.extend_from_slice(word);
        self.link.flush(self.context.settings.login_timeout).await?;
        self.link.close().await;
        Ok(end)
    }

    /// A client that was silent for too long, or that is to go, is told so.
    async fn say_why(&mut self, end: LinkEnd) -> Result<End, LinkEnd> {
        match end {
            LinkEnd::Idle => self.part(reply::IDLE, End::Link(end)).await,
            LinkEnd::Drained => self.part(reply::SHUTTING_DOWN, End::Link(end)).await,
            LinkEnd::Closed | LinkEnd::Lost => Err(end),
        }
    }
}
