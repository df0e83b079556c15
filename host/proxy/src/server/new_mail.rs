//! Applies signals of new mail to the users of a running server.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::signalled_users::{ServedUsers, SharedUsers, SignalledUsers, share_gaps};
use crate::config::Config;
use crate::new_mail::{Missed, Source};
use crate::pool::Pool;
use reprieve_store::Unavailable;

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
            let result = self.users().hear(&pool, users, self.core.clock.now_ms()).await;
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
            match self.users().hear(&pool, users, delivered_ms).await {
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
        share_gaps(pool, &signals, &self.core.clock, || self.stores_of(pool)).await;
    }

    /// The users of the virtual servers, as they are configured now.
    fn users(&self) -> SignalledUsers {
        let active = self.core.active.load();
        let served = active.servers.iter().map(|served| ServedUsers {
            settings: served.shared.settings.clone(),
            registry: served.shared.store.registry.clone(),
            tagger: served.shared.store.tagger.clone(),
        });
        SignalledUsers { served: served.collect(), clock: self.core.clock.clone() }
    }

    /// The shared users of the virtual servers that lead to a pool.
    fn stores_of(&self, pool: &str) -> Vec<SharedUsers> {
        let active = self.core.active.load();
        let servers = active.servers.iter().map(|served| &served.shared);
        let of_pool = servers.filter(|server| server.settings.pool == pool);
        let mut stores: Vec<SharedUsers> = Vec::new();
        for store in of_pool.map(|server| &server.store).filter(|store| store.registry.is_shared()) {
            if !stores.iter().any(|(known, _)| Arc::ptr_eq(known, &store.registry)) {
                stores.push((store.registry.clone(), store.tagger.clone()));
            }
        }
        stores
    }
}
