//! The registries of a site's proxies, whose content can be saved and restored.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::super::records::record_key;
use super::super::super::user::User;
use super::super::*;
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_store::clock::ManualClock;
use reprieve_store::{Namespace, StoreEpoch};

/// The time of all steps, in milliseconds since 1970: the order of events must not depend on clocks.
pub const NOW_MS: u64 = 1_000_000_000;
const MEMORY_LIMIT: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);
const SITE_SECRET: &[u8] = b"a secret of the site, long enough";

/// Signals with numbers of their own: so few that numbers are used again within a session.
pub const SIGNALS: u64 = 2;

/// Result of work that does not have to wait: the store is in memory.
pub fn ready<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a store in memory answers at once"),
    }
}

/// The proxies, which share a store unless the mode is `off`.
pub struct Site {
    pub share: Share,
    pub proxies: Vec<Registry>,
    pub user: UserKey,
    pub tag: Tag,
    store: Namespace,
    epoch: StoreEpoch,
    seal: Seal,
}

/// What all proxies and the store remember about the user.
#[derive(Clone)]
pub struct Content {
    /// In the memory of each proxy.
    pub here: Vec<Option<User>>,
    /// In the store.
    pub stored: Option<User>,
    /// The record as it is stored.
    pub sealed: Option<Vec<u8>>,
    pub epoch: u64,
}

impl Site {
    pub fn new(share: Share, proxies: u64) -> Self {
        let tagger = Tagger::keyed(SITE_SECRET);
        let user = tagger.user("mail", b"alice");
        let credentials = Credentials::new(b"alice", Secret::new(b"a"), Mechanism::UserPass);
        let tag = tagger.tag(user, &credentials);
        let store = Namespace::in_memory(MEMORY_LIMIT, ManualClock::new(NOW_MS));
        let epoch = StoreEpoch::fixed(1 << 32);
        let seal = || Seal::new(&tagger.sealing_key()).unwrap();
        let registry = |proxy: u64| {
            let local = Registry::new(MEMORY_LIMIT, DAY);
            if share == Share::Off {
                return Registry {
                    mode: Box::new(LocalOnly::counting_to(local.users.clone(), SIGNALS)),
                    ..local
                };
            }
            let keeps_snapshots = share == Share::TagsAndSnapshots;
            let records = Arc::new(Records::new(store.clone(), seal(), DAY, epoch.clone(), keeps_snapshots));
            let mode: Box<dyn Mode> = if keeps_snapshots {
                Box::new(SharedSnapshots::new(records, local.users.clone()))
            } else {
                Box::new(SharedTags::new(records, local.users.clone()))
            };
            Registry { mode, next_token: AtomicU64::new((proxy + 1) << 48), ..local }
        };
        let proxies = (0..proxies).map(registry).collect();
        Self { share, proxies, user, tag, seal: seal(), store, epoch }
    }

    pub fn save(&self) -> Content {
        let here = self.proxies.iter().map(|proxy| proxy.users.look(self.user, User::clone).found);
        let sealed = match self.share {
            Share::Off => None,
            Share::Tags | Share::TagsAndSnapshots => ready(self.store.get(&record_key(self.user))).unwrap(),
        };
        let epoch = self.epoch.get();
        let stored = sealed.as_ref().and_then(|sealed| self.seal.open(self.user, sealed, epoch));
        Content { here: here.collect(), stored, sealed, epoch }
    }

    pub fn restore(&self, content: &Content) {
        for (proxy, here) in self.proxies.iter().zip(&content.here) {
            match here {
                Some(here) => proxy.users.change(self.user, |user| user.clone_from(here)),
                None => _ = proxy.users.forget(self.user),
            }
        }
        self.epoch.set(content.epoch);
        self.restore_store(content.sealed.as_deref());
    }

    fn restore_store(&self, sealed: Option<&[u8]>) {
        if self.share == Share::Off {
            return;
        }
        let key = record_key(self.user);
        match sealed {
            Some(sealed) => ready(self.store.set(&key, sealed, None)).unwrap().unwrap(),
            None => _ = ready(self.store.delete(&key)).unwrap(),
        }
    }

    /// The store restarts with what it had saved, as another process.
    pub fn roll_back(&self, persisted: Option<&[u8]>, is_noticed: bool) {
        self.restore_store(persisted);
        self.epoch.set(self.epoch.get() + (u64::from(is_noticed) << 32));
    }

    /// Changes what is remembered, as only a faulty proxy would.
    pub fn tamper(&self, change: impl Fn(&mut User)) {
        for proxy in &self.proxies {
            proxy.users.update_existing(self.user, &change);
        }
        if let Some(mut stored) = self.save().stored {
            change(&mut stored);
            let sealed = self.seal.close(self.user, &stored, self.epoch.get());
            self.restore_store(sealed.as_deref());
        }
    }

    /// See [`Table::generation`](super::super::super::table::Table::generation).
    pub fn generation(&self, proxy: usize) -> u32 {
        self.proxies[proxy].users.look(self.user, |_| ()).generation
    }
}
