//! A passed login: through to a node, the outcome to the policy, then the relay.

use std::sync::Arc;
use std::time::Instant;

use super::counters::Counters;
use super::link::LinkEnd;
use super::login::{Answer, Candidate};
use super::pose::Pose;
use super::record::End;
use super::relay::{Access, Relaying};
use super::{Session, Stage};
use crate::config::OnUnreachable;
use crate::decision_log::Became;
use crate::maildrop::{Opening, Route};
use crate::pool::{LoginEnd, Pool};
use reprieve_policy_host::{Ending, Login, Outcome, Pass};
use reprieve_pop3::credential::Credentials;
use reprieve_pop3::relay::Relay;
use reprieve_pop3::reply;

/// Octets that a client may send while its login is under way, before no more are read.
const AHEAD: u64 = 4096;

impl Session {
    pub(super) async fn pass(
        &mut self,
        mut candidate: Candidate,
        login: Login,
        verdict: Pass,
    ) -> Result<Answer, LinkEnd> {
        self.context.registry.reserve(&mut candidate.seen, candidate.key).await;
        let began = Instant::now();
        let route = (verdict.pool.is_some() || verdict.user.is_some())
            .then(|| Arc::new(Route { pool: verdict.pool, user: verdict.user }));
        let Some(end) = self.at_server(&candidate.credentials, route.as_deref()).await else {
            Counters::count(&self.context.counters.abandoned);
            self.record.outcome = "abandoned";
            self.observe(login, None, Ending::Abandoned, began, verdict.note).await;
            return Err(LinkEnd::Closed);
        };
        self.conclude(end, candidate, login, route, began, verdict.note).await
    }

    /// Carries out what a login at the mail server came to. `began`: when the verdict was
    /// there.
    pub(super) async fn conclude(
        &mut self,
        end: LoginEnd,
        candidate: Candidate,
        login: Login,
        route: Option<Arc<Route>>,
        began: Instant,
        note: Option<String>,
    ) -> Result<Answer, LinkEnd> {
        let counters = self.context.counters.clone();
        match end {
            LoginEnd::Accepted { connection, reply } => {
                Counters::count(&counters.authenticated);
                self.record.outcome = "authenticated";
                self.record.node = Some(connection.node().clone());
                let node = Some(connection.node().clone());
                self.observe(login, node, Ending::Authenticated, began, note).await;
                self.link.out.extend_from_slice(&reply);
                if connection.told_more() {
                    self.capabilities = super::promises(&self.context, &self.record, false);
                }
                let relay = Relay::direct().one_by_one(!connection.takes_pipelines());
                let Candidate { key: user, tag, seen, .. } = candidate;
                let accepted_ms = self.context.clock.now_ms();
                let opening = Opening { user, tag, route, accepted_ms, seen };
                let access = Access::Opening(Box::new(opening));
                let relaying = Relaying { connection, relay, access, first: None };
                Ok(Answer::Go(Stage::Relay(Box::new(relaying))))
            }
            LoginEnd::Rejected(rejection) => {
                Counters::count(&counters.rejected);
                self.record.outcome = "rejected";
                self.record.node = Some(rejection.node.clone());
                if rejection.is_judgement() {
                    self.judged_wrong(&candidate).await;
                }
                let node = Some(rejection.node.clone());
                self.observe(login, node, Ending::Rejected, began, note).await;
                if let Some(challenge) = &rejection.challenge {
                    self.show_challenge(challenge).await?;
                }
                self.link.out.extend_from_slice(&rejection.reply);
                Ok(Answer::TryAgain)
            }
            LoginEnd::Impossible => {
                Counters::count(&counters.rejected);
                self.record.outcome = "rejected";
                self.observe(login, None, Ending::Rejected, began, note).await;
                self.link.out.extend_from_slice(reply::NOT_ROUTABLE);
                Ok(Answer::TryAgain)
            }
            end @ (LoginEnd::Unreachable { .. } | LoginEnd::Full) => {
                let (node, word) = match end {
                    LoginEnd::Unreachable { node } => (node, reply::UNREACHABLE),
                    _ => {
                        Counters::count(&counters.pool_full);
                        (None, reply::POOL_FULL)
                    }
                };
                Counters::count(&counters.unreachable);
                self.record.outcome = "unreachable";
                self.record.node.clone_from(&node);
                self.observe(login, node, Ending::Unreachable, began, note).await;
                if let Some(pose) = self.pose_unreachable(&candidate) {
                    self.record.instead(Became::Posed, "unreachable");
                    return Ok(self.let_in(pose, candidate));
                }
                self.link.out.extend_from_slice(word);
                self.link.flush().await?;
                Ok(Answer::Unjudged)
            }
        }
    }

    /// The mail server has rejected a secret.
    pub(super) async fn judged_wrong(&self, candidate: &Candidate) {
        let Candidate { key, tag, seen, .. } = candidate;
        let most = self.context.settings.max_rejected_logins;
        self.context.registry.reject(seen, *key, tag.as_ref(), most).await;
    }

    /// What a user in good standing is shown while no node can be reached. Anybody else hears of
    /// it: nobody can tell whether their password is right.
    fn pose_unreachable(&self, candidate: &Candidate) -> Option<Pose> {
        if !candidate.proven {
            return None;
        }
        match self.context.settings.on_unreachable {
            OnUnreachable::Pose => Some(match self.unchanged(candidate) {
                Ok(left) => Pose::Maildrop(left),
                Err(_) => Pose::Busy,
            }),
            OnUnreachable::Busy => Some(Pose::Busy),
            OnUnreachable::Close | OnUnreachable::Error => None,
        }
    }

    /// Logs in at a node. None where the client has left meanwhile.
    pub(super) async fn at_server(
        &mut self,
        credentials: &Credentials,
        route: Option<&Route>,
    ) -> Option<LoginEnd> {
        let pool: Arc<Pool> = route
            .and_then(|route| route.pool.as_ref())
            .and_then(|name| self.context.pools.get(name))
            .unwrap_or(&self.context.pool)
            .clone();
        let user = route.and_then(|route| route.user.as_ref()).map(String::as_bytes);
        self.record.asked_server = true;
        let mut login = std::pin::pin!(pool.log_in(credentials, user, self.record.caller()));
        let most = self.link.octets_in + AHEAD;
        loop {
            if self.link.octets_in >= most {
                return Some(login.await);
            }
            tokio::select! {
                biased;
                end = &mut login => return Some(end),
                filled = self.link.fill() => match filled {
                    Ok(()) => {}
                    // One who has sent all that he has to say may close his end.
                    Err(LinkEnd::Closed) if self.link.inbox.has_rest() => return Some(login.await),
                    Err(_) => return None,
                },
            }
        }
    }

    /// Shows a client what the mail server has said about its token, and takes the word that
    /// it has to answer (RFC 7628, section 3.2.3).
    async fn show_challenge(&mut self, challenge: &[u8]) -> Result<(), LinkEnd> {
        for part in [&b"+ "[..], challenge, b"\r\n"] {
            self.link.out.extend_from_slice(part);
        }
        let deadline = tokio::time::Instant::now() + self.context.settings.login_timeout;
        self.continuation(deadline).await.map(|_| ())
    }

    /// Tells the policy, before the client is told.
    async fn observe(
        &mut self,
        login: Login,
        node: Option<Arc<str>>,
        ending: Ending,
        began: Instant,
        note: Option<String>,
    ) {
        let outcome = Outcome {
            time: self.moment(),
            session: login.session,
            client: login.client,
            claim: login.claim,
            node: node.map(|node| node.to_string()),
            latency_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            ending,
            note,
        };
        self.record.ending(&outcome, began);
        if let Some(shadow) = &self.context.shadow {
            shadow.outcome(&outcome);
        }
        if let Err(failure) = Box::pin(self.context.judge.observe(&outcome)).await {
            self.policy_failed(&failure);
        }
    }

    /// What a posed or relayed session that ends at the server's side comes to.
    pub(super) async fn lost_server(&mut self) -> Result<End, LinkEnd> {
        self.link.finish().await?;
        Ok(End::Server)
    }
}
