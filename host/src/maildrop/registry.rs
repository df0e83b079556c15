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
use crate::config::Share;
use crate::pop3::snapshot::Snapshot;
use crate::store::{Home, Space, Unavailable};

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
        home: &Home,
        tagger: &Tagger,
        share: Share,
    ) -> anyhow::Result<Self> {
        let space = Space { name: NAMESPACE.to_owned(), quota: memory_limit, value_limit: RECORD_LIMIT };
        let with_snapshots = share == Share::TagsAndSnapshots;
        let seal = Seal::new(&tagger.sealing_key()).map_err(|_| anyhow::anyhow!("no key can be made"))?;
        let shared = Shared::new(home.namespace(space), seal, trust, home.crashes(), with_snapshots);
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
            octets: left.as_ref().ok().map(|left| left.snapshot.octets()),
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
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::pop3::credential::{Credentials, Mechanism, Secret};
    use crate::pop3::snapshot::Row;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: u64 = 1_000_000_000;

    struct World {
        registry: Registry,
        tagger: Tagger,
        user: UserKey,
    }

    impl World {
        fn new(limit: u64) -> Self {
            let tagger = Tagger::new().unwrap();
            let user = tagger.user("mail", b"alice");
            Self { registry: Registry::new(limit, DAY), tagger, user }
        }

        /// Users as this process knows them, and as a store does with and without snapshots.
        fn all() -> [Self; 3] {
            let shared = |share| {
                let tagger = Tagger::keyed(b"a secret of the site, long enough");
                let user = tagger.user("mail", b"alice");
                let home = Home::in_memory(ManualClock::new(NOW));
                let registry = Registry::shared(1 << 20, DAY, &home, &tagger, share).unwrap();
                Self { registry, tagger, user }
            };
            [Self::new(1 << 20), shared(Share::Tags), shared(Share::TagsAndSnapshots)]
        }

        fn tag(&self, secret: &str) -> Tag {
            self.tagger.tag(
                self.user,
                &Credentials::new(b"alice", Secret::new(secret.as_bytes()), Mechanism::UserPass),
            )
        }

        async fn standing(&self, secret: &str, now_ms: u64) -> Standing {
            self.registry.look(self.user, Some(&self.tag(secret)), now_ms).await.standing
        }

        /// A login whose credentials are about to be sent.
        async fn look(&self, secret: &str) -> Opening {
            self.look_of(self.user, secret).await
        }

        async fn look_of(&self, user: UserKey, secret: &str) -> Opening {
            let tag = self.tag(secret);
            let mut seen = self.registry.look(user, Some(&tag), NOW).await;
            self.registry.reserve(&mut seen, user).await;
            Opening { user, tag: Some(tag), route: None, accepted_ms: NOW, seen }
        }

        /// The first reply that shows the maildrop has arrived.
        async fn open(&self, opening: Opening) -> Session {
            match self.registry.begin(opening) {
                Begun::Now(session) => session,
                Begun::Later(session) => session.await,
            }
        }

        async fn begin(&self, secret: &str) -> Session {
            self.open(self.look(secret).await).await
        }

        async fn commit(&self, session: Session, snapshot: &str, deleted: bool) {
            if let Some(commit) = self.registry.commit(session, Ok(of(snapshot)), deleted) {
                commit.await;
            }
        }

        async fn left(&self) -> Result<Left, NoSnapshot> {
            let seen = self.registry.look(self.user, None, NOW).await;
            self.registry.snapshot(&seen, self.user)
        }

        async fn snapshot(&self) -> Result<Snapshot, NoSnapshot> {
            self.left().await.map(|left| (*left.snapshot).clone())
        }

        async fn reject(&self, secret: &str) {
            let tag = self.tag(secret);
            let seen = self.registry.look(self.user, Some(&tag), NOW).await;
            self.registry.reject(&seen, self.user, Some(&tag), 5).await;
        }
    }

    fn of(id: &str) -> Snapshot {
        Snapshot::pack([Row { size: 1, unique_id: id.as_bytes() }]).unwrap()
    }

    #[tokio::test]
    async fn a_secret_is_known_once_the_mail_server_has_accepted_it() {
        for world in World::all() {
            assert_eq!(world.standing("a", NOW).await, Standing::Unknown);
            world.begin("a").await;
            assert_eq!(world.standing("a", NOW).await, Standing::Known);
            assert_eq!(world.standing("b", NOW).await, Standing::Changed);
        }
    }

    #[tokio::test]
    async fn a_secret_that_the_mail_server_rejects_is_forgotten_and_a_wrong_one_changes_nothing() {
        for world in World::all() {
            world.begin("a").await;
            world.reject("wrong").await;
            assert_eq!(world.standing("a", NOW).await, Standing::Known);
            world.reject("a").await;
            assert_eq!(world.standing("a", NOW).await, Standing::Unknown);
        }
    }

    #[tokio::test]
    async fn a_snapshot_for_which_a_store_has_no_room_costs_the_snapshot_and_not_the_secret() {
        let tagger = Tagger::keyed(b"a secret of the site, long enough");
        let user = tagger.user("mail", b"alice");
        let home = Home::in_memory(ManualClock::new(NOW));
        let registry = Registry::shared(400, DAY, &home, &tagger, Share::TagsAndSnapshots).unwrap();
        let world = World { registry, tagger, user };
        let session = world.begin("a").await;
        let ids: Vec<_> = (0..1000_u32).map(|id| format!("{:08x}", id.wrapping_mul(2_654_435_761))).collect();
        let rows = ids.iter().map(|id| Row { size: 1, unique_id: id.as_bytes() });
        if let Some(commit) = world.registry.commit(session, Ok(Snapshot::pack(rows).unwrap()), false) {
            commit.await;
        }
        assert_eq!(world.standing("a", NOW).await, Standing::Known);
        assert_eq!(world.snapshot().await, Err(NoSnapshot::NoRoom));
    }

    #[tokio::test]
    async fn while_a_session_is_under_way_there_is_no_snapshot() {
        for world in World::all() {
            let session = world.begin("a").await;
            world.commit(session, "one", false).await;
            assert_eq!(world.snapshot().await.unwrap(), of("one"));
            let _dropped = world.begin("a").await;
            assert_eq!(world.snapshot().await, Err(NoSnapshot::NoneYet));
        }
    }

    /// What a session of the table below does.
    #[derive(Clone, Copy)]
    enum Step {
        Look(usize),
        Begin(usize),
        /// It leaves a maildrop of its own name.
        Commit(usize),
        /// The same, after a deletion that the mail server has confirmed.
        Delete(usize),
        /// Its password is rejected.
        Reject,
        /// The user's record is lost.
        Forget,
    }

    #[tokio::test]
    async fn a_snapshot_is_never_older_than_a_listing_that_was_seen_or_a_deletion_that_was_confirmed() {
        use Step::{Begin, Commit, Delete, Forget, Look, Reject};
        let orders: [(&str, &[Step], Option<usize>); 12] = [
            ("one after the other", &[Look(0), Begin(0), Commit(0), Look(1), Begin(1), Commit(1)], Some(1)),
            (
                "the later one looked when the first had begun",
                &[Look(0), Begin(0), Look(1), Begin(1), Commit(1), Commit(0)],
                Some(1),
            ),
            (
                "the same, and ends last",
                &[Look(0), Begin(0), Look(1), Begin(1), Commit(0), Commit(1)],
                Some(1),
            ),
            (
                "the maildrop was opened before, and the reply came after, another session's",
                &[Look(0), Look(1), Begin(1), Commit(1), Begin(0), Commit(0)],
                None,
            ),
            (
                "nobody knows whose is newer",
                &[Look(0), Look(1), Begin(0), Begin(1), Commit(0), Commit(1)],
                None,
            ),
            (
                "a deletion was confirmed between Look and Begin",
                &[Look(0), Begin(0), Look(1), Delete(0), Begin(1), Commit(1)],
                None,
            ),
            (
                "a deletion was confirmed while a newer session was under way",
                &[Look(0), Begin(0), Look(1), Begin(1), Delete(0), Commit(1)],
                None,
            ),
            ("a deletion of its own", &[Look(0), Begin(0), Delete(0)], Some(0)),
            (
                "a rejected login disturbs nobody",
                &[Look(0), Begin(0), Reject, Commit(0), Reject, Reject],
                Some(0),
            ),
            (
                "a rejected login disturbs nobody who has looked",
                &[Look(0), Reject, Begin(0), Commit(0)],
                Some(0),
            ),
            (
                "somebody began and was forgotten since it looked",
                &[Look(0), Look(1), Begin(1), Forget, Begin(0), Commit(0)],
                None,
            ),
            (
                "it was forgotten while it was under way, and has deleted",
                &[Look(0), Begin(0), Forget, Look(1), Delete(0), Begin(1), Commit(1)],
                None,
            ),
        ];
        for (name, steps, left) in orders {
            for (mode, world) in World::all().into_iter().enumerate() {
                let (mut looked, mut begun) = ([None, None], [None, None]);
                for step in steps {
                    match *step {
                        Look(it) => looked[it] = Some(world.look("a").await),
                        Begin(it) => begun[it] = Some(world.open(looked[it].take().unwrap()).await),
                        Commit(it) => world.commit(begun[it].take().unwrap(), &it.to_string(), false).await,
                        Delete(it) => world.commit(begun[it].take().unwrap(), &it.to_string(), true).await,
                        Reject => world.reject("wrong").await,
                        Forget => drop(world.registry.forget(world.user).await),
                    }
                }
                let found = world.snapshot().await;
                assert_eq!(found.ok(), left.map(|it| of(&it.to_string())), "{name}, mode {mode}");
            }
        }
    }

    #[tokio::test]
    async fn an_upgraded_session_leaves_nothing_if_another_has_seen_a_newer_maildrop() {
        for world in World::all() {
            let before = world.begin("a").await;
            world.commit(before, "old", false).await;
            let posed = world.left().await.unwrap().by;
            let other = world.begin("a").await;
            world.commit(other, "new", false).await;
            let upgraded = world.registry.begin_upgraded(world.user, world.tag("a"), posed, NOW).await;
            world.commit(upgraded, "old", false).await;
            assert_eq!(world.snapshot().await.unwrap(), of("new"));
            // Undisturbed, it leaves what it has shown.
            let posed = world.left().await.unwrap().by;
            let upgraded = world.registry.begin_upgraded(world.user, world.tag("a"), posed, NOW).await;
            assert_eq!(world.snapshot().await, Err(NoSnapshot::NoneYet));
            world.commit(upgraded, "left", true).await;
            assert_eq!(world.snapshot().await.unwrap(), of("left"));
            // After a failed upgrade the next login passes, whatever else is under way.
            let posed = world.left().await.unwrap().by;
            world.registry.forget_snapshot(world.user).await;
            let upgraded = world.registry.begin_upgraded(world.user, world.tag("a"), posed, NOW).await;
            world.commit(upgraded, "left", false).await;
            assert!(world.snapshot().await.is_err());
        }
    }

    #[tokio::test]
    async fn rejections_are_counted_until_the_mail_server_accepts_a_login() {
        for world in World::all() {
            world.reject("wrong").await;
            assert!(world.registry.describe(world.user, NOW).await.is_none(), "nobody remembers strangers");
            world.begin("a").await;
            for count in 1..=5_u8 {
                world.reject("wrong").await;
                assert_eq!(world.registry.look(world.user, None, NOW).await.rejections, count);
            }
            world.begin("a").await;
            assert_eq!(world.registry.look(world.user, None, NOW).await.rejections, 0);
        }
    }

    #[tokio::test]
    async fn an_older_session_counts_for_nothing_even_if_its_user_was_forgotten_meanwhile() {
        let world = World::new(128 << 10);
        let first = world.begin("a").await;
        // Looked up before everybody, and so before whoever came and went meanwhile.
        let early = world.look("a").await;
        let crowd = |from: u32| {
            let world = &world;
            async move {
                for index in from..from + 10_000 {
                    let user = world.tagger.user("mail", &index.to_le_bytes());
                    world.open(world.look_of(user, "a").await).await;
                }
            }
        };
        crowd(0).await;
        let unknown = world.look("a").await;
        let second = world.begin("a").await;
        world.commit(second, "newer", false).await;
        world.commit(first, "older", false).await;
        assert_eq!(world.snapshot().await.unwrap(), of("newer"));
        crowd(10_000).await;
        for late in [early, unknown] {
            let late = world.open(late).await;
            world.commit(late, "older", false).await;
            assert!(world.snapshot().await.is_err());
        }
    }

    #[tokio::test]
    async fn a_secret_is_known_for_a_day_after_it_was_accepted() {
        for world in World::all() {
            world.begin("a").await;
            let day_ms = 86_400_000;
            assert_eq!(world.standing("a", NOW + day_ms).await, Standing::Known);
            assert_eq!(world.standing("a", NOW + day_ms + 1000).await, Standing::Changed);
        }
    }

    #[tokio::test]
    async fn one_huge_maildrop_pushes_nobody_out() {
        let world = World::new(1 << 20);
        let session = world.begin("a").await;
        let huge = |count| Snapshot::pack((0..count).map(|_| Row { size: 1, unique_id: b"0123456789" }));
        let _ = world.registry.commit(session, Ok(huge(6000).unwrap()), false);
        assert_eq!(world.snapshot().await, Err(NoSnapshot::TooLarge));
        assert_eq!(world.standing("a", NOW).await, Standing::Known);
    }

    #[tokio::test]
    async fn the_largest_listing_that_is_kept_is_the_same_for_every_user() {
        let world = World::new(1 << 20);
        let rows = || (0..5000).map(|_| Row { size: 1, unique_id: b"0123456789" });
        for index in 0..200_u32 {
            let user = world.tagger.user("mail", &index.to_le_bytes());
            let session = world.open(world.look_of(user, "a").await).await;
            let _ = world.registry.commit(session, Ok(Snapshot::pack(rows()).unwrap()), false);
            let seen = world.registry.look(user, None, NOW).await;
            assert_eq!(
                world.registry.snapshot(&seen, user).map(|left| left.snapshot.count()).ok(),
                Some(5000)
            );
            assert!(world.registry.octets() <= 1 << 20);
        }
    }

    #[tokio::test]
    async fn only_the_latest_few_secrets_of_a_user_are_known() {
        for world in World::all() {
            for secret in 1..=9 {
                world.begin(&secret.to_string()).await;
            }
            assert_eq!(world.standing("1", NOW).await, Standing::Changed);
            assert_eq!(world.standing("2", NOW).await, Standing::Known);
            assert_eq!(world.standing("9", NOW).await, Standing::Known);
        }
    }

    #[tokio::test]
    async fn memory_stays_within_its_limit_and_the_latest_users_stay() {
        let world = World::new(256 << 10);
        let mut last = world.user;
        for index in 0..20_000_u32 {
            last = world.tagger.user("mail", &index.to_le_bytes());
            let session = world.open(world.look_of(last, "a").await).await;
            let _ = world.registry.commit(session, Ok(of("one")), false);
        }
        assert!(world.registry.octets() <= 256 << 10);
        assert!(world.registry.users() > 500);
        let seen = world.registry.look(last, None, NOW).await;
        assert!(world.registry.snapshot(&seen, last).is_ok());
    }
}
