//! A complete login: ask the policy, carry out what it says.

use std::time::Duration;

use super::counters::Counters;
use super::kinds::Unjudged;
use super::link::LinkEnd;
use super::pose::{Pose, Posing};
use super::record::End;
use super::unrelieved::Unrelieved;
use super::{Session, Stage};
use crate::decision_log::Became;
use crate::maildrop::{Left, NoSnapshot, Seen, Standing, Tag, UserKey};
use reprieve_policy_host::Verify;
use reprieve_policy_host::{self as policy, Deny, Failure, Manner, OnFailure, Pass, ResponseCode, Verdict};
use reprieve_pop3::credential::{Credentials, Mechanism};
use reprieve_pop3::reply::{self, Refusal};
use reprieve_pop3::user_name::{NameCase, readable};

/// What a login led to.
pub(super) enum Answer {
    /// The client was let in, or sent away.
    Go(Stage),
    /// The client was told that it failed, and may try again.
    TryAgain,
    /// The same, and nobody has judged the secret: it does not count as a failed login.
    Unjudged,
}

/// What is to become of a login.
pub(super) enum Judged {
    /// It goes to a mail server.
    Pass(Pass),
    /// It does not, if it need not.
    Deny(Deny),
    /// The policy has failed, and the client was told that it cannot log in.
    Refused,
}

/// Who logs in.
pub(super) struct Candidate {
    pub(super) credentials: Box<Credentials>,
    pub(super) key: UserKey,
    /// None where only the mail server sees the secret.
    pub(super) tag: Option<Tag>,
    /// What was known of them when the login began.
    pub(super) seen: Seen,
    /// Whether they may be posed to: the mail server has accepted this secret, and has not
    /// rejected too many others since.
    pub(super) proven: bool,
}

impl Session {
    /// A login waits longest for a mail server, in a box of its own; what has judged it, which
    /// needs as much room, is gone by then.
    pub(super) async fn log_in(&mut self, credentials: Box<Credentials>) -> Result<Answer, LinkEnd> {
        let (candidate, login) = self.candidate(credentials).await;
        match self.judge(&candidate, &login).await {
            Judged::Pass(verdict) => Box::pin(self.pass(candidate, login, verdict)).await,
            Judged::Deny(verdict) => self.deny(candidate, login, verdict).await,
            Judged::Refused => Ok(Answer::Unjudged),
        }
    }

    /// Asks the policy, and waits as long as it wants.
    pub(super) async fn judge(&mut self, candidate: &Candidate, login: &policy::Login) -> Judged {
        self.record.begin_login(&login.claim.user, candidate.credentials.mechanism.name());
        self.context.counters.kinds.logged_in(candidate.credentials.mechanism);
        match self.decide(login).await {
            Ok(Verdict::Pass(verdict)) => {
                Counters::count(&self.context.counters.passed);
                self.count_poller(&login.claim.user, false);
                self.record.verdict = "pass";
                self.delay(verdict.delay_ms).await;
                Judged::Pass(verdict)
            }
            Ok(Verdict::Deny(verdict)) => {
                self.context.counters.count_denial(&verdict);
                self.count_poller(&login.claim.user, true);
                self.record.verdict = "deny";
                self.record.manner = Some(verdict.manner);
                self.record.reason = verdict.reason.as_str().into();
                self.delay(verdict.delay_ms).await;
                Judged::Deny(verdict)
            }
            Err(failure) => {
                self.policy_failed(&failure);
                self.context.counters.kinds.unjudged(match failure {
                    Failure::Paused => Unjudged::Paused,
                    _ => Unjudged::Failed,
                });
                match self.context.settings.on_failure {
                    OnFailure::Pass => {
                        self.record.verdict = "pass";
                        Judged::Pass(self.pass_as_before(candidate))
                    }
                    OnFailure::Deny => {
                        self.record.verdict = "deny";
                        self.record.asked_server = true;
                        self.not_asked();
                        self.link.out.extend_from_slice(reply::POLICY_FAILED);
                        Judged::Refused
                    }
                }
            }
        }
    }

    fn count_poller(&self, user: &str, denied: bool) {
        if let Some(pollers) = &self.context.pollers {
            pollers.count(user, denied);
        }
    }

    /// Each session's line has the reason; the policy's own lines have the words for it.
    pub(super) fn policy_failed(&mut self, failure: &Failure) {
        let counters = &self.context.counters;
        let (counter, reason) = match failure {
            Failure::Paused => (&counters.policy_pauses, "policy-paused"),
            _ => (&counters.policy_failures, "policy-failure"),
        };
        Counters::count(counter);
        self.record.reason = reason.into();
    }

    pub(super) async fn candidate(&mut self, credentials: Box<Credentials>) -> (Candidate, policy::Login) {
        // A login is judged by what is configured when it comes, not when its connection came.
        self.context = self.door.context();
        let context = &self.context;
        let settings = &context.settings;
        let identity = credentials.identity(settings.name_case);
        let key = context.tagger.user(&settings.pool, &identity);
        let is_seen = credentials.mechanism.family() != "digest";
        let tag = is_seen.then(|| context.tagger.tag(key, &credentials));
        let seen = context.registry.look(key, tag.as_ref(), context.clock.now_ms()).await;
        // Whoever guesses often enough learns nothing from Reprieve any more: a mail server that
        // locks accounts may have locked this one.
        let proven = seen.standing == Standing::Known && seen.rejections < settings.max_rejected_logins;
        let standing = match seen.standing {
            Standing::Known if proven => policy::Standing::Known,
            Standing::Known | Standing::Changed => policy::Standing::Changed,
            Standing::Unknown => policy::Standing::Unknown,
        };
        let name = |name: &[u8]| match settings.name_case {
            NameCase::Exact => readable(name),
            NameCase::Fold => readable(&name.to_ascii_lowercase()),
        };
        let pool = context.pool.state();
        let login = policy::Login {
            session: policy::Session {
                virtual_server: context.settings.name.to_string(),
                id: self.record.id.as_str().to_owned(),
            },
            client: policy::Client {
                peer: policy::endpoint(self.record.peer),
                local: policy::endpoint(self.record.local),
                tls: self.record.tls.as_ref().map(|tls| policy::TlsSession {
                    version: tls.version.to_owned(),
                    server_name: tls.server_name.clone(),
                    client_subject: tls.client.as_ref().map(|client| client.subject.clone()),
                }),
            },
            claim: policy::Claim {
                user: name(&credentials.user),
                authorization_id: credentials.authorization_id.as_deref().map(name),
                mechanism: match credentials.mechanism {
                    Mechanism::UserPass => policy::Mechanism::UserPass,
                    Mechanism::Plain => policy::Mechanism::Plain,
                    Mechanism::Login => policy::Mechanism::Login,
                    Mechanism::Xoauth2 => policy::Mechanism::Xoauth2,
                    Mechanism::OauthBearer => policy::Mechanism::Oauthbearer,
                    Mechanism::External => policy::Mechanism::External,
                    Mechanism::Apop => policy::Mechanism::Apop,
                    Mechanism::CramMd5 => policy::Mechanism::CramMd5,
                    Mechanism::ScramSha256 => policy::Mechanism::ScramSha256,
                },
                standing,
            },
            time: self.moment(),
            backend: policy::Backend {
                pool: context.settings.pool.clone(),
                nodes: pool.nodes,
                healthy_nodes: pool.healthy,
                sessions: pool.sessions,
                waiting: pool.waiting,
                login_latency_ms: pool.login_latency_ms,
            },
        };
        (Candidate { credentials, key, tag, seen, proven }, login)
    }

    pub(super) fn moment(&self) -> policy::Moment {
        policy::moment(self.context.clock.now_ms(), &self.context.settings.time_zone)
    }

    async fn delay(&self, ms: u32) {
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(u64::from(ms))).await;
        }
    }

    pub(super) async fn deny(
        &mut self,
        candidate: Candidate,
        login: policy::Login,
        verdict: Deny,
    ) -> Result<Answer, LinkEnd> {
        match verdict.manner {
            Manner::Refuse => {
                let refusal = match verdict.code {
                    None | Some(ResponseCode::LoginDelay) => Refusal::LoginDelay,
                    Some(ResponseCode::InUse) => Refusal::InUse,
                    Some(ResponseCode::SysTemp) => Refusal::SysTemp,
                    Some(ResponseCode::SysPerm) => Refusal::SysPerm,
                    Some(ResponseCode::Auth) => Refusal::Auth,
                };
                self.not_asked();
                refusal.write(verdict.retry_after, &mut self.link.out);
                Counters::count(&self.context.counters.relieved);
                return Ok(Answer::TryAgain);
            }
            Manner::Disconnect => {
                self.not_asked();
                Counters::count(&self.context.counters.relieved);
                self.link.close().await;
                return Ok(Answer::Go(Stage::Over(End::Disconnected)));
            }
            Manner::Unchanged | Manner::Empty | Manner::Busy => {}
        }
        // Only the mail server can tell right from wrong for a secret that it has not judged.
        if !candidate.proven && self.context.settings.verify == Verify::On {
            let as_before = self.pass_unverified(&candidate, &login);
            return Box::pin(self.pass(candidate, login, as_before)).await;
        }
        let pose = match verdict.manner {
            Manner::Busy => Pose::Busy,
            Manner::Empty => Pose::Empty,
            _ => match self.unchanged(&candidate) {
                Ok(left) => Pose::Maildrop(left),
                Err(why) => {
                    let as_before = self.pass_without_snapshot(&candidate, &login, why);
                    return Box::pin(self.pass(candidate, login, as_before)).await;
                }
            },
        };
        Ok(self.let_in(pose, candidate))
    }

    /// The maildrop as the user's clients last saw it.
    pub(super) fn unchanged(&self, candidate: &Candidate) -> Result<Left, NoSnapshot> {
        if self.context.drain.is_cancelled() {
            // Another process may serve the user already, and have shown them more.
            return Err(NoSnapshot::Elsewhere);
        }
        self.context.registry.snapshot(&candidate.seen, candidate.key)
    }

    /// Tells whoever judges in the shadow that no mail server was asked.
    pub(super) fn not_asked(&self) {
        if let Some(shadow) = &self.context.shadow {
            shadow.not_asked(self.record.id.as_str(), self.moment());
        }
    }

    /// Accepts the login in the mail server's place.
    pub(super) fn let_in(&mut self, pose: Pose, candidate: Candidate) -> Answer {
        self.not_asked();
        Counters::count(&self.context.counters.posed);
        self.record.posed = true;
        self.link.out.extend_from_slice(reply::LOGGED_IN_OK);
        Answer::Go(Stage::Pose(Box::new(Posing { pose, candidate })))
    }

    /// A denied login goes to the mail server, which alone can tell right from wrong.
    pub(super) fn pass_unverified(&mut self, candidate: &Candidate, login: &policy::Login) -> Pass {
        Counters::count(&self.context.counters.unverified);
        self.record.reason = "unverified".into();
        self.record.instead(Became::Passed, "unverified");
        self.unrelieved(login, Unrelieved::of_unproven(candidate));
        self.pass_as_before(candidate)
    }

    fn pass_without_snapshot(
        &mut self,
        candidate: &Candidate,
        login: &policy::Login,
        why: NoSnapshot,
    ) -> Pass {
        Counters::count(&self.context.counters.no_snapshot);
        self.record.reason = "no-snapshot".into();
        self.record.instead(Became::Passed, "no-snapshot");
        self.unrelieved(login, Unrelieved::NoSnapshot(why));
        self.pass_as_before(candidate)
    }

    /// A denied login passes all the same: users of whom that is always so are reported.
    fn unrelieved(&self, login: &policy::Login, why: Unrelieved) {
        self.context.counters.kinds.unrelieved(why);
        self.context.unrelieved.count(
            &self.context.settings.name,
            &login.claim.user,
            why,
            login.time.unix_ms,
        );
    }

    /// What is done with a login that passes although no policy has said so: it goes where the
    /// user's last session went.
    fn pass_as_before(&self, candidate: &Candidate) -> Pass {
        let route = self.context.registry.route(&candidate.seen, candidate.key);
        Pass {
            pool: route.as_ref().and_then(|route| route.pool.clone()),
            user: route.as_ref().and_then(|route| route.user.clone()),
            note: None,
            delay_ms: 0,
        }
    }
}
