//! A passed login: logs in to a node, reports the outcome to the policy, then relays.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::client_io::Disconnect;
use super::counters::Counters;
use super::login::{Answer, Candidate};
use super::pose::Pose;
use super::relay::{MaildropAccess, Opened, Relaying};
use super::session_record::SessionEnd;
use super::{Session, Stage};
use crate::maildrop::{Learned, Opening, Route, UserKey};
use crate::net::Place;
use crate::new_mail::Missed;
use crate::pool::LoginOutcome;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_policy_host::{
    Action, Because, Cause, Disposition, Ending, Login, Manner, Outcome, Pass, SessionSummary,
    dispose_unreachable,
};
use reprieve_pop3::credential::Credentials;
use reprieve_pop3::relay::{Relay, RelayTotals};
use reprieve_pop3::reply;

/// Bytes that a client may send before its login is answered; beyond them Reprieve stops reading.
const AHEAD: u64 = 4096;

/// Completes when the connection must end, because another one needs its place. The session's task is
/// woken up for that.
async fn shed(place: Option<&Place>) {
    poll_fn(|_| if place.is_some_and(Place::is_shed) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// A login that goes to a mail server.
pub(super) struct Attempt {
    pub(super) login: Arc<Login>,
    /// Why it goes there.
    pub(super) cause: Cause,
    /// When the verdict was made, or the upgrade began.
    pub(super) began: Instant,
    /// The note of the verdict.
    pub(super) note: Option<String>,
}

impl Session {
    pub(super) async fn pass(
        &mut self,
        mut candidate: Candidate,
        cause: Cause,
        verdict: Pass,
    ) -> Result<Answer, Disconnect> {
        self.context.registry.reserve(&mut candidate.fetched, candidate.key).await;
        let began = Instant::now();
        let route = (verdict.pool.is_some() || verdict.user.is_some())
            .then(|| Arc::new(Route { pool: verdict.pool, user: verdict.user }));
        let Some(end) = self.at_server(&candidate.credentials, route.as_deref()).await else {
            let attempt = Attempt { login: candidate.login, cause, began, note: verdict.note };
            #[cfg(test)]
            if planted(Fault::AbandonedNotCounted) {
                return Err(Disconnect::Closed);
            }
            self.settle(attempt, Ending::Abandoned, None, None).await;
            return Err(Disconnect::Closed);
        };
        self.conclude(end, candidate, route, (cause, began, verdict.note)).await
    }

    /// Acts on the result of a login at the mail server. `began`: when the verdict was made.
    pub(super) async fn conclude(
        &mut self,
        end: LoginOutcome,
        candidate: Candidate,
        route: Option<Arc<Route>>,
        (cause, began, note): (Cause, Instant, Option<String>),
    ) -> Result<Answer, Disconnect> {
        let attempt = Attempt { login: candidate.login.clone(), cause, began, note };
        match end {
            LoginOutcome::Accepted { connection, reply } => {
                let node = Some(connection.node_name().clone());
                self.settle(attempt, Ending::Authenticated, node, None).await;
                self.client.out.extend_from_slice(&reply);
                if connection.capabilities_updated() {
                    self.capabilities = super::offered_capabilities(&self.context, &self.record, false);
                }
                let relay = Relay::direct().with_pipelining(connection.may_pipeline());
                let reported = self.reported(&candidate.login);
                let Candidate { key: user, tag, mut fetched, credentials, .. } = candidate;
                let accepted_ms = self.context.clock.now_ms();
                let learned = self.learn_mailbox(&credentials, user, route.as_deref()).await;
                if learned == Some(Learned::Unavailable) {
                    // Signals do not find the user, so the next login has to pass.
                    fetched.leave_no_snapshot();
                }
                let expects_signals = learned.is_some();
                let open = self.opened(user, route.as_deref());
                let opening = Opening { user, tag, route, accepted_ms, fetched, expects_signals };
                #[cfg(test)]
                if planted(Fault::BeginAtOk) {
                    let session = self.context.registry.begin(opening).wait().await;
                    let access = MaildropAccess::Begun(Box::new(session));
                    let relaying = Relaying { connection, relay, access, open, reported, first: None };
                    return Ok(Answer::Go(Stage::Relay(Box::new(relaying))));
                }
                let access = MaildropAccess::Opening(Box::new(opening));
                let relaying = Relaying { connection, relay, access, open, reported, first: None };
                Ok(Answer::Go(Stage::Relay(Box::new(relaying))))
            }
            LoginOutcome::Rejected(rejection) => {
                if rejection.rejects_password() {
                    self.judged_wrong(&candidate).await;
                }
                let node = Some(rejection.node.clone());
                self.settle(attempt, Ending::Rejected, node, rejection.response_code()).await;
                if let Some(challenge) = &rejection.challenge {
                    self.show_challenge(challenge).await?;
                }
                self.client.out.extend_from_slice(&rejection.reply);
                Ok(Answer::TryAgain)
            }
            LoginOutcome::Impossible => {
                self.settle(attempt, Ending::Rejected, None, None).await;
                self.client.out.extend_from_slice(reply::NOT_ROUTABLE);
                Ok(Answer::TryAgain)
            }
            end @ (LoginOutcome::Unreachable { .. } | LoginOutcome::Full) => {
                let (node, word) = match end {
                    #[cfg(test)]
                    LoginOutcome::Unreachable { node } if planted(Fault::UnreachableIsWrongPassword) => {
                        (node, &b"-ERR [AUTH] Authentication failed.\r\n"[..])
                    }
                    LoginOutcome::Unreachable { node } => (node, reply::UNREACHABLE),
                    _ => {
                        Counters::count(&self.context.counters.pool_full);
                        (None, reply::POOL_FULL)
                    }
                };
                self.settle(attempt, Ending::Unreachable, node, None).await;
                if let Some(pose) = self.pose_unreachable(&candidate) {
                    self.record.dispose(Disposition::instead(Action::Posed, Because::Unreachable));
                    return Ok(self.accept_posed(pose, candidate, None));
                }
                self.client.out.extend_from_slice(word);
                self.client.flush().await?;
                Ok(Answer::Unjudged)
            }
        }
    }

    /// Records that the mail server has rejected the secret.
    pub(super) async fn judged_wrong(&self, candidate: &Candidate) {
        let Candidate { key, tag, fetched, .. } = candidate;
        let most = self.context.settings.max_rejected_logins;
        self.context.registry.reject(fetched, *key, tag.as_ref(), most).await;
    }

    /// What a user in good standing is shown while no node can be reached.
    fn pose_unreachable(&self, candidate: &Candidate) -> Option<Pose> {
        let snapshot = self.unchanged(candidate).ok();
        let freshness = snapshot.as_ref().map(|left| self.freshness(left));
        let facts = candidate.facts(None, freshness);
        let manner = dispose_unreachable(facts, self.context.settings.on_unreachable)?;
        Some(match (manner, snapshot) {
            (Manner::Unchanged, Some(left)) => Pose::Maildrop(left),
            _ => Pose::Busy,
        })
    }

    /// Logs in to a node. None if the client disconnects meanwhile, or the connection is shed.
    pub(super) async fn at_server(
        &mut self,
        credentials: &Credentials,
        route: Option<&Route>,
    ) -> Option<LoginOutcome> {
        let pool = self.context.pool_of(route).clone();
        let user = route.and_then(|route| route.user.as_ref()).map(String::as_bytes);
        self.record.asked_server = true;
        let mut login = std::pin::pin!(pool.log_in(credentials, user, self.record.client_info()));
        let most = self.client.bytes_in + AHEAD;
        let place = self.record.place();
        loop {
            if self.client.bytes_in >= most {
                return Some(login.await);
            }
            tokio::select! {
                biased;
                () = shed(place.as_deref()) => return None,
                end = &mut login => return Some(end),
                filled = self.client.fill() => match filled {
                    Ok(()) => {}
                    // A client that has sent its commands may close its sending side.
                    Err(Disconnect::Closed) if self.client.inbox.has_rest() => return Some(login.await),
                    Err(_) => return None,
                },
            }
        }
    }

    /// Forwards the mail server's error about a token, and reads the response that the client must
    /// send (RFC 7628, section 3.2.3).
    async fn show_challenge(&mut self, challenge: &[u8]) -> Result<(), Disconnect> {
        for part in [&b"+ "[..], challenge, b"\r\n"] {
            self.client.out.extend_from_slice(part);
        }
        let deadline = crate::time::Instant::now() + self.context.settings.login_timeout;
        self.continuation(deadline).await.map(|_| ())
    }

    /// Counts and records how a login ended at the mail server.
    pub(super) fn record_outcome(&mut self, ending: Ending, node: Option<Arc<str>>) {
        Counters::count(self.context.counters.outcome(ending));
        self.record.outcome = Some(ending);
        self.record.node = node;
    }

    /// Counts and records how a login ended at the mail server, and tells the policy, before the
    /// client gets the answer. `response_code`: of a rejection.
    pub(super) async fn settle(
        &mut self,
        attempt: Attempt,
        ending: Ending,
        node: Option<Arc<str>>,
        response_code: Option<Box<str>>,
    ) {
        self.record_outcome(ending, node.clone());
        let Attempt { login, cause, began, note } = attempt;
        let outcome = Arc::new(Outcome {
            login,
            cause,
            time: self.moment(),
            node,
            latency_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            ending,
            response_code,
            note,
        });
        if cause != Cause::Upgrade {
            self.record.ending(&outcome, began);
        }
        if let Some(shadow) = &self.context.shadow {
            shadow.outcome(&outcome);
        }
        if let Err(failure) = Box::pin(self.context.evaluator.observe(&outcome)).await {
            self.policy_failed(&failure);
        }
    }

    /// Counts a relayed session of a user.
    pub(super) fn opened(&self, user: UserKey, route: Option<&Route>) -> Box<Opened> {
        let signals = self.context.pool_of(route).signals().clone();
        Box::new(Opened { _session: self.context.registry.open_session(user), signals })
    }

    /// Notes under which name the mail server has the mailbox, so that signals of new mail find the user.
    /// None if no signals are to be expected.
    async fn learn_mailbox(
        &self,
        credentials: &Credentials,
        user: UserKey,
        route: Option<&Route>,
    ) -> Option<Learned> {
        let context = &self.context;
        let pool = context.pool_of(route);
        if !pool.signals().has_source() {
            return None;
        }
        #[cfg(test)]
        if planted(Fault::NameNotLearned) {
            return Some(Learned::Known);
        }
        if route.is_none() && credentials.authorization_id.is_none() {
            return Some(Learned::Known);
        }
        let renamed = route.and_then(|route| route.user.as_deref()).map(str::as_bytes);
        let name = credentials.authorization_id.as_deref().or(renamed).unwrap_or(&credentials.user);
        let name = context.settings.name_spelling.canonical(name);
        let mailbox = context.tagger.mailbox(pool.name(), &name);
        let now_ms = context.clock.now_ms();
        let learned = context.registry.learn(mailbox, user, now_ms).await;
        if learned == Learned::Full {
            pool.signals().missed(Missed::Overflow, now_ms);
        }
        Some(learned)
    }

    /// The login of a session whose end the policy, or the shadow policy, wants to know.
    pub(super) fn reported(&self, login: &Arc<Login>) -> Option<Arc<Login>> {
        let context = &self.context;
        let is_wanted = context.evaluator.wants_sessions()
            || context.shadow.as_ref().is_some_and(|shadow| shadow.wants_sessions());
        is_wanted.then(|| login.clone())
    }

    /// Tells the policy in force, and its shadow, how a relayed session has ended.
    pub(super) async fn report_end(&mut self, login: Arc<Login>, totals: RelayTotals) {
        let context = self.context_handle.context();
        let time = self.moment();
        let summary = SessionSummary {
            time,
            upgrade: self.record.upgraded,
            quit: totals.quit,
            duration: Duration::from_millis(time.unix_ms.saturating_sub(login.time.unix_ms)),
            fetched: totals.fetched,
            deleted: totals.deleted,
            sent_bytes: self.client.bytes_out,
            login,
        };
        if let Err(failure) = context.evaluator.ended(&summary).await {
            self.policy_failed(&failure);
        }
        if let Some(shadow) = &context.shadow {
            shadow.ended(summary);
        }
    }

    /// Ends a session whose mail server connection was lost.
    pub(super) async fn lost_server(&mut self) -> Result<SessionEnd, Disconnect> {
        self.client.finish().await?;
        Ok(SessionEnd::ServerLost)
    }
}
