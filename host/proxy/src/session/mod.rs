//! The life of one connection: greeted, logged in, then posed or relayed. It carries out
//! verdicts and does not know how they are made.

mod context;
mod counters;
mod digest;
mod door;
mod kinds;
mod link;
mod login;
mod offers;
mod open;
mod pass;
mod patience;
mod pollers;
mod pose;
mod reasons;
mod record;
mod relay;
mod telling;
mod unrelieved;
#[cfg_attr(not(target_os = "linux"), path = "unseen_elsewhere.rs")]
mod unseen;
mod upgrade;

use std::pin::pin;
use std::sync::Arc;

pub use context::{Context, Settings};
pub use counters::{Counters, CountersSnapshot};
pub use door::Door;
pub use kinds::KindsSnapshot;
pub use offers::Offers;
pub use open::{Incoming, refuse, serve};
pub use pollers::{Poller, Pollers};
pub use telling::Telling;
pub use unrelieved::{Unrelievable, UnrelievedUsers};

use futures_util::TryFutureExt as _;

use crate::config::CleartextLogin;
use crate::net::Stream;
use crate::pool::{Caller, Connection, Reached};
use kinds::State;
use link::{Link, LinkEnd};
use login::Answer;
use offers::Means;
use patience::patience;
use pose::Posing;
use record::{End, Record};
use relay::Relaying;
use reprieve_pop3::authorization::{Authorization, Digest, Event};
use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::line::Next;
use reprieve_pop3::reply;

/// Logins of one connection that no mail server judged, before it is closed: they say nothing
/// about the password, so more than of failed ones may be tried.
const MOST_UNJUDGED: u32 = 20;

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
    door: Arc<Door>,
    /// What holds for it: since the connection at first, since the login later.
    context: Arc<Context>,
    link: Link,
    record: Box<Record>,
    /// What the client is promised.
    capabilities: Arc<Capabilities>,
    /// As which it is counted.
    state: State,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.counters.kinds.moved(Some(self.state), None);
        // One that is cut off when the server's patience ends is told of too.
        self.record.finish(&self.context, &self.link, End::Link(LinkEnd::Drained));
    }
}

impl Session {
    fn new(door: Arc<Door>, context: Arc<Context>, stream: Stream, record: Box<Record>) -> Self {
        let link = Link::new(stream, context.settings.stall_timeout);
        let capabilities = promises(&context, &record, false);
        let state = State::Login;
        Counters::count(&context.counters.begun);
        context.counters.kinds.moved(None, Some(state));
        Self { door, context, link, record, capabilities, state }
    }

    fn becomes(&mut self, state: State) {
        let before = std::mem::replace(&mut self.state, state);
        self.context.counters.kinds.moved(Some(before), Some(state));
    }

    /// One stage after the other, each with no more memory than it needs itself.
    async fn run(&mut self) -> End {
        let mut next = Box::pin(self.authorize()).await;
        loop {
            next = match next {
                Ok(Stage::Pose(posing)) => {
                    self.becomes(State::Posed);
                    Box::pin(self.pose(posing)).await
                }
                Ok(Stage::Relay(relaying)) => {
                    self.becomes(State::Relayed);
                    Box::pin(self.relay(relaying)).await.map(Stage::Over)
                }
                Ok(Stage::Over(end)) => return end,
                Err(end) => return End::Link(end),
            };
        }
    }

    /// From the banner to a login that leads on.
    async fn authorize(&mut self) -> Result<Stage, LinkEnd> {
        let mut challenger = self.greet().await?;
        let mut authorization = Authorization::new(self.context.settings.master_separator);
        let deadline = tokio::time::Instant::now() + self.context.settings.login_timeout;
        let context = self.context.clone();
        let mut patience = pin!(patience(deadline, &context.drain));
        let (mut bad, mut refused) = (0, 0);
        let (mut failed, mut unjudged) = (0, 0);
        loop {
            self.link.flush_if_large().await?;
            let limit = authorization.line_limit(self.link.inbox.rest());
            let event = match self.link.inbox.next_line(limit) {
                Next::Line => {
                    authorization.line(self.link.inbox.line(), &self.capabilities, &mut self.link.out)
                }
                Next::TooLong => authorization.too_long(self.link.inbox.line(), &mut self.link.out),
                Next::Incomplete => {
                    self.link.flush_until(patience.deadline()).await?;
                    match self.link.fill_until(patience.deadline(), patience.as_mut()).await {
                        Ok(()) => continue,
                        Err(end) => return Box::pin(self.say_why(end)).await.map(Stage::Over),
                    }
                }
            };
            let answer = match event {
                Event::Continue => None,
                Event::Bad | Event::Refused => {
                    refused += 1;
                    bad += u32::from(matches!(event, Event::Bad));
                    let settings = &self.context.settings;
                    if bad >= settings.max_bad_commands_before_login || refused >= settings.max_bad_commands {
                        return self.part(reply::TOO_MANY_BAD, End::BadCommands).await.map(Stage::Over);
                    }
                    None
                }
                Event::Http => return self.part(b"", End::Http).await.map(Stage::Over),
                Event::Unusable(login) => {
                    self.record.unusable(&login);
                    Some(Answer::TryAgain)
                }
                Event::Quit => return self.part(b"", End::Quit).await.map(Stage::Over),
                Event::StartTls => {
                    if !Box::pin(self.start_tls()).await? {
                        return Ok(Stage::Over(End::Handshake));
                    }
                    // Nothing that was said in cleartext counts any more (RFC 2595, section 4).
                    authorization = Authorization::new(self.context.settings.master_separator);
                    challenger = None;
                    None
                }
                Event::Login(credentials) => {
                    Some(Box::pin(self.log_in_after(credentials, patience.deadline())).await?)
                }
                Event::External(acting) => match self.certified(acting.as_deref()) {
                    Some(credentials) => {
                        Some(Box::pin(self.log_in_after(credentials, patience.deadline())).await?)
                    }
                    None => Some(Answer::TryAgain),
                },
                Event::Digest(digest) => {
                    let challenger = challenger.take();
                    Some(Box::pin(self.digest_after(digest, challenger, patience.deadline())).await?)
                }
            };
            match answer {
                Some(Answer::Go(stage)) => return Ok(stage),
                Some(Answer::TryAgain) => {
                    failed += 1;
                    if failed >= self.context.settings.max_failed_logins {
                        return self.part(reply::TOO_MANY_FAILED, End::FailedLogins).await.map(Stage::Over);
                    }
                }
                Some(Answer::Unjudged) => {
                    unjudged += 1;
                    if unjudged >= MOST_UNJUDGED {
                        let end = End::UnjudgedLogins;
                        return self.part(reply::TOO_MANY_UNJUDGED, end).await.map(Stage::Over);
                    }
                }
                None => {}
            }
        }
    }

    /// Logs in. What was asked before is answered before, however long that takes.
    async fn log_in_after(
        &mut self,
        credentials: Box<Credentials>,
        deadline: tokio::time::Instant,
    ) -> Result<Answer, LinkEnd> {
        self.link.flush_until(deadline).await?;
        self.log_in(credentials).await
    }

    async fn digest_after(
        &mut self,
        digest: Box<Digest>,
        challenger: Option<Box<Connection>>,
        deadline: tokio::time::Instant,
    ) -> Result<Answer, LinkEnd> {
        self.link.flush_until(deadline).await?;
        self.digest(*digest, challenger, deadline).await
    }

    /// Says the banner. With APOP a mail server's challenge stands in it: that one has to be
    /// asked before, and waits for the answer.
    async fn greet(&mut self) -> Result<Option<Box<Connection>>, LinkEnd> {
        let settings = self.context.settings.clone();
        let mut challenger = None;
        self.link.out.extend_from_slice(&settings.banner);
        if settings.apop {
            let pool = self.context.pool.clone();
            if let Reached::Node(connection, greeting) =
                Box::pin(pool.reach(None, self.record.caller())).await
                && let Some(timestamp) = greeting.timestamp
            {
                self.link.out.push(b' ');
                self.link.out.extend_from_slice(&timestamp);
                self.capabilities = promises(&self.context, &self.record, true);
                challenger = Some(Box::new(connection));
            }
        }
        self.link.out.extend_from_slice(b"\r\n");
        self.link.flush_until(tokio::time::Instant::now() + settings.login_timeout).await?;
        Ok(challenger)
    }

    /// The handshake after STLS. False where the client does not shake hands.
    async fn start_tls(&mut self) -> Result<bool, LinkEnd> {
        let Some(tls) = self.context.settings.tls.clone() else { return Ok(false) };
        self.link.flush_until(tokio::time::Instant::now() + tls.handshake_timeout()).await?;
        // What came before the handshake must not be taken for a command inside it.
        self.link.inbox.discard();
        let Stream::Plain(stream) = std::mem::take(&mut self.link.stream) else { return Ok(false) };
        match tls.accept(stream).await {
            Ok((stream, session)) => {
                open::shook_hands(&self.context, &stream);
                self.link.stream = stream;
                self.record.tls = Some(Box::new(session));
                self.capabilities = promises(&self.context, &self.record, false);
                Ok(true)
            }
            Err(error) => {
                open::handshake_failed(&self.context, &self.record, &error);
                Ok(false)
            }
        }
    }

    /// A login as whom the client's certificate names; without one, the client is told why.
    /// `acting`: whom it says that it is.
    fn certified(&mut self, acting: Option<&[u8]>) -> Option<Box<Credentials>> {
        match self.certified_credentials(acting) {
            Ok(credentials) => Some(Box::new(credentials)),
            Err(word) => {
                self.link.out.extend_from_slice(word);
                None
            }
        }
    }

    fn certified_credentials(&self, acting: Option<&[u8]>) -> Result<Credentials, &'static [u8]> {
        let certificate = self.record.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let Some((certificate, user)) = certificate.and_then(|c| Some((c, c.user.as_ref()?))) else {
            return Err(reply::NO_CERTIFICATE);
        };
        if acting.is_some_and(|acting| acting != user.as_bytes()) {
            return Err(reply::NOT_CERTIFIED);
        }
        // The handshake has proved that the client has the key: the certificate stands for it.
        let proof = match &certificate.fingerprint {
            Some(fingerprint) => Secret::new(fingerprint),
            None => Secret::new(certificate.subject.as_bytes()),
        };
        let credentials = Credentials::new(user.as_bytes(), proof, Mechanism::External);
        credentials.check_user().map_err(|_| reply::NO_CERTIFICATE)?;
        Ok(credentials)
    }

    /// Says a last word, where there is one, and closes.
    fn part(&mut self, word: &[u8], end: End) -> impl Future<Output = Result<End, LinkEnd>> {
        self.link.out.extend_from_slice(word);
        self.link.finish().map_ok(move |()| end)
    }

    /// A client that was silent for too long, or that is to go, is told so.
    async fn say_why(&mut self, end: LinkEnd) -> Result<End, LinkEnd> {
        match end {
            LinkEnd::Idle => self.part(reply::IDLE, End::Link(end)).await,
            LinkEnd::Drained => self.part(reply::SHUTTING_DOWN, End::Link(end)).await,
            LinkEnd::Closed | LinkEnd::Lost | LinkEnd::Stalled => Err(end),
        }
    }
}

/// What a connection is promised, as it is now.
fn promises(context: &Context, record: &Record, has_timestamp: bool) -> Arc<Capabilities> {
    let settings = &context.settings;
    let encrypted = record.tls.is_some();
    let may_show_secrets = encrypted
        || match settings.cleartext_login {
            CleartextLogin::Allow => true,
            CleartextLogin::Deny => false,
            CleartextLogin::Loopback => record.peer.ip().to_canonical().is_loopback(),
        };
    let certificate = record.tls.as_ref().and_then(|tls| tls.client.as_ref());
    let means = Means {
        may_show_secrets,
        stls: !encrypted && settings.tls.as_ref().is_some_and(|tls| tls.has_stls()),
        has_certificate: certificate.is_some_and(|certificate| certificate.user.is_some()),
        has_timestamp,
    };
    settings.offers.find(context.pool.learned(), means)
}

impl Record {
    /// For whom nodes are connected to.
    fn caller(&self) -> Caller<'_> {
        Caller { peer: self.peer, local: self.local, tls: self.tls.as_deref(), session: self.id.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<'s, F>(_stage: impl FnOnce(&'s mut Session) -> F) -> usize {
        size_of::<F>()
    }

    fn login_size<'s, F>(_stage: impl FnOnce(&'s mut Session, Box<Credentials>) -> F) -> usize {
        size_of::<F>()
    }

    fn posed_size<'s, F>(_stage: impl FnOnce(&'s mut Session, Box<Posing>) -> F) -> usize {
        size_of::<F>()
    }

    fn relayed_size<'s, F>(_stage: impl FnOnce(&'s mut Session, Box<Relaying>) -> F) -> usize {
        size_of::<F>()
    }

    fn task_size<F>(_task: impl FnOnce(Arc<Door>, Incoming, Arc<()>) -> F) -> usize {
        size_of::<F>()
    }

    /// Most of what a connection takes. Who needs more for something that happens once puts it
    /// into a box for that time.
    #[test]
    fn a_session_that_waits_is_small() {
        // With the runtime's own 104 it is to fit 384, which is a multiple of its alignment.
        let (task, record) = (task_size(serve), size_of::<Record>());
        assert!(task <= 280, "a session's task has {task} octets");
        assert!(record <= 256, "what is kept for its line has {record}");
        let stage = size(Session::authorize);
        assert!(stage <= 384, "its wait for a login has {stage}");
        let login = login_size(Session::log_in);
        assert!(login <= 1440, "a login has {login}");
        let posed = posed_size(Session::pose);
        assert!(posed <= 328, "a posed one has {posed}");
        let relayed = relayed_size(Session::relay);
        assert!(relayed <= 768, "a relayed one has {relayed}");
    }
}
