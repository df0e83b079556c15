//! Applies signals of new mail to the users of a running server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::Core;
use crate::config::Config;
use crate::maildrop::{Registry, Tagger, UserKey};
use crate::new_mail::{Missed, Source};
use crate::pool::Pool;
use reprieve_store::Unavailable;

/// Maximum number of signals that wait for a pool's `settle`.
const MAX_SETTLING: usize = 100_000;

/// How often a proxy looks whether another one has missed signals.
const GAP_CHECK: Duration = Duration::from_secs(1);

/// How long gaps are collected before they are written.
const GAP_PAUSE: Duration = Duration::from_millis(100);

/// What became of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Users who have new mail, and are remembered.
    pub(crate) remembered: u64,
    /// Users who are not remembered, so that their next login passes anyway.
    pub(crate) unknown: u64,
}

/// Why signals were not noted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHeard {
    /// There is no such pool.
    #[error("there is no pool of this name; the pools with signals of new mail are {}", known.join(", "))]
    UnknownPool {
        /// The pools that expect signals.
        known: Vec<String>,
    },
    /// No pool expects signals this way.
    #[error("no pool has `notifications` in its `new-mail`")]
    NoSource,
    /// The store could not be reached.
    #[error("the signals could not be written: {0}")]
    Unavailable(String),
}

/// Applies signals to the users of a server; may outlive it.
#[derive(Clone, Debug)]
pub(crate) struct NewMail {
    core: Arc<Core>,
}

/// Whether signals lead to the same users in two configurations.
pub(super) fn has_same_names(one: &Config, other: &Config) -> bool {
    let names = |config: &Config| {
        let servers = config.virtual_servers.iter();
        let servers: Vec<_> =
            servers.map(|server| (server.pool.clone(), server.name_spelling.clone())).collect();
        let pools = config.pools.iter().map(|pool| (pool.name.clone(), pool.new_mail.clone()));
        (servers, pools.collect::<Vec<_>>())
    };
    names(one) == names(other)
}

/// A user as a registry knows them.
type Known = (Arc<Registry>, UserKey);

impl NewMail {
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Notes that users have new mail; the result is there after all writes. `pool`: the one of the
    /// mail server that has the mail; None for all that have the source. `users`: as the mail server
    /// names them.
    ///
    /// # Errors
    /// If there is no such pool, or not all signals could be written.
    pub(crate) async fn hear(
        &self,
        pool: Option<&str>,
        users: &[Vec<u8>],
        source: Source,
    ) -> Result<Applied, NotHeard> {
        let mut applied = Applied::default();
        for pool in self.pools(pool, source)? {
            let result = self.hear_at(&pool, users, self.core.clock.now_ms()).await;
            let remembered = result.as_ref().map_or(0, |remembered| *remembered);
            pool.signals().applied(source, users.len() as u64, remembered);
            applied.remembered += remembered;
            applied.unknown += (users.len() as u64).saturating_sub(remembered);
            if let Err(Unavailable(why)) = result {
                pool.signals().missed(Missed::Unavailable, self.core.clock.now_ms());
                return Err(NotHeard::Unavailable(why));
            }
        }
        // The other process may have got the stores before these writes.
        if self.core.handed_over.load(Ordering::SeqCst) {
            return Err(NotHeard::Unavailable("another process is taking over".to_owned()));
        }
        Ok(applied)
    }

    /// Notes a delivery that was read in a log, perhaps long after it. `delivered_ms`: in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`hear`](Self::hear).
    pub(crate) async fn hear_delivered(
        &self,
        pool: &str,
        users: &[Vec<u8>],
        source: Source,
        delivered_ms: u64,
    ) -> Result<(), NotHeard> {
        for pool in self.pools(Some(pool), source)? {
            match self.hear_at(&pool, users, delivered_ms).await {
                Ok(remembered) => pool.signals().applied(source, 1, remembered.min(1)),
                Err(Unavailable(why)) => {
                    pool.signals().missed(Missed::Unavailable, self.core.clock.now_ms());
                    return Err(NotHeard::Unavailable(why));
                }
            }
        }
        Ok(())
    }

    /// The process that was taken over from has closed its sources, perhaps with signals in them that
    /// nobody reads.
    pub(crate) fn take_over(&self) {
        self.begin(Source::Http);
    }

    /// A source is open from now on: earlier signals may have been missed.
    pub(crate) fn begin(&self, source: Source) {
        for pool in self.pools(None, source).unwrap_or_default() {
            pool.signals().begin(self.core.clock.now_ms());
        }
    }

    /// Signals may have been missed until now.
    pub(crate) fn missed(&self, pool: Option<&str>, source: Source, why: Missed) {
        for pool in self.pools(pool, source).unwrap_or_default() {
            pool.signals().missed(why, self.core.clock.now_ms());
        }
    }

    fn pools(&self, name: Option<&str>, source: Source) -> Result<Vec<Arc<Pool>>, NotHeard> {
        let active = self.core.active.load();
        let has_source = |pool: &&Arc<Pool>| {
            pool.config().new_mail.as_ref().is_some_and(|new_mail| match source {
                Source::Http | Source::Control | Source::Socket => new_mail.notifications.is_some(),
                Source::Log => new_mail.log.is_some(),
                Source::Journal => new_mail.journal.is_some(),
            })
        };
        let mut pools: Vec<_> = active.pools.values().filter(has_source).cloned().collect();
        if pools.is_empty() {
            return Err(NotHeard::NoSource);
        }
        if let Some(name) = name {
            let known = pools.iter().map(|pool| pool.name().to_owned()).collect();
            pools.retain(|pool| pool.name() == name);
            if pools.is_empty() {
                return Err(NotHeard::UnknownPool { known });
            }
        }
        Ok(pools)
    }

    /// Shares the gaps in a pool's signals with the proxies that share its users, from the start of this
    /// process on. Ends only if nobody shares them.
    pub(super) async fn share_gaps(&self, pool: &str) {
        let Some(signals) = self.core.active.load().pools.get(pool).map(|pool| pool.signals().clone()) else {
            return;
        };
        loop {
            let stores = self.stores_of(pool);
            if stores.is_empty() {
                return;
            }
            let now_ms = self.core.clock.now_ms();
            for (registry, tagger) in &stores {
                registry.note_gap(tagger.pool(pool), now_ms).await;
            }
            let others = async {
                loop {
                    tokio::time::sleep(GAP_CHECK).await;
                    for (registry, tagger) in &stores {
                        if let Some(gap_ms) = registry.last_gap(tagger.pool(pool)).await {
                            signals.start(gap_ms);
                        }
                    }
                }
            };
            tokio::select! {
                // Many signals may be dropped at once.
                () = async { signals.next_gap().await; tokio::time::sleep(GAP_PAUSE).await } => {}
                () = others => {}
            }
        }
    }

    /// The shared users of the virtual servers that lead to a pool.
    fn stores_of(&self, pool: &str) -> Vec<(Arc<Registry>, Arc<Tagger>)> {
        let active = self.core.active.load();
        let servers = active.servers.iter().map(|served| &served.shared);
        let of_pool = servers.filter(|server| server.settings.pool == pool);
        let mut stores: Vec<(Arc<Registry>, Arc<Tagger>)> = Vec::new();
        for store in of_pool.map(|server| &server.store).filter(|store| store.registry.is_shared()) {
            if !stores.iter().any(|(known, _)| Arc::ptr_eq(known, &store.registry)) {
                stores.push((store.registry.clone(), store.tagger.clone()));
            }
        }
        stores
    }

    /// Returns how many of the users are remembered.
    async fn hear_at(&self, pool: &Pool, users: &[Vec<u8>], delivered_ms: u64) -> Result<u64, Unavailable> {
        let settle = pool.config().new_mail.as_ref().map_or(Duration::ZERO, |new_mail| new_mail.settle);
        let mut remembered = 0;
        let mut settling = Vec::new();
        for name in users {
            let mut is_remembered = false;
            for (registry, user) in self.known_as(pool, name).await? {
                if registry.hear(user, self.core.clock.now_ms(), delivered_ms).await? {
                    is_remembered = true;
                    settling.push((registry, user));
                }
            }
            remembered += u64::from(is_remembered);
        }
        if !settle.is_zero() && !settling.is_empty() {
            self.hear_again(pool, settling, settle);
        }
        Ok(remembered)
    }

    /// A session that looks before the message is visible does not satisfy its signal, so the signal is
    /// repeated.
    fn hear_again(&self, pool: &Pool, users: Vec<Known>, settle: Duration) {
        let (signals, clock) = (pool.signals().clone(), self.core.clock.clone());
        let Some(settling) = signals.begin_settling(users.len(), MAX_SETTLING) else {
            signals.missed(Missed::Overflow, clock.now_ms());
            return;
        };
        tokio::spawn(async move {
            tokio::time::sleep(settle).await;
            for (registry, user) in users {
                if registry.hear(user, clock.now_ms(), clock.now_ms()).await.is_err() {
                    signals.missed(Missed::Unavailable, clock.now_ms());
                }
            }
            drop(settling);
        });
    }

    /// Under which keys a user of a pool may be remembered: that of each virtual server that leads to
    /// the pool, and those that sessions with other names have had there.
    async fn known_as(&self, pool: &Pool, name: &[u8]) -> Result<Vec<Known>, Unavailable> {
        let servers: Vec<_> =
            self.core.active.load().servers.iter().map(|served| served.shared.clone()).collect();
        let mut known: Vec<Known> = Vec::new();
        let mut learned: Vec<(Arc<Registry>, UserKey)> = Vec::new();
        let add = |to: &mut Vec<Known>, registry: &Arc<Registry>, key| {
            if !to.iter().any(|(of, known)| *known == key && Arc::ptr_eq(of, registry)) {
                to.push((registry.clone(), key));
            }
        };
        for user in pool.users_of(name) {
            for server in &servers {
                let (registry, tagger): (_, &Tagger) = (&server.store.registry, &server.store.tagger);
                let user = server.settings.name_spelling.canonical(&user);
                if server.settings.pool == pool.name() {
                    add(&mut known, registry, tagger.user(pool.name(), &user));
                }
                add(&mut learned, registry, tagger.mailbox(pool.name(), &user));
            }
        }
        for (registry, mailbox) in learned {
            for user in registry.users_of(mailbox).await? {
                add(&mut known, &registry, user);
            }
        }
        Ok(known)
    }
}
