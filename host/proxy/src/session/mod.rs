//! The life of one connection: greeted, logged in, then posed or relayed. Sessions carry out
//! verdicts and do not know how the policy makes them.

mod accept;
mod all_pools;
mod attempt_limits;
mod capabilities;
mod challenge_response;
mod client_io;
mod context;
mod context_handle;
mod counters;
mod deadline;
mod labeled_counters;
mod login;
mod pass;
mod pose;
mod reason_labels;
mod relay;
mod session_record;
mod sinks;
#[cfg_attr(not(target_os = "linux"), path = "splice_portable.rs")]
mod splice;
mod top_pollers;
mod unrelieved;
mod upgrade;

use std::pin::pin;
use std::sync::Arc;

/// The same, or the native policy of a simulation.
#[cfg(test)]
pub(crate) use crate::simulation::Evaluator;
pub(crate) use accept::{Incoming, refuse, serve};
pub(crate) use all_pools::AllPools;
pub(crate) use capabilities::OfferedCapabilities;
pub(crate) use context::{Context, Settings};
pub(crate) use context_handle::ContextHandle;
pub(crate) use counters::Counters;
pub use counters::CountersSnapshot;
pub(crate) use labeled_counters::LabeledSnapshot;
/// Evaluates the policy of a virtual server on one thread.
#[cfg(not(test))]
pub(crate) use reprieve_policy_host::Evaluator;
pub(crate) use sinks::Sinks;
pub(crate) use top_pollers::{Poller, Pollers};
pub(crate) use unrelieved::{Unrelievable, UnrelievedUsers};

use futures_util::TryFutureExt as _;

use crate::config::CleartextLogin;
use crate::net::Stream;
use crate::pool::{ClientInfo, ConnectOutcome, Connection};
use attempt_limits::AttemptLimits;
use capabilities::OfferConditions;
use client_io::{ClientIo, Disconnect};
use deadline::deadline_or_drain;
use labeled_counters::State;
use login::Answer;
use pose::Posing;
use relay::Relaying;
use reprieve_pop3::authorization::{Authorization, AuthorizationEvent, ChallengeResponse};
use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::line::NextLine;
use reprieve_pop3::reply;
use session_record::{SessionEnd, SessionRecord};

/// The next stage of a session.
enum Stage {
    /// None: the session has ended.
    Over(SessionEnd),
    /// Reprieve answers in the mail server's place.
    Pose(Box<Posing>),
    /// A mail server answers.
    Relay(Box<Relaying>),
}

/// One connection of a client.
struct Session {
    context_handle: Arc<ContextHandle>,
    /// The configuration in force: as of the connection at first, as of the latest login later.
    context: Arc<Context>,
    client: ClientIo,
    record: Box<SessionRecord>,
    /// What CAPA and AUTH answer.
    capabilities: Arc<Capabilities>,
    /// The state in which `reprieve_sessions_open` counts it.
    state: State,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.counters.labeled.moved(Some(self.state), None);
        // Sessions that are cut off at the end of a drain are recorded too.
        self.record.finish(&self.context, &self.client, SessionEnd::Drained);
    }
}

impl Session {
    fn new(
        context_handle: Arc<ContextHandle>,
        context: Arc<Context>,
        stream: Stream,
        record: Box<SessionRecord>,
    ) -> Self {
        let client = ClientIo::new(stream, context.settings.stall_timeout);
        let capabilities = offered_capabilities(&context, &record, false);
        let state = State::Login;
        Counters::count(&context.counters.begun);
        context.counters.labeled.moved(None, Some(state));
        Self { context_handle, context, client, record, capabilities, state }
    }

    fn becomes(&mut self, state: State) {
        let before = std::mem::replace(&mut self.state, state);
        self.context.counters.labeled.moved(Some(before), Some(state));
    }

    /// Runs the stages one after the other. Each is boxed, so that it takes memory only while it
    /// runs.
    async fn run(&mut self) -> SessionEnd {
        let mut next = match Box::pin(self.authorize_unless_shed()).await {
            Some(next) => next,
            None => return self.shed(),
        };
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
                Err(end) => return end.into(),
            };
        }
    }

    /// As [`Session::authorize`]. None if the connection must end, because another one needs its place.
    async fn authorize_unless_shed(&mut self) -> Option<Result<Stage, Disconnect>> {
        let next = match self.record.place() {
            Some(place) => place.unless_shed(pin!(self.authorize())).await?,
            None => self.authorize().await,
        };
        self.record.logged_in().then_some(next)
    }

    /// Says why the connection ends, if that needs no waiting.
    fn shed(&mut self) -> SessionEnd {
        Counters::count(&self.context.counters.shed);
        if let Stream::Plain(stream) = &self.client.stream {
            let _ = stream.try_write(reply::TOO_MANY_CONNECTIONS);
        }
        SessionEnd::Shed
    }

    /// Greets the client and answers its commands until a login leads to the next stage.
    async fn authorize(&mut self) -> Result<Stage, Disconnect> {
        let mut challenger = self.greet().await?;
        let mut authorization = Authorization::new(self.context.settings.master_separator);
        let deadline = crate::time::Instant::now() + self.context.settings.login_timeout;
        let context = self.context.clone();
        let mut wait_limit = pin!(deadline_or_drain(deadline, &context.drain));
        let mut limits = AttemptLimits::default();
        loop {
            self.client.flush_if_large().await?;
            let limit = authorization.line_limit(self.client.inbox.rest());
            let event = match self.client.inbox.next_line(limit) {
                NextLine::Line => {
                    authorization.line(self.client.inbox.line(), &self.capabilities, &mut self.client.out)
                }
                NextLine::TooLong => authorization.too_long(self.client.inbox.line(), &mut self.client.out),
                NextLine::Incomplete => {
                    self.client.flush_until(wait_limit.deadline()).await?;
                    match self.client.fill_until(wait_limit.deadline(), wait_limit.as_mut()).await {
                        Ok(()) => continue,
                        Err(end) => return Box::pin(self.notify_and_close(end)).await.map(Stage::Over),
                    }
                }
            };
            let answer = match event {
                AuthorizationEvent::Continue => None,
                AuthorizationEvent::Bad | AuthorizationEvent::Refused => {
                    let is_unknown = matches!(event, AuthorizationEvent::Bad);
                    if let Some((line, end)) = limits.command(is_unknown, &self.context.settings) {
                        return self.close_with(line, end).await.map(Stage::Over);
                    }
                    None
                }
                AuthorizationEvent::Http => {
                    return self.close_with(b"", SessionEnd::Http).await.map(Stage::Over);
                }
                AuthorizationEvent::Unusable(login) => {
                    self.record.unusable(&login);
                    Some(Answer::TryAgain)
                }
                AuthorizationEvent::Quit => {
                    return self.close_with(b"", SessionEnd::Quit).await.map(Stage::Over);
                }
                AuthorizationEvent::StartTls => {
                    if !Box::pin(self.start_tls()).await? {
                        return Ok(Stage::Over(SessionEnd::NoHandshake));
                    }
                    // Everything known from before the handshake is discarded (RFC 2595, section 4).
                    authorization = Authorization::new(self.context.settings.master_separator);
                    challenger = None;
                    None
                }
                AuthorizationEvent::Login(credentials) => {
                    Some(Box::pin(self.log_in_after(credentials, wait_limit.deadline())).await?)
                }
                AuthorizationEvent::External(acting) => match self.certified(acting.as_deref()) {
                    Some(credentials) => {
                        Some(Box::pin(self.log_in_after(credentials, wait_limit.deadline())).await?)
                    }
                    None => Some(Answer::TryAgain),
                },
                AuthorizationEvent::ChallengeResponse(login) => {
                    let challenger = challenger.take();
                    Some(Box::pin(self.digest_after(login, challenger, wait_limit.deadline())).await?)
                }
            };
            match answer {
                Some(Answer::Go(stage)) => return Ok(stage),
                Some(answer) => {
                    let is_judged = matches!(answer, Answer::TryAgain);
                    if let Some((line, end)) = limits.login(is_judged, &self.context.settings) {
                        return self.close_with(line, end).await.map(Stage::Over);
                    }
                }
                None => {}
            }
        }
    }

    /// Logs in, after the replies to earlier commands have been written.
    async fn log_in_after(
        &mut self,
        credentials: Box<Credentials>,
        deadline: crate::time::Instant,
    ) -> Result<Answer, Disconnect> {
        self.client.flush_until(deadline).await?;
        self.begin_login(true);
        let answer = self.log_in(credentials).await;
        self.begin_login(false);
        answer
    }

    /// A login begins, or has ended.
    fn begin_login(&self, begins: bool) {
        if let Some(place) = self.record.place() {
            place.set_logs_in(begins);
        }
    }

    async fn digest_after(
        &mut self,
        digest: Box<ChallengeResponse>,
        challenger: Option<Box<Connection>>,
        deadline: crate::time::Instant,
    ) -> Result<Answer, Disconnect> {
        self.client.flush_until(deadline).await?;
        self.begin_login(true);
        let answer = self.digest(*digest, challenger, deadline).await;
        self.begin_login(false);
        answer
    }

    /// Sends the greeting. With APOP the greeting contains a mail server's challenge: returns the
    /// connection to that mail server, which must judge the response.
    async fn greet(&mut self) -> Result<Option<Box<Connection>>, Disconnect> {
        let settings = self.context.settings.clone();
        let mut challenger = None;
        self.client.out.extend_from_slice(&settings.banner);
        if settings.apop {
            let pool = self.context.pool.clone();
            if let ConnectOutcome::Connected(connection, greeting) =
                Box::pin(pool.connect_any(None, self.record.client_info())).await
                && let Some(timestamp) = greeting.timestamp
            {
                self.client.out.push(b' ');
                self.client.out.extend_from_slice(&timestamp);
                self.capabilities = offered_capabilities(&self.context, &self.record, true);
                challenger = Some(Box::new(connection));
            }
        }
        self.client.out.extend_from_slice(b"\r\n");
        self.client.flush_until(crate::time::Instant::now() + settings.login_timeout).await?;
        Ok(challenger)
    }

    /// The TLS handshake after STLS. False if it fails.
    async fn start_tls(&mut self) -> Result<bool, Disconnect> {
        let Some(tls) = self.context.settings.tls.clone() else { return Ok(false) };
        self.client.flush_until(crate::time::Instant::now() + tls.handshake_timeout()).await?;
        // What was sent before the handshake must not be taken for a command inside TLS.
        self.client.inbox.discard();
        let Stream::Plain(stream) = std::mem::take(&mut self.client.stream) else { return Ok(false) };
        match tls.accept(stream).await {
            Ok((stream, session)) => {
                accept::shook_hands(&self.context, &stream);
                self.client.stream = stream;
                self.record.tls = Some(Box::new(session));
                self.capabilities = offered_capabilities(&self.context, &self.record, false);
                Ok(true)
            }
            Err(error) => {
                accept::handshake_failed(&self.context, &self.record, &error);
                Ok(false)
            }
        }
    }

    /// The login of the user that the client's certificate names, or an error reply to the client.
    /// `acting`: the authorization id that the client gives.
    fn certified(&mut self, acting: Option<&[u8]>) -> Option<Box<Credentials>> {
        match self.certified_credentials(acting) {
            Ok(credentials) => Some(Box::new(credentials)),
            Err(word) => {
                self.client.out.extend_from_slice(word);
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
        // The handshake has proved that the client has the private key, so the certificate is the
        // secret.
        let proof = match &certificate.fingerprint {
            Some(fingerprint) => Secret::new(fingerprint),
            None => Secret::new(certificate.subject.as_bytes()),
        };
        let credentials = Credentials::new(user.as_bytes(), proof, Mechanism::External);
        credentials.check_user().map_err(|_| reply::NO_CERTIFICATE)?;
        Ok(credentials)
    }

    /// Sends a last line, which may be empty, and closes the connection.
    fn close_with(
        &mut self,
        word: &[u8],
        end: SessionEnd,
    ) -> impl Future<Output = Result<SessionEnd, Disconnect>> {
        self.client.out.extend_from_slice(word);
        self.client.finish().map_ok(move |()| end)
    }

    /// Closes the connection, after telling the client if it was idle or the server shuts down.
    async fn notify_and_close(&mut self, end: Disconnect) -> Result<SessionEnd, Disconnect> {
        match end {
            Disconnect::Idle => self.close_with(reply::IDLE, SessionEnd::Idle).await,
            Disconnect::Drained => self.close_with(reply::SHUTTING_DOWN, SessionEnd::Drained).await,
            Disconnect::Closed | Disconnect::Lost | Disconnect::Stalled => Err(end),
        }
    }
}

/// The capabilities that the connection is offered in its current state.
fn offered_capabilities(context: &Context, record: &SessionRecord, has_timestamp: bool) -> Arc<Capabilities> {
    let settings = &context.settings;
    let encrypted = record.tls.is_some();
    let may_show_secrets = encrypted
        || match settings.cleartext_login {
            CleartextLogin::Allow => true,
            CleartextLogin::Deny => false,
            CleartextLogin::Loopback => record.peer.ip().to_canonical().is_loopback(),
        };
    let certificate = record.tls.as_ref().and_then(|tls| tls.client.as_ref());
    let conditions = OfferConditions {
        may_show_secrets,
        stls: !encrypted && settings.tls.as_ref().is_some_and(|tls| tls.has_stls()),
        has_certificate: certificate.is_some_and(|certificate| certificate.user.is_some()),
        has_timestamp,
    };
    settings.offers.find(context.pool.common_capabilities(), conditions)
}

impl SessionRecord {
    /// The client on whose behalf nodes are connected to.
    fn client_info(&self) -> ClientInfo<'_> {
        ClientInfo { peer: self.peer, local: self.local, tls: self.tls.as_deref(), session: self.id.as_str() }
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

    fn task_size<F>(_task: impl FnOnce(Arc<ContextHandle>, Incoming, Arc<()>) -> F) -> usize {
        size_of::<F>()
    }

    /// The task is most of what a connection takes. What needs more memory for something that happens
    /// once is boxed for that time.
    #[test]
    fn an_idle_session_is_small() {
        // With the runtime's own 104 bytes it should fit into 384, a multiple of its alignment.
        let (task, record) = (task_size(serve), size_of::<SessionRecord>());
        assert!(task <= 280, "a session's task has {task} bytes");
        assert!(record <= 256, "what is kept for its line has {record}");
        let stage = size(Session::authorize_unless_shed);
        assert!(stage <= 400, "its wait for a login has {stage}");
        let login = login_size(Session::log_in);
        assert!(login <= 1440, "a login has {login}");
        let posed = posed_size(Session::pose);
        assert!(posed <= 328, "a posed one has {posed}");
        let relayed = relayed_size(Session::relay);
        assert!(relayed <= 768, "a relayed one has {relayed}");
    }
}
