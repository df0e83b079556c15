//! The end of a relayed session whose client did not say QUIT: it leaves a snapshot all the
//! same, because nothing was deleted.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Access, Pump, Waiting};
use crate::maildrop::NoSnapshot;
use reprieve_pop3::listing::Unknowable;
use reprieve_pop3::relay::Event;
use reprieve_pop3::snapshot::Snapshot;

/// The longest time for completing the listing of a client that is gone.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const READ: usize = 16 << 10;
/// Bytes of messages that are read although nobody wants them any more, to get to the listing
/// behind them.
const MOST_SKIPPED: usize = 1 << 20;

impl Pump<'_> {
    /// Completes and commits the listing of a session whose client is gone without QUIT, or is
    /// about to be sent away: scripts that hang up poll most.
    pub(super) async fn wind_up(&mut self) {
        let within = self.connection.reply_timeout().min(WITHIN);
        if let Ok(Some(leaves)) = tokio::time::timeout(within, self.complete()).await
            && let Some(committing) = self.commit(leaves.map_err(NoSnapshot::from), false)
        {
            self.waiting = Waiting::Committing(committing);
        }
    }

    /// What the session leaves. None if the client has sent QUIT before it went: then that is
    /// committed with the mail server's answer.
    async fn complete(&mut self) -> Option<Result<Snapshot, Unknowable>> {
        let mut buffer = vec![0; READ];
        let mut unread = std::mem::take(&mut self.unread);
        self.await_beginning().await;
        let mut skipped = 0;
        loop {
            let mut rest = &unread[..];
            while !rest.is_empty() {
                let Ok(fed) = self.relay.reply(rest, &mut self.to_server.octets) else {
                    return Some(Err(Unknowable::Malformed));
                };
                rest = &rest[fed.used..];
                match fed.event {
                    Some(Event::Opened) => {
                        self.begin();
                        self.await_beginning().await;
                    }
                    Some(Event::Quit { leaves, deleted }) => {
                        self.quit(leaves, deleted);
                        return None;
                    }
                    None => {}
                }
            }
            if let Some(leaves) = self.relay.wind_up(&mut self.to_server.octets) {
                return Some(leaves);
            }
            let outbox = std::mem::take(&mut self.to_server);
            let stream = self.connection.stream();
            let read = async {
                stream.write_all(&outbox.octets[outbox.written..]).await?;
                stream.flush().await?;
                stream.read(&mut buffer).await
            };
            match read.await {
                Ok(count) if count > 0 && skipped <= MOST_SKIPPED => {
                    skipped += if self.relay.is_in_message() { count } else { 0 };
                    unread = buffer[..count].to_vec();
                }
                _ => return Some(Err(Unknowable::Incomplete)),
            }
        }
    }

    async fn await_beginning(&mut self) {
        if let Waiting::Beginning(beginning) = std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            self.access = Access::Begun(beginning.await);
        }
    }
}
