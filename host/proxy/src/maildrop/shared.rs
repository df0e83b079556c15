//! What is remembered of users where several proxies, or one after another, are to know it: a
//! record for each in the store. What the store says counts, and nothing else: a proxy that
//! cannot reach it knows nobody, and lets everybody through.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::record::Seal;
use super::tag::UserKey;
use super::user::{NoSnapshot, User};
use reprieve_store::{Namespace, Refused, Unavailable};

/// How often a change is tried where others change the same user at the same time.
const TRIES: usize = 16;
/// How long a session whose user is new may take until it sees the maildrop.
const RESERVED_FOR: Duration = Duration::from_secs(600);
/// How often it is tried to forget users whose sessions the store has not seen.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the log is left in peace after it was told that there is no more room.
const QUIET: Duration = Duration::from_secs(600);
/// Such users, at most. Beyond, all that is shared is forgotten.
const MOST_OWED: usize = 1_000_000;

/// Records in a store.
#[derive(Debug)]
pub(super) struct Shared {
    namespace: Namespace,
    seal: Seal,
    /// How long a record is of use.
    trust: Duration,
    /// Of the store: see [`Seal::open`].
    crashes: u64,
    /// Whether snapshots are in it, or only tags and who has seen a maildrop last.
    pub with_snapshots: bool,
    owed: Mutex<Owed>,
    owed_count: AtomicUsize,
    paying: AtomicBool,
    /// When the log was told that there is no more room.
    told_full: Mutex<Option<Instant>>,
}

/// Users whose sessions the store has not seen, and when they came to be so: one may come again
/// while he is paid for.
#[derive(Debug, Default)]
struct Owed {
    users: HashMap<UserKey, u64>,
    last: u64,
}

/// What the store has of a user.
#[derive(Debug)]
pub(super) struct Looked {
    /// None where there is nothing, or nothing that counts.
    pub user: Option<Box<User>>,
    /// As it is written.
    pub sealed: Option<Vec<u8>>,
}

impl Shared {
    pub fn new(
        namespace: Namespace,
        seal: Seal,
        trust: Duration,
        crashes: u64,
        with_snapshots: bool,
    ) -> Self {
        Self {
            namespace,
            seal,
            trust,
            crashes,
            with_snapshots,
            owed: Mutex::default(),
            owed_count: AtomicUsize::new(0),
            paying: AtomicBool::new(false),
            told_full: Mutex::default(),
        }
    }

    /// What is known of a user; nothing where the store cannot be reached.
    pub async fn look(&self, user: UserKey) -> Option<Looked> {
        if self.is_owed(user) {
            return None;
        }
        let sealed = self.namespace.get(&name(user)).await.ok()?;
        let opened = sealed.as_ref().and_then(|sealed| self.seal.open(user, sealed, self.crashes));
        Some(Looked { user: opened.map(Box::new), sealed })
    }

    /// Makes a record of a user of whom there is none: for a while, because nobody has accepted
    /// them yet. What there is then; nothing if the store cannot be reached or has no room.
    pub async fn reserve(&self, user: UserKey, token: u64) -> Option<Looked> {
        if self.is_owed(user) {
            return None;
        }
        let record = User { latest: token, ..User::default() };
        let sealed = self.seal.close(user, &record, self.crashes)?;
        match self.namespace.add(&name(user), &sealed, Some(RESERVED_FOR)).await {
            Ok(Ok(true)) => Some(Looked { user: Some(Box::new(record)), sealed: Some(sealed) }),
            // Another session was faster.
            Ok(Ok(false)) => self.look(user).await,
            _ => None,
        }
    }

    /// Changes a user; returns what came of it, and the record as it is written now. `last`:
    /// what the store had when it was last looked at, if it was: that saves asking again. None
    /// where the store cannot be reached or has no room: then he is forgotten as soon as it
    /// can be, because what it has of him is not so any more.
    pub async fn change<T>(
        self: &Arc<Self>,
        user: UserKey,
        last: Option<Option<&[u8]>>,
        change: impl Fn(&mut User) -> T,
    ) -> Option<(T, Box<[u8]>)> {
        match self.try_change(user, last, change).await {
            Ok(changed) => Some(changed),
            Err(_) => {
                self.owe(user);
                None
            }
        }
    }

    async fn try_change<T>(
        &self,
        user: UserKey,
        mut last: Option<Option<&[u8]>>,
        change: impl Fn(&mut User) -> T,
    ) -> Result<(T, Box<[u8]>), Unavailable> {
        if self.is_owed(user) {
            self.pay(user).await?;
            last = None;
        }
        let key = name(user);
        for _ in 0..TRIES {
            let before = match last.take() {
                Some(last) => last.map(<[u8]>::to_vec),
                None => self.namespace.get(&key).await?,
            };
            let opened = before.as_ref().and_then(|sealed| self.seal.open(user, sealed, self.crashes));
            let mut record = opened.unwrap_or_default();
            let result = change(&mut record);
            if !self.with_snapshots {
                record.snapshot = None;
            }
            let failed = || Unavailable("no randomness".to_owned());
            let mut after = self.seal.close(user, &record, self.crashes).ok_or_else(failed)?;
            for _ in 0..2 {
                let written = match &before {
                    None => self.namespace.add(&key, &after, Some(self.trust)).await?,
                    Some(before) => {
                        self.namespace.compare_and_set(&key, before, &after, Some(self.trust)).await?
                    }
                };
                match written {
                    Ok(true) => return Ok((result, after.into_boxed_slice())),
                    Ok(false) => break,
                    // The rest of a record that is too long still says whose secret is known.
                    Err(refused) if record.snapshot.take().is_some() => {
                        record.no_snapshot = match refused {
                            Refused::Quota => NoSnapshot::NoRoom,
                            Refused::TooLong | Refused::NotANumber => NoSnapshot::TooLarge,
                        };
                        self.tell_full(refused);
                        after = self.seal.close(user, &record, self.crashes).ok_or_else(failed)?;
                    }
                    Err(refused) => {
                        self.tell_full(refused);
                        return Err(Unavailable(refused.to_string()));
                    }
                }
            }
        }
        Err(Unavailable("others change the same user again and again".to_owned()))
    }

    /// Has the log know where there is no more room: then and again, not for each user.
    fn tell_full(&self, refused: Refused) {
        let mut told = self.told_full.lock();
        if refused == Refused::Quota && told.is_none_or(|told| told.elapsed() >= QUIET) {
            *told = Some(Instant::now());
            tracing::warn!(
                "what is known of users takes all of `maildrop.memory` in the store: those that are new there pass until others' time is over"
            );
        }
    }

    /// Forgets a user.
    pub async fn forget(&self, user: UserKey) -> Result<bool, Unavailable> {
        self.namespace.delete(&name(user)).await
    }

    /// Has a user forgotten as soon as the store can be reached; until then nothing that it
    /// says of him counts here.
    pub fn owe(self: &Arc<Self>, user: UserKey) {
        {
            let mut owed = self.owed.lock();
            owed.last += 1;
            let now = owed.last;
            if owed.users.len() < MOST_OWED || owed.users.contains_key(&user) {
                owed.users.insert(user, now);
            }
            self.owed_count.store(owed.users.len(), Ordering::Release);
        }
        if self.paying.swap(true, Ordering::AcqRel) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.paying.store(false, Ordering::Release);
            return;
        };
        let shared = self.clone();
        runtime.spawn(async move {
            loop {
                let some: Vec<_> = shared.owed.lock().users.keys().take(1000).copied().collect();
                if some.is_empty() {
                    shared.paying.store(false, Ordering::Release);
                    // Somebody may have come in between.
                    let again = !shared.owed.lock().users.is_empty();
                    if !again || shared.paying.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
                let full = shared.owed_count.load(Ordering::Acquire) >= MOST_OWED;
                if full && shared.namespace.clear().await.is_ok() {
                    shared.owed.lock().users.clear();
                    shared.owed_count.store(0, Ordering::Release);
                    continue;
                }
                for user in some {
                    if shared.pay(user).await.is_err() {
                        tokio::time::sleep(AGAIN).await;
                        break;
                    }
                }
            }
        });
    }

    async fn pay(&self, user: UserKey) -> Result<(), Unavailable> {
        let since = self.owed.lock().users.get(&user).copied();
        self.forget(user).await?;
        let mut owed = self.owed.lock();
        if owed.users.get(&user).copied() == since {
            owed.users.remove(&user);
        }
        self.owed_count.store(owed.users.len(), Ordering::Release);
        Ok(())
    }

    fn is_owed(&self, user: UserKey) -> bool {
        let count = self.owed_count.load(Ordering::Acquire);
        count > 0 && (count >= MOST_OWED || self.owed.lock().users.contains_key(&user))
    }
}

/// Under which key a user's record is: nothing of his name is in it.
fn name(user: UserKey) -> String {
    let number = user.0.iter().rev().fold(0, |number, &octet| number << 8 | u128::from(octet));
    format!("{number:024x}")
}
