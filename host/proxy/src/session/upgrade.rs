//! The upgrade: a posed session continues at the mail server because the client asked for something
//! that only the mail server has. The message numbers that the client was shown stay valid.

use std::borrow::Cow;
use std::time::Instant;

use super::Session;
use super::client_io::Disconnect;
use super::counters::Counters;
use super::labeled_counters::UpgradeFailure;
use super::login::Candidate;
use super::pass::Attempt;
use super::pose::UpgradeContext;
use super::relay::{MaildropAccess, Relaying};
use crate::maildrop::{MaildropSession, Upgrade};
use crate::pool::{Connection, LoginOutcome};
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_policy_host::{Cause, Ending};
use reprieve_pop3::listing::UniqueIds;
use reprieve_pop3::posed::PosedMaildrop;
use reprieve_pop3::relay::Relay;
use reprieve_pop3::reply::{self, status};

/// The logged-in connection, the mail server's unique-ids, and the session in the registry.
type Reached = (Connection, UniqueIds, MaildropSession);

impl Session {
    /// Logs in with the client's secret and continues as a relay that shows the same maildrop. The
    /// command that asked for it is the current line of the inbox. None if it fails or has failed
    /// before; the reply is in `context`.
    pub(super) async fn upgrade(
        &mut self,
        upgrade: &mut UpgradeContext,
        maildrop: &PosedMaildrop,
    ) -> Result<Option<Box<Relaying>>, Disconnect> {
        let Some(user) = upgrade.user.take() else { return Ok(None) };
        let candidate = self.candidate_again(user);
        let line = self.client.inbox.line().to_vec();
        let began = Instant::now();
        let attempt = Attempt {
            login: candidate.login.clone(),
            cause: Cause::Upgrade,
            began,
            note: upgrade.note.take(),
        };
        let reached = self.go_to_server(&candidate, upgrade, maildrop, attempt).await;
        let node = match &reached {
            Ok(Ok((connection, ..))) => Some(connection.node_name().clone()),
            _ => None,
        };
        let outcome = self.record.outcome.unwrap_or(Ending::Abandoned);
        self.record.upgrade(&line, began, outcome, node);
        let (connection, unique_ids, session) = match reached? {
            Ok(reached) => reached,
            Err(reply) => {
                Counters::count(&self.context.counters.failed_upgrades);
                #[cfg(test)]
                if planted(Fault::FailedUpgradeKeepsSnapshot) {
                    upgrade.refusal = reply;
                    return Ok(None);
                }
                // Without a snapshot the user's next login passes.
                self.context.registry.forget_snapshot(candidate.key).await;
                upgrade.refusal = reply;
                return Ok(None);
            }
        };
        Counters::count(&self.context.counters.upgrades);
        self.context.counters.labeled.upgraded(&line);
        self.record.upgraded = true;
        let relay =
            Relay::translated(maildrop.clone(), unique_ids.rows()).with_pipelining(connection.may_pipeline());
        let access = MaildropAccess::Begun(Box::new(session));
        #[cfg(test)]
        let access = if planted(Fault::ForgottenUpgrade) { MaildropAccess::Over } else { access };
        #[cfg(test)]
        let relay = if planted(Fault::NumbersNotTranslated) { Relay::direct() } else { relay };
        let open = self.opened(candidate.key, upgrade.route.as_deref());
        let reported = self.reported(&candidate.login);
        Ok(Some(Box::new(Relaying { connection, relay, access, open, reported, first: Some(line) })))
    }

    async fn go_to_server(
        &mut self,
        candidate: &Candidate,
        upgrade: &UpgradeContext,
        maildrop: &PosedMaildrop,
        attempt: Attempt,
    ) -> Result<Result<Reached, Cow<'static, [u8]>>, Disconnect> {
        let counters = self.context.counters.clone();
        let failed = |why| counters.labeled.upgrade_failed(why);
        let looked_ms = self.context.clock.now_ms();
        let Some(end) = self.at_server(&candidate.credentials, upgrade.route.as_deref()).await else {
            self.settle(attempt, Ending::Abandoned, None, None).await;
            return Err(Disconnect::Closed);
        };
        let reply = match end {
            LoginOutcome::Accepted { mut connection, .. } => {
                let Some(tag) = candidate.tag else { return Ok(Err(reply::NOT_ROUTABLE.into())) };
                let node = Some(connection.node_name().clone());
                self.settle(attempt, Ending::Authenticated, node, None).await;
                let within = self.context.settings.login_timeout;
                if let Ok(Ok(unique_ids)) = crate::time::timeout(within, unique_ids(&mut connection)).await {
                    let registry = &self.context.registry;
                    let session = registry
                        .begin_upgraded(Upgrade {
                            user: candidate.key,
                            tag,
                            posed: upgrade.posed_token,
                            heard: upgrade.posed_heard,
                            store_epoch: candidate.fetched.store_epoch(),
                            looked_ms,
                        })
                        .await;
                    self.note_unseen(candidate, &session, &unique_ids, maildrop).await;
                    return Ok(Ok((connection, unique_ids, session)));
                }
                failed(UpgradeFailure::Listing);
                self.record.outcome = Some(Ending::Unreachable);
                reply::LOST.into()
            }
            LoginOutcome::Rejected(rejection) => {
                failed(UpgradeFailure::Rejected);
                let (node, code) = (Some(rejection.node.clone()), rejection.response_code());
                self.settle(attempt, Ending::Rejected, node, code).await;
                if rejection.rejects_password() {
                    self.judged_wrong(candidate).await;
                }
                reply::upgrade_refused(&rejection.reply).into()
            }
            LoginOutcome::Full => {
                failed(UpgradeFailure::PoolFull);
                Counters::count(&self.context.counters.pool_full);
                self.settle(attempt, Ending::Unreachable, None, None).await;
                reply::POOL_FULL.into()
            }
            end @ (LoginOutcome::Unreachable { .. } | LoginOutcome::Impossible) => {
                failed(UpgradeFailure::Unreachable);
                self.settle(attempt, Ending::Unreachable, None, None).await;
                match end {
                    LoginOutcome::Impossible => reply::NOT_ROUTABLE.into(),
                    _ => reply::UNREACHABLE.into(),
                }
            }
        };
        Ok(Err(reply))
    }
}

impl Session {
    /// The next login must see messages that the mail server lists and no client has seen: they are new
    /// mail, although no signal has come.
    async fn note_unseen(
        &self,
        candidate: &Candidate,
        session: &MaildropSession,
        unique_ids: &UniqueIds,
        shown: &PosedMaildrop,
    ) {
        let (registry, now_ms) = (&self.context.registry, self.context.clock.now_ms());
        let has_unseen = if session.may_leave_snapshot() {
            unique_ids.go_beyond(shown.snapshot())
        } else {
            // Another client may have seen them since.
            let fetched = registry.look(candidate.key, None, now_ms).await;
            let left = registry.last_seen(&fetched, candidate.key);
            left.is_ok_and(|left| unique_ids.go_beyond(&left.snapshot))
        };
        if has_unseen {
            // Without the store the next login passes anyway.
            let _ = registry.hear(candidate.key, now_ms, now_ms).await;
        }
    }
}

async fn unique_ids(connection: &mut Connection) -> std::io::Result<UniqueIds> {
    connection.write(b"UIDL\r\n").await?;
    let refused = || std::io::Error::other("the mail server does not list unique-ids");
    if status(&connection.line().await?) != Some(true) {
        return Err(refused());
    }
    let mut unique_ids = UniqueIds::default();
    loop {
        let line = connection.line().await?;
        match line.trim_ascii_end() {
            b"." => return Ok(unique_ids),
            row if unique_ids.add(row) => {}
            _ => return Err(refused()),
        }
    }
}
