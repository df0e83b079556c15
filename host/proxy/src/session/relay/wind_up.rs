//! The end of a relayed session without QUIT: nothing was deleted, so it leaves a snapshot as well.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{MaildropAccess, Pump, Waiting};
use crate::maildrop::NoSnapshot;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_pop3::listing::SnapshotError;
use reprieve_pop3::relay::RelayEvent;
use reprieve_pop3::snapshot::Snapshot;

/// Time limit for completing the listing after the client has gone.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes per read.
const READ: usize = 16 << 10;
/// Bytes of unwanted messages that are read to get to the listing behind them.
const MOST_SKIPPED: usize = 1 << 20;

impl Pump<'_> {
    /// Completes and commits the listing of a session that ends without QUIT. Scripts that hang up
    /// are the most frequent pollers.
    pub(super) async fn wind_up(&mut self) {
        #[cfg(test)]
        if planted(Fault::OpenSessionLeaked) {
            std::mem::forget(self.open.take());
        }
        #[cfg(test)]
        if planted(Fault::QuitAfterHangUp) {
            let mut replies = Vec::new();
            self.relay.command(b"QUIT", self.capabilities, &mut self.to_server.bytes, &mut replies);
        }
        let within = self.connection.reply_timeout().min(WITHIN);
        if let Ok(Some(snapshot)) = crate::time::timeout(within, self.complete()).await
            && let Some(committing) = self.commit(snapshot.map_err(NoSnapshot::from), false)
        {
            self.waiting = Waiting::Committing(committing);
        }
    }

    /// The snapshot that the session leaves. None if the client has sent QUIT: then the answer to it
    /// commits the snapshot.
    async fn complete(&mut self) -> Option<Result<Snapshot, SnapshotError>> {
        let mut buffer = vec![0; READ];
        let mut unread = std::mem::take(&mut self.unread);
        self.await_beginning().await;
        let mut skipped = 0;
        loop {
            let mut rest = &unread[..];
            while !rest.is_empty() {
                let Ok(progress) = self.relay.reply(rest, &mut self.to_server.bytes) else {
                    return Some(Err(SnapshotError::Malformed));
                };
                rest = &rest[progress.consumed..];
                match progress.event {
                    Some(RelayEvent::Opened) => {
                        self.begin();
                        self.await_beginning().await;
                    }
                    Some(RelayEvent::Quit { snapshot, has_deletions }) => {
                        self.quit(snapshot, has_deletions);
                        return None;
                    }
                    None => {}
                }
            }
            if let Some(snapshot) = self.relay.wind_up(&mut self.to_server.bytes) {
                return Some(snapshot);
            }
            let outbox = std::mem::take(&mut self.to_server);
            let stream = self.connection.stream();
            let read = async {
                stream.write_all(&outbox.bytes[outbox.written..]).await?;
                stream.flush().await?;
                stream.read(&mut buffer).await
            };
            match read.await {
                Ok(count) if count > 0 && skipped <= MOST_SKIPPED => {
                    skipped += if self.relay.is_in_message() { count } else { 0 };
                    unread = buffer[..count].to_vec();
                }
                _ => return Some(Err(SnapshotError::Incomplete)),
            }
        }
    }

    async fn await_beginning(&mut self) {
        if let Waiting::Beginning(beginning) = std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            self.access = MaildropAccess::Begun(Box::new(beginning.await));
        }
    }
}
