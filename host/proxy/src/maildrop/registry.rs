//! Who has proved to be which user, and what their clients have seen: in this process, and if
//! so configured in a store that other proxies use too.
//!
//! Sessions follow the order of DESIGN's steps Look, Begin and Commit, because a mail server
//! may say +OK long before or after it fixes what a session sees of the maildrop (Dovecot says
//! it before it opens the INBOX). A login is looked up before its credentials are sent, and
//! begins when the first reply that shows the maildrop has arrived. If nobody else has begun
//! in between, its listing is newer than every listing that a client was shown before.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::local::{Local, Remembered};
use super::record::Seal;
use super::shared::{Looked, Shared};
use super::tag::{Tag, Tagger, UserKey};
use super::user::{Leaves, Left, NoSnapshot, Route, Session, Standing, User};
use reprieve_pop3::snapshot::Snapshot;
use reprieve_store::Share;
use reprieve_store::{Store, NamespaceConfig, Unavailable};

/// The longest record of a user in a store, in bytes: some hundred thousand messages.
const RECORD_LIMIT: usize = 1 << 20;
/// The namespace of users' records.
const NAMESPACE: &str = "maildrop";

/// Something that takes its time.
pub type Takes<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A write that the client has to wait for.
pub type Commit = Takes<()>;

/// Tags and snapshots of all users of a store.
#[derive(Debug)]
pub struct Registry {
    local: Arc<Local>,
    shared: Option<Arc<Shared>>,
    trust_s: u64,
    tokens: AtomicU64,
}

/// What was known of a user before their credentials were sent to the mail server.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of the presented secret.
    pub standing: Standing,
    /// Logins that the mail server has rejected since it accepted one.
    pub rejections: u8,
    /// [`User::latest`]; None if it is not known.
    latest: Option<u64>,
    /// Of the user's part of the memory: see [`Local::generation`].
    generation: u32,
    shared: Option<Box<Looked>>,
}

impl Seen {
    fn user(&self) -> Option<&User> {
        self.shared.as_ref()?.user.as_deref()
    }
}

/// A login that the mail server has accepted, and that has not been shown the maildrop yet.
#[derive(Debug)]
pub struct Opening {
    /// Who it is.
    pub user: UserKey,
    /// Of the secret; None if only the mail server has seen it.
    pub tag: Option<Tag>,
    /// Where the session went.
    pub route: Option<Arc<Route>>,
    /// When the mail server accepted it, in milliseconds since 1970.
    pub accepted_ms: u64,
    /// What was known before that.
    pub seen: Seen,
}

/// What comes of a beginning: at once, or from a store.
pub enum Begun {
    /// The session.
    Now(Session),
    /// It takes its time.
    Later(Takes<Session>),
}

impl Registry {
    /// One for this process alone. `memory_limit`: bytes that everything together may take.
    /// `trust`: how long a secret is known after the mail server has accepted it.
    #[must_use]
    pub fn new(memory_limit: u64, trust: Duration) -> Self {
        Self {
            local: Arc::new(Local::new(memory_limit)),
            shared: None,
            trust_s: trust.as_secs(),
            tokens: AtomicU64::new(1),
        }
    }

    /// One that others share by a store. `memory_limit` holds for the store, too.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn shared(
        memory_limit: u64,
        trust: Duration,
        store: &Store,
        tagger: &Tagger,
        share: Share,
    ) -> anyhow::Result<Self> {
        let space = NamespaceConfig { name: NAMESPACE.to_owned(), quota: memory_limit, value_limit: RECORD_LIMIT };
        let with_snapshots = share == Share::TagsAndSnapshots;
        let seal = Seal::new(&tagger.sealing_key()).map_err(|_| anyhow::anyhow!("no key can be made"))?;
        let shared = Shared::new(store.namespace(space), seal, trust, store.crashes(), with_snapshots);
        // Tokens are not to come twice, here or elsewhere.
        let mut first = [0; 8];
        getrandom::fill(&mut first).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        Ok(Self {
            shared: (share != Share::Off).then(|| Arc::new(shared)),
            tokens: AtomicU64::new(u64::from_le_bytes(first)),
            ..Self::new(memory_limit, trust)
        })
    }

    /// What is known of a user and of the secret that a login presents, at `now_ms` since
    /// 1970. It is looked up before the credentials are sent. `tag`: None if only the mail
    /// server sees the secret.
    pub async fn look(&self, user: UserKey, tag: Option<&Tag>, now_ms: u64) -> Seen {
        let oldest_s = self.oldest_s(now_ms);
        let fill = |seen: &mut Seen, known: &User| {
            seen.standing = tag.map_or(Standing::Unknown, |tag| known.standing(tag, oldest_s));
            (seen.rejections, seen.latest) = (known.rejections, Some(known.latest));
        };
        let Some(shared) = &self.shared else {
            let mut seen = Seen { latest: Some(0), ..Seen::default() };
            seen.generation = self.local.look(user, |known| fill(&mut seen, known)).generation;
            return seen;
        };
        let looked = Box::pin(shared.look(user)).await;
        let mut seen = Seen { latest: looked.as_ref().map(|_| 0), ..Seen::default() };
        if let Some(known) = looked.as_ref().and_then(|looked| looked.user.as_deref()) {
            fill(&mut seen, known);
        }
        seen.shared = looked.map(Box::new);
        seen
    }

    /// Prepares for a session of a user of whom a store has nothing, before their credentials are
    /// sent: a record that another session makes and that is lost again meanwhile would look as if
    /// there had been none.
    pub async fn reserve(&self, seen: &mut Seen, user: UserKey) {
        let (Some(shared), Some(0)) = (&self.shared, seen.latest) else { return };
        let looked = Box::pin(shared.reserve(user, self.token())).await;
        seen.latest = looked.as_ref().and_then(|looked| Some(looked.user.as_ref()?.latest));
        seen.shared = looked.map(Box::new);
    }

    /// The maildrop as the user's clients last saw it.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn snapshot(&self, seen: &Seen, user: UserKey) -> Result<Left, NoSnapshot> {
        let here = || self.local.look(user, User::left).found.unwrap_or(Err(NoSnapshot::NoneYet));
        let Some(shared) = &self.shared else { return here() };
        let known = seen.user().ok_or(NoSnapshot::NoneYet)?;
        if shared.with_snapshots {
            return known.left();
        }
        // It is here if the session that saw the maildrop last was here.
        let is_latest = |here: &User| here.latest == known.latest;
        match self.local.look(user, |here| is_latest(here).then(|| here.left())).found.flatten() {
            Some(left) => left,
            None if known.latest == 0 => Err(NoSnapshot::NoneYet),
            None => Err(NoSnapshot::Elsewhere),
        }
    }

    /// Where the user's last session went.
    #[must_use]
    pub fn route(&self, seen: &Seen, user: UserKey) -> Option<Arc<Route>> {
        match &self.shared {
            Some(_) => seen.user().and_then(|known| known.route.clone()),
            None => self.local.look(user, |known| known.route.clone()).found.flatten(),
        }
    }

    /// The first reply that shows the maildrop is there: the client must not see it before what
    /// comes back is done. See `User::begin`.
    #[must_use = "what comes back has to be waited for"]
    pub fn begin(&self, opening: Opening) -> Begun {
        let Opening { user, tag, route, accepted_ms, seen } = opening;
        let token = self.token();
        let begin = move |known: &mut User, looked| {
            known.accept(tag, accepted_ms);
            known.route.clone_from(&route);
            known.begin(token, looked)
        };
        let Some(shared) = &self.shared else {
            let undisturbed = self.local.change_in(user, |known, generation| {
                // Somebody may have begun and been forgotten since.
                let looked = seen.latest.filter(|&latest| latest != 0 || generation == seen.generation);
                begin(known, looked)
            });
            return Begun::Now(Session { user, token: if undisturbed { token } else { 0 }, written: None });
        };
        let with_snapshots = shared.with_snapshots;
        let (shared, local) = (shared.clone(), self.local.clone());
        Begun::Later(Box::pin(async move {
            let last = seen.shared.as_ref().map(|looked| looked.sealed.as_deref());
            let begun = shared.change(user, last, |known| begin(known, seen.latest)).await;
            let undisturbed = matches!(begun, Some((true, _)));
            if !with_snapshots {
                local.change(user, |known| known.begin(token, undisturbed.then_some(known.latest)));
            }
            let written = begun.map(|(_, written)| written);
            Session { user, token: if undisturbed { token } else { 0 }, written }
        }))
    }

    /// A login that the mail server has accepted went wrong before it was shown the maildrop.
    #[must_use = "what comes back has to be waited for"]
    pub fn forget_opened(&self, opening: Opening) -> Option<Commit> {
        match self.begin(opening) {
            Begun::Now(session) => self.commit(session, Err(NoSnapshot::Incomplete), false),
            Begun::Later(beginning) => Some(Box::pin(async move {
                beginning.await;
            })),
        }
    }

    /// The mail server has accepted the secret for a session that was posed until now as the
    /// maildrop was left under the token `posed`, and goes on showing that. See
    /// `User::begin_upgraded`.
    pub async fn begin_upgraded(&self, user: UserKey, tag: Tag, posed: u64, now_ms: u64) -> Session {
        let token = self.token();
        let begin = |known: &mut User| {
            known.accept(Some(tag), now_ms);
            known.begin_upgraded(token, posed)
        };
        let (undisturbed, written) = match &self.shared {
            None => (self.local.change(user, begin), None),
            Some(shared) => {
                let begun = Box::pin(shared.change(user, None, begin)).await;
                let undisturbed = matches!(begun, Some((true, _)));
                if !shared.with_snapshots && undisturbed {
                    self.local.change(user, |known| known.begin(token, Some(known.latest)));
                }
                (undisturbed, begun.map(|(_, written)| written))
            }
        };
        Session { user, token: if undisturbed { token } else { 0 }, written }
    }

    /// A session is over. What it leaves counts if no other has seen the maildrop since.
    /// `deleted`: messages are gone, or may be, that other sessions under way still list. If it
    /// takes time, it is done when what comes back is.
    #[must_use = "what comes back has to be waited for"]
    pub fn commit(
        &self,
        session: Session,
        leaves: Result<Snapshot, NoSnapshot>,
        deleted: bool,
    ) -> Option<Commit> {
        let Session { user, token, written } = session;
        let fresh = self.token();
        let leaves = leaves.map(Snapshot::shared);
        let kept_here = |leaves: Leaves| {
            leaves.and_then(|it| if self.local.takes(&it) { Ok(it) } else { Err(NoSnapshot::TooLarge) })
        };
        let Some(shared) = &self.shared else {
            let leaves = kept_here(leaves);
            self.local.change(user, |known| known.commit(token, fresh, leaves, deleted));
            return None;
        };
        if token == 0 && !deleted {
            return None;
        }
        let here = (!shared.with_snapshots).then(|| kept_here(leaves.clone()));
        if let Some(leaves) = &here
            && !deleted
        {
            self.local.change(user, |known| known.commit(token, fresh, leaves.clone(), false));
            return None;
        }
        let (shared, local) = (shared.clone(), self.local.clone());
        Some(Box::pin(async move {
            let last = written.as_deref().map(Some);
            let change = |known: &mut User| known.commit(token, fresh, leaves.clone(), deleted);
            let committed = shared.change(user, last, change).await;
            if let (Some(leaves), Some((is_latest, _))) = (here, committed) {
                let token = if is_latest { token } else { 0 };
                local.change(user, |known| known.commit(token, fresh, leaves, deleted));
            }
        }))
    }

    /// The mail server has judged the secret to be wrong: it is not known any more. Rejections
    /// are counted up to `most`; beyond, a wrong secret changes nothing.
    pub async fn reject(&self, seen: &Seen, user: UserKey, tag: Option<&Tag>, most: u8) {
        match &self.shared {
            None => self.local.lessen(user, |known| known.reject(tag)),
            Some(shared) => {
                // Wrong guesses cost the store a bounded number of writes, and of users whom
                // nobody knows none.
                if seen.user().is_some_and(|known| !known.accepted.is_empty())
                    && (seen.standing == Standing::Known || seen.rejections < most)
                {
                    Box::pin(shared.change(user, None, |known| known.reject(tag))).await;
                }
            }
        }
    }

    /// Forgets the snapshot: the user's next login passes.
    pub async fn forget_snapshot(&self, user: UserKey) {
        let fresh = self.token();
        let forget = |known: &mut User| known.forget_snapshot(fresh);
        self.local.lessen(user, forget);
        if let Some(shared) = &self.shared {
            Box::pin(shared.change(user, None, forget)).await;
        }
    }

    /// Forgets a user altogether; tells whether anything was known.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn forget(&self, user: UserKey) -> Result<bool, Unavailable> {
        let here = self.local.forget(user);
        Ok(match &self.shared {
            Some(shared) => shared.forget(user).await? | here,
            None => here,
        })
    }

    /// What is known of a user, for an administrator.
    pub async fn describe(&self, user: UserKey, now_ms: u64) -> Option<Description> {
        let seen = self.look(user, None, now_ms).await;
        let oldest_s = self.oldest_s(now_ms);
        let left = self.snapshot(&seen, user);
        let describe = |known: &User| Description {
            secrets: known.accepted.iter().filter(|accepted| accepted.at_s >= oldest_s).count(),
            accepted_at_s: known.accepted.first().map(|accepted| accepted.at_s),
            messages: left.as_ref().ok().map(|left| left.snapshot.count()),
            octets: left.as_ref().ok().map(|left| left.snapshot.bytes()),
            no_snapshot: left.as_ref().err().copied(),
            rejections: known.rejections,
            pool: known.route.as_ref().and_then(|route| route.pool.clone()),
        };
        match &self.shared {
            Some(_) => seen.user().map(describe),
            None => self.local.look(user, describe).found,
        }
    }

    /// What is remembered in this process, all together.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        self.local.remembered()
    }

    /// Bytes that are taken in this process now.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.local.octets()
    }

    /// Users that are remembered in this process.
    #[must_use]
    pub fn users(&self) -> usize {
        self.local.users()
    }

    fn oldest_s(&self, now_ms: u64) -> u64 {
        (now_ms / 1000).saturating_sub(self.trust_s)
    }

    fn token(&self) -> u64 {
        match self.tokens.fetch_add(1, Ordering::Relaxed) {
            0 => self.tokens.fetch_add(1, Ordering::Relaxed),
            token => token,
        }
    }
}

/// What is known of a user, without anything that could be used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Description {
    /// Secrets that are known.
    pub secrets: usize,
    /// When the latest was accepted, in seconds since 1970.
    pub accepted_at_s: Option<u64>,
    /// Messages of the snapshot.
    pub messages: Option<u32>,
    /// Their octets.
    pub octets: Option<u64>,
    /// Why there is no snapshot, if there is none.
    pub no_snapshot: Option<NoSnapshot>,
    /// Logins that the mail server has rejected since it accepted one.
    pub rejections: u8,
    /// The pool where the last session went, where that is not the usual one.
    pub pool: Option<String>,
}

#[cfg(test)]
mod tests;
