//! A posed session that goes on at the mail server, because the client asked for what only it
//! has. The numbers that the client was shown stay valid.

use std::borrow::Cow;
use std::time::Instant;

use super::Session;
use super::counters::Counters;
use super::kinds::UpgradeFailure;
use super::link::LinkEnd;
use super::login::Candidate;
use super::pose::Means;
use super::relay::{Access, Relaying};
use crate::maildrop::Session as ServerSession;
use crate::pool::{Connection, LoginEnd};
use reprieve_pop3::listing::UniqueIds;
use reprieve_pop3::posed::Maildrop;
use reprieve_pop3::relay::Relay;
use reprieve_pop3::reply::{self, status};

/// A session that was logged in, the mail server's unique-ids, and what it is for the registry.
type Reached = (Connection, UniqueIds, ServerSession);

impl Session {
    /// Logs in with the login's own secret, to go on as a relay that shows the same maildrop.
    /// The command that asked for it stands as the inbox's line. None if it fails, now or
    /// before: `means` say why.
    pub(super) async fn upgrade(
        &mut self,
        means: &mut Means,
        maildrop: &Maildrop,
    ) -> Result<Option<Box<Relaying>>, LinkEnd> {
        let Some(candidate) = means.candidate.take() else { return Ok(None) };
        let line = self.link.inbox.line().to_vec();
        let began = Instant::now();
        let reached = self.go_to_server(&candidate, means).await;
        let node = match &reached {
            Ok(Ok((connection, ..))) => Ok(Some(connection.node().clone())),
            Ok(Err(_)) => Ok(None),
            Err(_) => Err(()),
        };
        self.record.upgrade(&line, began, node);
        let (connection, unique_ids, session) = match reached? {
            Ok(reached) => reached,
            Err(reply) => {
                Counters::count(&self.context.counters.failed_upgrades);
                // Whatever is wrong, the user's next login passes and finds out.
                self.context.registry.forget_snapshot(candidate.key).await;
                means.refusal = reply;
                return Ok(None);
            }
        };
        Counters::count(&self.context.counters.upgrades);
        self.context.counters.kinds.upgraded(&line);
        self.record.upgraded = true;
        self.record.outcome = "authenticated";
        self.record.node = Some(connection.node().clone());
        let relay =
            Relay::translated(maildrop.clone(), unique_ids.rows()).one_by_one(!connection.takes_pipelines());
        let access = Access::Begun(session);
        Ok(Some(Box::new(Relaying { connection, relay, access, first: Some(line) })))
    }

    async fn go_to_server(
        &mut self,
        candidate: &Candidate,
        means: &Means,
    ) -> Result<Result<Reached, Cow<'static, [u8]>>, LinkEnd> {
        let counters = self.context.counters.clone();
        let failed = |why| counters.kinds.upgrade_failed(why);
        let Some(end) = self.at_server(&candidate.credentials, means.route.as_deref()).await else {
            Counters::count(&self.context.counters.abandoned);
            return Err(LinkEnd::Closed);
        };
        let reply = match end {
            LoginEnd::Accepted { mut connection, .. } => {
                let Some(tag) = candidate.tag else { return Ok(Err(reply::NOT_ROUTABLE.into())) };
                Counters::count(&self.context.counters.authenticated);
                let within = self.context.settings.login_timeout;
                if let Ok(Ok(unique_ids)) = tokio::time::timeout(within, unique_ids(&mut connection)).await {
                    let (registry, now_ms) = (&self.context.registry, self.context.clock.now_ms());
                    let session = registry.begin_upgraded(candidate.key, tag, means.left_by, now_ms).await;
                    return Ok(Ok((connection, unique_ids, session)));
                }
                failed(UpgradeFailure::Listing);
                self.record.outcome = "unreachable";
                reply::LOST.into()
            }
            LoginEnd::Rejected(rejection) => {
                failed(UpgradeFailure::Rejected);
                Counters::count(&self.context.counters.rejected);
                self.record.outcome = "rejected";
                if rejection.is_judgement() {
                    self.judged_wrong(candidate).await;
                }
                reply::login_refused(&rejection.reply).into()
            }
            LoginEnd::Full => {
                failed(UpgradeFailure::PoolFull);
                Counters::count(&self.context.counters.pool_full);
                Counters::count(&self.context.counters.unreachable);
                self.record.outcome = "unreachable";
                reply::POOL_FULL.into()
            }
            end @ (LoginEnd::Unreachable { .. } | LoginEnd::Impossible) => {
                failed(UpgradeFailure::Unreachable);
                Counters::count(&self.context.counters.unreachable);
                self.record.outcome = "unreachable";
                match end {
                    LoginEnd::Impossible => reply::NOT_ROUTABLE.into(),
                    _ => reply::UNREACHABLE.into(),
                }
            }
        };
        Ok(Err(reply))
    }
}

async fn unique_ids(connection: &mut Connection) -> std::io::Result<UniqueIds> {
    connection.write(b"UIDL\r\n").await?;
    let refused = || std::io::Error::other("the mail server does not tell its unique-ids");
    if status(&connection.line().await?) != Some(true) {
        return Err(refused());
    }
    let mut unique_ids = UniqueIds::default();
    loop {
        let line = connection.line().await?;
        match line.trim_ascii_end() {
            b"." => return Ok(unique_ids),
            row if unique_ids.row(row) => {}
            _ => return Err(refused()),
        }
    }
}
