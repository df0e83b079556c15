//! A posed session that goes on at the mail server, because the client asked for what only it
//! has. The numbers that the client was shown stay valid.

use super::Session;
use super::context::Counters;
use super::link::LinkEnd;
use super::pose::Means;
use super::relay::Relaying;
use crate::maildrop::Session as ServerSession;
use crate::pool::{Connection, LoginEnd};
use crate::pop3::relay::{Relay, UniqueIds};
use crate::pop3::reply::status;

pub(super) enum Upgraded {
    /// The session goes on there.
    Done(Box<Relaying>),
    /// It stays posed.
    Failed(Box<Means>),
}

impl Session {
    /// Logs in with the login's own secret and goes on as a relay. The command that asked for
    /// it stands as the inbox's line.
    pub(super) async fn upgrade(&mut self, means: Box<Means>) -> Result<Upgraded, LinkEnd> {
        let line = self.link.inbox.line().to_vec();
        match self.go_to_server(&means).await? {
            Some((connection, unique_ids, session)) => {
                Counters::count(&self.context.counters.upgrades);
                self.record.upgraded = true;
                self.record.outcome = "authenticated";
                self.record.node = Some(connection.node().clone());
                let relay = Relay::translated(means.maildrop.clone(), unique_ids.rows());
                // The secret has done its work.
                drop(means);
                Ok(Upgraded::Done(Box::new(Relaying { connection, relay, session, first: Some(line) })))
            }
            None => {
                Counters::count(&self.context.counters.failed_upgrades);
                // Whatever is wrong, the user's next login passes and finds out.
                self.context.registry.forget_snapshot(means.candidate.key);
                Ok(Upgraded::Failed(means))
            }
        }
    }

    async fn go_to_server(
        &mut self,
        means: &Means,
    ) -> Result<Option<(Connection, UniqueIds, ServerSession)>, LinkEnd> {
        let candidate = &means.candidate;
        let route = self.context.registry.route(candidate.key);
        let Some(end) = self.at_server(&candidate.credentials, route.as_deref()).await else {
            return Err(LinkEnd::Closed);
        };
        match end {
            LoginEnd::Accepted { mut connection, .. } => {
                Counters::count(&self.context.counters.authenticated);
                let session = self.context.registry.begin(candidate.key, candidate.tag, route);
                let within = self.context.settings.login_timeout;
                match tokio::time::timeout(within, unique_ids(&mut connection)).await {
                    Ok(Ok(unique_ids)) => Ok(Some((connection, unique_ids, session))),
                    Ok(Err(_)) | Err(_) => {
                        self.record.outcome = "unreachable";
                        Ok(None)
                    }
                }
            }
            LoginEnd::Rejected(rejection) => {
                Counters::count(&self.context.counters.rejected);
                self.record.outcome = "rejected";
                if rejection.is_judgement() {
                    self.context.registry.reject(candidate.key, &candidate.tag);
                }
                Ok(None)
            }
            LoginEnd::Unreachable { .. } => {
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
