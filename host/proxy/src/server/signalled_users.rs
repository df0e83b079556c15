//! The users that a signal of new mail means, and what is done for them.

use std::sync::Arc;
use std::time::Duration;

use crate::maildrop::{Registry, Tagger, UserKey};
use crate::new_mail::{Missed, PoolSignals};
use crate::pool::Pool;
use crate::session::Settings;
use reprieve_store::Unavailable;
use reprieve_store::clock::Clock;

/// Maximum number of signals that wait for a pool's `settle`.
const MAX_SETTLING: usize = 100_000;
/// How often a proxy looks whether another one has missed signals.
const GAP_CHECK: Duration = Duration::from_secs(1);
/// How long gaps are collected before they are written.
const GAP_PAUSE: Duration = Duration::from_millis(100);

/// A user as a registry knows them.
type Known = (Arc<Registry>, UserKey);

/// Users that several proxies share, and how their keys are made.
pub(crate) type SharedUsers = (Arc<Registry>, Arc<Tagger>);

/// The users of a virtual server.
#[derive(Clone, Debug)]
pub(crate) struct ServedUsers {
    pub(crate) settings: Arc<Settings>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tagger: Arc<Tagger>,
}

/// The users of all virtual servers.
#[derive(Clone, Debug)]
pub(crate) struct SignalledUsers {
    pub(crate) served: Vec<ServedUsers>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SignalledUsers {
    /// Notes that users of a pool have new mail; the result is there after all writes. Returns how many
    /// of them are remembered. `users`: as the mail server names them.
    ///
    /// # Errors
    /// If not all signals could be written.
    pub(crate) async fn hear(
        &self,
        pool: &Pool,
        users: &[Vec<u8>],
        delivered_ms: u64,
    ) -> Result<u64, Unavailable> {
        let settle = pool.config().new_mail.as_ref().map_or(Duration::ZERO, |new_mail| new_mail.settle);
        let mut remembered = 0;
        let mut settling = Vec::new();
        for name in users {
            let mut is_remembered = false;
            for (registry, user) in self.known_as(pool, name).await? {
                if registry.hear(user, self.clock.now_ms(), delivered_ms).await? {
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
        let (signals, clock) = (pool.signals().clone(), self.clock.clone());
        let Some(settling) = signals.begin_settling(users.len(), MAX_SETTLING) else {
            signals.missed(Missed::Overflow, clock.now_ms());
            return;
        };
        tokio::spawn(async move {
            crate::time::sleep(settle).await;
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
        let mut known: Vec<Known> = Vec::new();
        let mut learned: Vec<(Arc<Registry>, UserKey)> = Vec::new();
        let add = |to: &mut Vec<Known>, registry: &Arc<Registry>, key| {
            if !to.iter().any(|(of, known)| *known == key && Arc::ptr_eq(of, registry)) {
                to.push((registry.clone(), key));
            }
        };
        for user in pool.users_of(name) {
            for server in &self.served {
                let ServedUsers { registry, tagger, .. } = server;
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

/// Shares the gaps in a pool's signals with the proxies that share its users, from now on. `stores`: the
/// shared users of the virtual servers that lead to the pool. Ends only if there are none.
pub(crate) async fn share_gaps(
    pool: &str,
    signals: &PoolSignals,
    clock: &Arc<dyn Clock>,
    stores: impl Fn() -> Vec<SharedUsers>,
) {
    loop {
        let stores = stores();
        if stores.is_empty() {
            return;
        }
        let now_ms = clock.now_ms();
        let mut is_noted = true;
        for (registry, tagger) in &stores {
            is_noted &= registry.note_gap(tagger.pool(pool), now_ms).await.is_ok();
        }
        let again = async {
            // The signals that a proxy misses because it cannot reach the store are such a gap.
            if is_noted { std::future::pending().await } else { crate::time::sleep(GAP_CHECK).await }
        };
        let others = async {
            loop {
                crate::time::sleep(GAP_CHECK).await;
                for (registry, tagger) in &stores {
                    if let Some(gap_ms) = registry.last_gap(tagger.pool(pool)).await {
                        signals.start(gap_ms);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            // Many signals may be dropped at once.
            () = async { signals.next_gap().await; crate::time::sleep(GAP_PAUSE).await } => {}
            () = again => {}
            () = others => {}
        }
    }
}
