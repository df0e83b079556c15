//! A login whose secret Reprieve sees: asks the policy, applies the host's rules, carries them out.

use std::sync::Arc;
use std::time::Duration;

use super::all_pools::backend;
use super::client_io::Disconnect;
use super::counters::Counters;
use super::labeled_counters::Unjudged;
use super::pose::{Pose, Posing};
use super::session_record::SessionEnd;
use super::unrelieved::Unrelieved;
use super::{Session, Stage};
use crate::maildrop::{Fetched, LastSeen, MaildropFacts, NoSnapshot, Tag, TagStanding, UserKey};
use crate::new_mail::PoolSignals;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_policy_host::{
    self as policy, Action, Because, Decided, Disposition, Facts, Failure, Freshness, Login, Manner,
    MemoryKey, Pass, ResponseCode, Verdict, dispose,
};
use reprieve_pop3::credential::{CanonicalNames, Credentials, Mechanism, MechanismFamily};
use reprieve_pop3::reply::{self, Refusal};
use reprieve_pop3::user_name::readable;

/// The result of a login.
pub(super) enum Answer {
    /// The client is logged in, or the connection is closed.
    Go(Stage),
    /// The login failed; the client may try again.
    TryAgain,
    /// The same, but no mail server has judged it: it does not count as a failed login.
    Unjudged,
}

/// A disposition with the snapshot that it shows.
pub(super) struct Ruling {
    pub(super) disposition: Disposition,
    /// The snapshot to show, if the manner is `unchanged`.
    pub(super) snapshot: Option<LastSeen>,
}

/// A user who is logging in.
pub(super) struct Candidate {
    pub(super) credentials: Box<Credentials>,
    /// What the policy is asked about.
    pub(super) login: Arc<Login>,
    pub(super) key: UserKey,
    /// None if only the mail server sees the secret.
    pub(super) tag: Option<Tag>,
    /// What was known about the user when the login began.
    pub(super) fetched: Fetched,
}

/// What a posed session keeps of a candidate, as it may stay for long: the facts for the policy are
/// made again if it continues at the mail server.
pub(super) struct PosedUser {
    credentials: Box<Credentials>,
    standing: policy::Standing,
    pub(super) key: UserKey,
    tag: Option<Tag>,
    fetched: Fetched,
}

impl From<Candidate> for PosedUser {
    fn from(candidate: Candidate) -> Self {
        let Candidate { credentials, login, key, tag, fetched } = candidate;
        Self { credentials, standing: login.claim.standing, key, tag, fetched }
    }
}

impl Candidate {
    /// `pass`: where the login would go; needed only if the secret is not seen. `freshness`: of the
    /// snapshot; None if there is none.
    pub(super) fn facts(&self, pass: Option<&Pass>, freshness: Option<Freshness>) -> Facts {
        let facts = Facts::of(&self.login, pass, freshness.is_some());
        Facts { freshness: freshness.unwrap_or_default(), ..facts }
    }
}

impl Session {
    /// Asks the policy, and carries out what it decides. Waiting for the mail server is a
    /// future of its own, so that the policy's future is freed first.
    pub(super) async fn log_in(&mut self, credentials: Box<Credentials>) -> Result<Answer, Disconnect> {
        let candidate = self.candidate(credentials).await;
        let verdict = self.ask_policy(&candidate).await;
        let ruling = self.dispose(Decided::from(&verdict), &candidate, None);
        match ruling.disposition.action {
            Action::Passed => {
                let cause = ruling.disposition.cause();
                let route = self.route(verdict, &candidate);
                Box::pin(self.pass(candidate, cause, route)).await
            }
            Action::Posed => {
                let pose = match (ruling.disposition.manner, ruling.snapshot) {
                    (Some(Manner::Unchanged), Some(left)) => Pose::Maildrop(left),
                    (Some(Manner::Empty), _) => Pose::Empty,
                    _ => Pose::Busy,
                };
                let note = verdict.ok().and_then(Verdict::into_note);
                Ok(self.accept_posed(pose, candidate, note))
            }
            Action::Refused => Ok(self.refuse(&verdict, ruling.disposition)),
            Action::Disconnected => self.disconnect().await,
        }
    }

    /// Asks the policy, counts and records what it decided, and waits as long as it wants.
    pub(super) async fn ask_policy(&mut self, candidate: &Candidate) -> Result<Verdict, Failure> {
        let login = &candidate.login;
        self.record.begin_login(&login.claim.user, candidate.credentials.mechanism.name());
        self.context.counters.labeled.logged_in(candidate.credentials.mechanism);
        let shadowed = self.context.shadow.is_some();
        let has_snapshot = shadowed && self.unchanged(candidate).is_ok();
        let verdict = self.decide(login, has_snapshot).await;
        self.record.decided = Some(Decided::from(&verdict));
        match &verdict {
            Ok(Verdict::Pass(pass)) => {
                Counters::count(&self.context.counters.passed);
                self.count_poller(&login.claim.user, false);
                self.delay(pass.delay_ms).await;
            }
            Ok(Verdict::Deny(deny)) => {
                self.context.counters.count_denial(deny);
                self.count_poller(&login.claim.user, true);
                self.record.reason = deny.reason.as_ref().into();
                self.delay(deny.delay_ms).await;
            }
            Err(failure) => {
                self.policy_failed(failure);
                self.context.counters.labeled.unjudged(match failure {
                    Failure::Paused => Unjudged::Paused,
                    _ => Unjudged::Failed,
                });
            }
        }
        verdict
    }

    /// Applies the host's rules to what the policy decided, counts and records what follows. `pass`:
    /// see [`Candidate::facts`].
    pub(super) fn dispose(&mut self, decided: Decided, candidate: &Candidate, pass: Option<&Pass>) -> Ruling {
        let is_unchanged = decided.may_show_snapshot() && candidate.tag.is_some();
        let snapshot = is_unchanged.then(|| self.unchanged(candidate));
        let freshness =
            snapshot.as_ref().and_then(|found| found.as_ref().ok()).map(|left| self.freshness(left));
        let facts = candidate.facts(pass, freshness);
        let disposition = dispose(decided, facts, self.context.settings.rules);
        self.record.dispose(disposition);
        let counters = &self.context.counters;
        let unrelieved = match (disposition.action, disposition.because) {
            (Action::Passed, Some(Because::Unverified | Because::Unverifiable)) => {
                Counters::count(&counters.unverified);
                Some(Unrelieved::of_unproven(candidate))
            }
            (Action::Passed, Some(Because::NoSnapshot)) => {
                Counters::count(&counters.no_snapshot);
                snapshot.as_ref().and_then(|found| found.as_ref().err()).copied().map(Unrelieved::NoSnapshot)
            }
            _ => None,
        };
        if let Some(why) = unrelieved {
            self.unrelieved(&candidate.login, why);
        }
        Ruling { disposition, snapshot: snapshot.and_then(Result::ok) }
    }

    /// The route of a login that passes: the policy's, or, if the policy denied it or failed, that of
    /// the user's last session.
    pub(super) fn route(&self, verdict: Result<Verdict, Failure>, candidate: &Candidate) -> Pass {
        let note = match verdict {
            Ok(Verdict::Pass(pass)) => return pass,
            Ok(Verdict::Deny(deny)) => deny.note,
            Err(_) => None,
        };
        let route = self.context.registry.route(&candidate.fetched, candidate.key);
        Pass {
            pool: route.as_ref().and_then(|route| route.pool.clone()),
            user: route.as_ref().and_then(|route| route.user.clone()),
            note,
            ..Pass::default()
        }
    }

    /// Answers a login with `-ERR`, without asking a mail server.
    pub(super) fn refuse(&mut self, verdict: &Result<Verdict, Failure>, disposition: Disposition) -> Answer {
        self.not_asked();
        if disposition.because == Some(Because::NotRoutable) {
            self.client.out.extend_from_slice(reply::NOT_ROUTABLE);
            return Answer::TryAgain;
        }
        let Ok(Verdict::Deny(deny)) = verdict else {
            self.client.out.extend_from_slice(reply::POLICY_FAILED);
            return Answer::Unjudged;
        };
        let refusal = match deny.code {
            _ if disposition.because == Some(Because::Unverifiable) && disposition.manner.is_none() => {
                Refusal::LoginDelay
            }
            None | Some(ResponseCode::LoginDelay) => Refusal::LoginDelay,
            Some(ResponseCode::InUse) => Refusal::InUse,
            Some(ResponseCode::SysTemp) => Refusal::SysTemp,
            Some(ResponseCode::SysPerm) => Refusal::SysPerm,
            Some(ResponseCode::Auth) => Refusal::Auth,
        };
        refusal.write(deny.retry_after, deny.text.as_deref(), &mut self.client.out);
        Counters::count(&self.context.counters.relieved);
        Answer::TryAgain
    }

    /// Closes the connection, as the verdict demands.
    pub(super) async fn disconnect(&mut self) -> Result<Answer, Disconnect> {
        self.not_asked();
        Counters::count(&self.context.counters.relieved);
        self.client.close().await;
        Ok(Answer::Go(Stage::Over(SessionEnd::Disconnected)))
    }

    fn count_poller(&self, user: &str, denied: bool) {
        if let Some(pollers) = &self.context.pollers {
            pollers.count(user, denied);
        }
    }

    /// Counts a call of the policy that failed. The policy host logs why.
    pub(super) fn policy_failed(&mut self, failure: &Failure) {
        let counters = &self.context.counters;
        Counters::count(match failure {
            Failure::Paused => &counters.policy_pauses,
            _ => &counters.policy_failures,
        });
    }

    pub(super) async fn candidate(&mut self, credentials: Box<Credentials>) -> Candidate {
        // The configuration in force now counts, not the one at the start of the connection.
        self.context = self.context_handle.context();
        let context = &self.context;
        let settings = &context.settings;
        let identity = credentials.identity(&settings.name_spelling);
        let key = context.tagger.user(&settings.pool, &identity.bytes());
        #[cfg(test)]
        let key = if planted(Fault::KeysDiffer) {
            context.tagger.user(&settings.pool, &credentials.user)
        } else {
            key
        };
        let is_seen = credentials.mechanism.family() != MechanismFamily::ChallengeResponse;
        let tag = is_seen.then(|| context.tagger.tag(key, &credentials));
        let fetched = context.registry.look(key, tag.as_ref(), context.clock.now_ms()).await;
        // After many rejected guesses a mail server may have locked the account, so Reprieve no
        // longer answers for it.
        let proven =
            fetched.standing == TagStanding::Known && fetched.rejections < settings.max_rejected_logins;
        let standing = match fetched.standing {
            TagStanding::Known if proven => policy::Standing::Known,
            TagStanding::Known | TagStanding::Changed => policy::Standing::Changed,
            TagStanding::Unknown => policy::Standing::Unknown,
        };
        let claim = claim(credentials.mechanism, &identity, standing);
        let login = self.policy_login(claim, fetched.facts, self.record.logins);
        Candidate { credentials, login, key, tag, fetched }
    }

    /// The candidate of a posed session that continues at the mail server.
    pub(super) fn candidate_again(&self, posed: PosedUser) -> Candidate {
        let PosedUser { credentials, standing, key, tag, fetched } = posed;
        // The login itself has been counted.
        let earlier_logins = self.record.logins.saturating_sub(1);
        let identity = credentials.identity(&self.context.settings.name_spelling);
        let claim = claim(credentials.mechanism, &identity, standing);
        let login = self.policy_login(claim, fetched.facts, earlier_logins);
        Candidate { credentials, login, key, tag, fetched }
    }

    /// What the policy is asked about.
    fn policy_login(&self, claim: policy::Claim, facts: MaildropFacts, earlier_logins: u32) -> Arc<Login> {
        let context = &self.context;
        let settings = &context.settings;
        let time = self.moment();
        Arc::new(Login {
            session: policy::Session {
                virtual_server: settings.name.clone(),
                id: self.record.id.as_str().into(),
                earlier_logins,
            },
            client: policy::Client {
                peer: self.record.peer,
                local: self.record.local,
                tls: self.record.tls.as_ref().map(|tls| policy::TlsSession {
                    version: tls.version.to_owned(),
                    server_name: tls.server_name.clone(),
                    client_subject: tls.client.as_ref().map(|client| client.subject.clone()),
                }),
            },
            claim,
            time,
            backend: backend(&context.pool),
            pools: context.pools.clone(),
            maildrop: maildrop_facts(facts, context.pool.signals(), time.unix_ms),
        })
    }

    pub(super) fn moment(&self) -> policy::Moment {
        policy::moment(self.context.clock.now_ms(), &self.context.settings.time_zone)
    }

    async fn delay(&self, ms: u32) {
        if ms > 0 {
            crate::time::sleep(Duration::from_millis(u64::from(ms))).await;
        }
    }

    /// The maildrop as the user's clients last saw it.
    pub(super) fn unchanged(&self, candidate: &Candidate) -> Result<LastSeen, NoSnapshot> {
        if !self.context.is_authoritative() {
            // Another process may have shown the user a newer maildrop.
            return Err(NoSnapshot::Elsewhere);
        }
        self.context.registry.last_seen(&candidate.fetched, candidate.key)
    }

    /// What is known about changes since a snapshot.
    pub(super) fn freshness(&self, left: &LastSeen) -> Freshness {
        let signals = self.context.pool_of(left.route.as_deref()).signals();
        #[cfg(test)]
        if planted(Fault::NewMailIgnored) {
            return Freshness::Unknown;
        }
        signals.freshness(left.heard.is_none(), left.looked_s)
    }

    /// Tells the shadow policy that no mail server was asked.
    pub(super) fn not_asked(&self) {
        if let Some(shadow) = &self.context.shadow {
            shadow.not_asked(self.record.id.as_str(), self.moment());
        }
    }

    /// Accepts the login without asking a mail server. `note`: of the verdict, for the outcome of an upgrade.
    pub(super) fn accept_posed(&mut self, pose: Pose, candidate: Candidate, note: Option<String>) -> Answer {
        self.not_asked();
        Counters::count(&self.context.counters.posed);
        self.record.posed = true;
        if matches!(&pose, Pose::Maildrop(LastSeen { was_posed: false, .. })) {
            self.context.registry.pose(candidate.key, self.context.clock.now_ms());
        }
        self.client.out.extend_from_slice(reply::LOGGED_IN);
        Answer::Go(Stage::Pose(Box::new(Posing { pose, user: candidate.into(), note })))
    }

    /// Counts a denied login that passes anyway. Users whose denied logins always pass are
    /// reported.
    fn unrelieved(&self, login: &Login, why: Unrelieved) {
        self.context.counters.labeled.unrelieved(why);
        self.context.unrelieved.count(
            &self.context.settings.name,
            &login.claim.user,
            why,
            login.time.unix_ms,
        );
    }
}

fn maildrop_facts(facts: MaildropFacts, signals: &PoolSignals, now_ms: u64) -> policy::Maildrop {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let since = |time_s: u32| (time_s != 0).then(|| number(now_ms / 1000).saturating_sub(time_s));
    policy::Maildrop {
        snapshot: facts.snapshot.map(|snapshot| policy::SnapshotFacts {
            messages: snapshot.messages,
            total_bytes: number(snapshot.total_bytes),
            seconds_since_seen: since(snapshot.times.seen_s),
            seconds_unchanged: since(snapshot.times.changed_s),
        }),
        seconds_since_upgrade: facts.snapshot.and_then(|snapshot| since(snapshot.times.upgraded_s)),
        open_sessions: facts.open_sessions,
        freshness: facts.snapshot.map_or_else(Freshness::default, |snapshot| {
            // Whether the other pool's signals are complete is looked up only to show the snapshot.
            let looked_s = if snapshot.is_elsewhere { 0 } else { snapshot.times.seen_s };
            signals.freshness(snapshot.has_new_mail, looked_s)
        }),
    }
}

fn claim(mechanism: Mechanism, identity: &CanonicalNames, standing: policy::Standing) -> policy::Claim {
    let user = readable(&identity.user);
    let authorization_id = identity.authorization_id.as_deref().map(readable);
    policy::Claim {
        key: MemoryKey::new(&user, authorization_id.as_deref()),
        user,
        authorization_id,
        mechanism: match mechanism {
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
    }
}
