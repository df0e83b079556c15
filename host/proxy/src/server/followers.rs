//! The thread of the signals of new mail: follows the logs and journals in which deliveries to the pools'
//! maildrops are logged, and shares gaps in the signals with other proxies.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::new_mail::NewMail;
use crate::config::{Config, PoolConfig};
use crate::new_mail::{
    Deliveries, Gap, JournalFollower, LogFollower, LoggedDelivery, Missed, NotWritten, Source,
};

/// The state directory if systemd does not set `STATE_DIRECTORY`.
const STATE_DIRECTORY: &str = "/var/lib/reprieve";

/// The thread. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Followers {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Followers {
    /// Starts it; None if no pool has signals.
    pub(super) fn start(config: &Config, new_mail: &NewMail) -> std::io::Result<Option<Self>> {
        let pools = config.pools.iter().filter(has_source).cloned().collect::<Vec<_>>();
        if pools.is_empty() {
            return Ok(None);
        }
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("new-mail".to_owned()).spawn({
            let (stop, new_mail) = (stop.clone(), new_mail.clone());
            move || {
                runtime.block_on(async {
                    let mut followers = JoinSet::new();
                    for pool in pools {
                        follow(pool, &new_mail, &stop, &mut followers);
                    }
                    followers.join_all().await;
                });
            }
        })?;
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether the followers of two configurations are the same.
pub(super) fn are_same(one: &Config, other: &Config) -> bool {
    let logs = |config: &Config| {
        let pools = config.pools.iter().filter(has_source);
        pools.map(|pool| (pool.name.clone(), pool.new_mail.clone())).collect::<Vec<_>>()
    };
    logs(one) == logs(other)
}

fn has_source(pool: &&PoolConfig) -> bool {
    pool.new_mail.is_some()
}

fn follow(pool: PoolConfig, new_mail: &NewMail, stop: &CancellationToken, followers: &mut JoinSet<()>) {
    let Some(sources) = pool.new_mail else { return };
    let pool: Arc<str> = pool.name.into();
    let signals = |source| PoolDeliveries { new_mail: new_mail.clone(), pool: pool.clone(), source };
    followers.spawn({
        let (new_mail, pool, stop) = (new_mail.clone(), pool.clone(), stop.clone());
        async move {
            stop.run_until_cancelled(new_mail.share_gaps(&pool)).await;
        }
    });
    if let Some(log) = sources.log {
        let position = log.position.unwrap_or_else(|| default_position(&pool, Source::Log));
        let (follower, signals, stop) =
            (LogFollower::new(log.path, position), signals(Source::Log), stop.clone());
        followers.spawn(async move { follower.run(&signals, stop).await });
    }
    if let Some(journal) = sources.journal {
        let position = journal.position.unwrap_or_else(|| default_position(&pool, Source::Journal));
        let (follower, signals, stop) =
            (JournalFollower::new(journal.directory, position), signals(Source::Journal), stop.clone());
        followers.spawn(async move { follower.run(&signals, stop).await });
    }
}

/// The file in which the position in a log is remembered.
fn default_position(pool: &str, source: Source) -> PathBuf {
    let directory = std::env::var_os("STATE_DIRECTORY").map_or_else(|| STATE_DIRECTORY.into(), PathBuf::from);
    directory.join(format!("new-mail-{pool}-{}.position", source.name()))
}

/// The deliveries to a pool's maildrops.
#[derive(Debug)]
struct PoolDeliveries {
    new_mail: NewMail,
    pool: Arc<str>,
    source: Source,
}

impl Deliveries for PoolDeliveries {
    async fn delivered(&self, deliveries: &[LoggedDelivery]) -> Result<(), NotWritten> {
        for LoggedDelivery { users, at_ms } in deliveries {
            let users: Vec<_> = users.iter().map(|user| user.as_bytes().to_vec()).collect();
            let heard = self.new_mail.hear_delivered(&self.pool, &users, self.source, *at_ms);
            if heard.await.is_err() {
                // The store logs its outage.
                return Err(NotWritten);
            }
        }
        Ok(())
    }

    fn missed(&self, gap: Gap) {
        let (pool, source) = (&*self.pool, self.source.name());
        let why = match gap {
            // Whoever writes the log could fill Reprieve's with them.
            Gap::LineTooLong | Gap::Malformed(_) => Missed::Malformed,
            // The follower logs the error, and tries again often.
            Gap::Unreadable => Missed::Gap,
            Gap::NoPosition => {
                tracing::info!(pool, source, "begins at the end of the log: {gap}");
                Missed::Gap
            }
            Gap::RotatedAway | Gap::Truncated | Gap::Vacuumed => {
                tracing::warn!(pool, source, "signals of new mail may be missing: {gap}");
                Missed::Gap
            }
        };
        self.new_mail.missed(Some(&self.pool), self.source, why);
    }
}
