//! A posed session that goes on at the mail server, because the client asked for what only it
//! has. The numbers that the client was shown stay valid.

use std::time::Instant;

use super::Session;
use super::counters::Counters;
use super::kinds::UpgradeFailure;
use super::link::LinkEnd;
use super::pose::Means;
use super::relay::Relaying;
use crate::maildrop::Session as ServerSession;
use crate::pool::{Connection, LoginEnd};
use crate::pop3::listing::UniqueIds;
use crate::pop3::posed::Maildrop;
use crate::pop3::relay::Relay;
use crate::pop3::reply::status;

impl Session {
    /// Logs in with the login's own secret, to go on as a relay that shows the same maildrop.
    /// None where it fails. The command that asked for it stands as the inbox's line.
    pub(super) async fn upgrade(
        &mut self,
        means: Box<Means>,
        maildrop: &Maildrop,
    ) -> Result<Option<Box<Relaying>>, LinkEnd> {
        let line = self.link.inbox.line().to_vec();
        let began = Instant::now();
        let reached = self.go_to_server(&means).await;
        let node = reached.as_ref().map(|reached| reached.as_ref().map(|(it, ..)| it.node().clone()));
        self.record.upgrade(&line, began, node.map_err(drop));
        let Some((connection, unique_ids, session)) = reached? else {
            Counters::count(&self.context.counters.failed_upgrades);
            // Whatever is wrong, the user's next login passes and finds out.
            self.context.registry.forget_snapshot(means.candidate.key).await;
            return Ok(None);
        };
        Counters::count(&self.context.counters.upgrades);
        self.context.counters.kinds.upgraded(&line);
        self.record.upgraded = true;
        self.record.outcome = "authenticated";
        self.record.node = Some(connection.node().clone());
        let relay =
            Relay::translated(maildrop.clone(), unique_ids.rows()).one_by_one(!connection.takes_pipelines());
        Ok(Some(Box::new(Relaying { connection, relay, session, first: Some(line) })))
    }

    async fn go_to_server(
        &mut self,
        means: &Means,
    ) -> Result<Option<(Connection, UniqueIds, ServerSession)>, LinkEnd> {
        let candidate = &means.candidate;
        let counters = self.context.counters.clone();
        let failed = |why| counters.kinds.upgrade_failed(why);
        let Some(end) = self.at_server(&candidate.credentials, means.route.as_deref()).await else {
            Counters::count(&self.context.counters.abandoned);
            return Err(LinkEnd::Closed);
        };
        match end {
            LoginEnd::Accepted { mut connection, .. } => {
                let Some(tag) = candidate.tag else { return Ok(None) };
                Counters::count(&self.context.counters.authenticated);
                let (registry, now_ms) = (&self.context.registry, self.context.clock.now_ms());
                let session = registry.begin_upgraded(candidate.key, tag, means.left_by, now_ms).await;
                let within = self.context.settings.login_timeout;
                match tokio::time::timeout(within, unique_ids(&mut connection)).await {
                    Ok(Ok(unique_ids)) => Ok(Some((connection, unique_ids, session))),
                    Ok(Err(_)) | Err(_) => {
                        failed(UpgradeFailure::Listing);
                        self.record.outcome = "unreachable";
                        Ok(None)
                    }
                }
            }
            LoginEnd::Rejected(rejection) => {
                failed(UpgradeFailure::Rejected);
                Counters::count(&self.context.counters.rejected);
                self.record.outcome = "rejected";
                if rejection.is_judgement()
                    && let Some(tag) = &candidate.tag
                {
                    self.context.registry.reject(&candidate.seen, candidate.key, tag).await;
                }
                Ok(None)
            }
            end @ (LoginEnd::Unreachable { .. } | LoginEnd::Full | LoginEnd::Impossible) => {
                if let LoginEnd::Full = end {
                    failed(UpgradeFailure::PoolFull);
                    Counters::count(&self.context.counters.pool_full);
                } else {
                    failed(UpgradeFailure::Unreachable);
                }
                Counters::count(&self.context.counters.unreachable);
                self.record.outcome = "unreachable";
                Ok(None)
            }
        }
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
