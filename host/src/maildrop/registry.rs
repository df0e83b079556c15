//! Who has proved to be whom, and what his clients have seen: in this process, and where it is
//! configured in a store that others use too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::local::{Local, Remembered};
use super::record::Seal;
use super::shared::{Looked, Shared};
use super::tag::{Tag, Tagger, UserKey};
use super::user::{Left, Route, Session, Standing, User};
use crate::config::Share;
use crate::pop3::snapshot::Snapshot;
use crate::store::{Home, Space, Unavailable};

/// The longest record of a user in a store, in octets: some ten thousand messages.
const RECORD_LIMIT: usize = 1 << 20;
/// The namespace of users' records.
const NAMESPACE: &str = "maildrop";

/// Something that takes its time.
pub type Commit = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tags and snapshots of all users of a store.
#[derive(Debug)]
pub struct Registry {
    local: Local,
    shared: Option<Arc<Shared>>,
    trust_s: u64,
    numbers: AtomicU64,
}

/// What the store has said of a user at the beginning of a login; nothing where there is none.
#[derive(Debug, Default)]
pub struct Seen(Option<Looked>);

impl Seen {
    fn user(&self) -> Option<&User> {
        self.0.as_ref()?.user.as_deref()
    }
}

impl Registry {
    /// One for this process alone. `memory_limit`: octets that everything together may take.
    /// `trust`: how long a secret is known after the mail server has accepted it.
    #[must_use]
    pub fn new(memory_limit: u64, trust: Duration) -> Self {
        Self {
            local: Local::new(memory_limit),
            shared: None,
            trust_s: trust.as_secs(),
            numbers: AtomicU64::new(1),
        }
    }

    /// One that others share by a store. `memory_limit` holds for the store, too.
    ///
    /// # Errors
    /// Where the system has no randomness.
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
        // Numbers of sessions are not to come twice, here or elsewhere.
        let mut first = [0; 8];
        getrandom::fill(&mut first).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        Ok(Self {
            shared: (share != Share::Off).then(|| Arc::new(shared)),
            numbers: AtomicU64::new(u64::from_le_bytes(first)),
            ..Self::new(memory_limit, trust)
        })
    }

    /// Asks the store what it knows of a user, where there is one. What it says holds for this
    /// login.
    pub async fn look(&self, user: UserKey) -> Seen {
        match &self.shared {
            Some(shared) => Seen(Box::pin(shared.look(user)).await),
            None => Seen(None),
        }
    }

    /// What is known of the secret that a login presents, at `now_ms` since 1970.
    #[must_use]
    pub fn standing(&self, seen: &Seen, user: UserKey, tag: &Tag, now_ms: u64) -> Standing {
        let oldest_s = (now_ms / 1000).saturating_sub(self.trust_s);
        self.with(seen, user, |known| known.standing(tag, oldest_s)).unwrap_or(Standing::Unknown)
    }

    /// The maildrop as the user's clients last saw it, if that is known.
    #[must_use]
    pub fn snapshot(&self, seen: &Seen, user: UserKey) -> Option<Left> {
        match &self.shared {
            Some(shared) if !shared.with_snapshots => {
                // It is here if the session that saw the maildrop last was here.
                let latest = seen.user()?.latest;
                self.local.look(user, User::left).flatten().filter(|left| left.by == latest)
            }
            _ => self.with(seen, user, User::left).flatten(),
        }
    }

    /// Where the user's last session went.
    #[must_use]
    pub fn route(&self, seen: &Seen, user: UserKey) -> Option<Arc<Route>> {
        self.with(seen, user, |known| known.route.clone()).flatten()
    }

    /// The mail server has accepted the secret, and a session begins in which the client may
    /// see a newer maildrop: the old snapshot is no longer what the clients saw last.
    /// `tag`: None where only the mail server has seen the secret.
    pub async fn begin(
        &self,
        seen: &Seen,
        user: UserKey,
        tag: Option<Tag>,
        route: Option<Arc<Route>>,
        now_ms: u64,
    ) -> Session {
        let number = self.number();
        let begin = |known: &mut User| known.begin(number, tag, route.clone(), now_ms);
        match &self.shared {
            None => {
                self.local.change(user, begin);
                Session { user, number, written: None }
            }
            Some(shared) => {
                if !shared.with_snapshots {
                    self.local.change(user, |known| {
                        known.snapshot = None;
                        known.latest = number;
                    });
                }
                let last = seen.0.as_ref().map(|looked| looked.sealed.as_deref());
                match Box::pin(shared.change(user, last, begin)).await {
                    Some(((), written)) => Session { user, number, written: Some(written) },
                    None => Session { user, number: 0, written: None },
                }
            }
        }
    }

    /// The mail server has accepted the secret for a session that was posed until now as
    /// session `posed_by` has left the maildrop, and goes on showing that. Where another
    /// session has shown something else meanwhile, this one's maildrop is not what the clients
    /// saw last, and it leaves nothing.
    pub async fn begin_upgraded(&self, user: UserKey, tag: Tag, posed_by: u64, now_ms: u64) -> Session {
        let number = self.number();
        let (undisturbed, written) = match &self.shared {
            None => {
                (self.local.change(user, |known| known.begin_upgraded(number, tag, posed_by, now_ms)), None)
            }
            Some(shared) => {
                // Without snapshots in the store, it was here that one was left.
                let was_here = !shared.with_snapshots
                    && self.local.look(user, User::left).flatten().is_some_and(|left| left.by == posed_by);
                let begin = |known: &mut User| {
                    if was_here && known.latest == posed_by {
                        known.accept(tag, now_ms);
                        known.latest = number;
                        return true;
                    }
                    known.begin_upgraded(number, tag, posed_by, now_ms)
                };
                let begun = Box::pin(shared.change(user, None, begin)).await;
                let (undisturbed, written) =
                    begun.map_or((false, None), |(undisturbed, written)| (undisturbed, Some(written)));
                if was_here {
                    self.local.change(user, |known| {
                        known.snapshot = None;
                        known.latest = if undisturbed { number } else { 0 };
                    });
                }
                (undisturbed, written)
            }
        };
        Session { user, number: if undisturbed { number } else { 0 }, written }
    }

    /// A session is over. What it leaves counts if no other has seen the maildrop since; None
    /// where that is not known. `deleted`: messages are gone, or may be, that other sessions
    /// under way still count. Where it takes time, it is done when what comes back is.
    #[must_use = "what comes back has to be waited for"]
    pub fn commit(&self, session: Session, snapshot: Option<Snapshot>, deleted: bool) -> Option<Commit> {
        let Session { user, number, written } = session;
        let fresh = self.number();
        let snapshot = snapshot.map(Snapshot::shared);
        let fits = |snapshot: &Arc<Snapshot>| self.local.takes(user, snapshot);
        let Some(shared) = &self.shared else {
            self.local.change(user, |known| known.commit(number, fresh, snapshot.filter(fits), deleted));
            return None;
        };
        if !shared.with_snapshots {
            if number != 0 {
                self.local.change(user, |known| known.commit(number, fresh, snapshot.filter(fits), deleted));
            }
            if !deleted {
                return None;
            }
            let shared = shared.clone();
            return Some(Box::pin(async move {
                let last = written.as_deref().map(Some);
                shared.change(user, last, |known| known.commit(number, fresh, None, true)).await;
            }));
        }
        if number == 0 && !deleted {
            return None;
        }
        let shared = shared.clone();
        Some(Box::pin(async move {
            let last = written.as_deref().map(Some);
            shared.change(user, last, |known| known.commit(number, fresh, snapshot.clone(), deleted)).await;
        }))
    }

    /// The mail server has judged the secret to be wrong: it is not known any more.
    pub async fn reject(&self, seen: &Seen, user: UserKey, tag: &Tag) {
        match &self.shared {
            None => self.local.lessen(user, |known| known.reject(tag)),
            Some(shared) => {
                // A wrong password that nobody knows changes nothing, whoever sends it how often.
                if seen.user().is_some_and(|known| known.standing(tag, 0) == Standing::Known) {
                    Box::pin(shared.change(user, None, |known| known.reject(tag))).await;
                }
            }
        }
    }

    /// Forgets the snapshot: the user's next login passes.
    pub async fn forget_snapshot(&self, user: UserKey) {
        self.local.lessen(user, |known| known.snapshot = None);
        if let Some(shared) = &self.shared {
            let fresh = self.number();
            let forget = |known: &mut User| {
                known.snapshot = None;
                known.latest = fresh;
            };
            Box::pin(shared.change(user, None, forget)).await;
        }
    }

    /// Forgets a user altogether; tells whether anything was known.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn forget(&self, user: UserKey) -> Result<bool, Unavailable> {
        let here = self.local.forget(user);
        Ok(match &self.shared {
            Some(shared) => shared.forget(user).await? | here,
            None => here,
        })
    }

    /// What is known of a user, for an administrator.
    pub async fn describe(&self, user: UserKey, now_ms: u64) -> Option<Description> {
        let seen = self.look(user).await;
        let oldest_s = (now_ms / 1000).saturating_sub(self.trust_s);
        let left = self.snapshot(&seen, user);
        self.with(&seen, user, |known| Description {
            secrets: known.accepted.iter().filter(|accepted| accepted.at_s >= oldest_s).count(),
            accepted_at_s: known.accepted.first().map(|accepted| accepted.at_s),
            messages: left.as_ref().map(|left| left.snapshot.count()),
            octets: left.as_ref().map(|left| left.snapshot.octets()),
            pool: known.route.as_ref().and_then(|route| route.pool.clone()),
        })
    }

    /// What is remembered in this process, all together.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        self.local.remembered()
    }

    /// Octets that are taken in this process now.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.local.octets()
    }

    /// Users that are remembered in this process.
    #[must_use]
    pub fn users(&self) -> usize {
        self.local.users()
    }

    fn number(&self) -> u64 {
        match self.numbers.fetch_add(1, Ordering::Relaxed) {
            0 => self.numbers.fetch_add(1, Ordering::Relaxed),
            number => number,
        }
    }

    fn with<T>(&self, seen: &Seen, user: UserKey, look: impl FnOnce(&User) -> T) -> Option<T> {
        match &self.shared {
            Some(_) => seen.user().map(look),
            None => self.local.look(user, look),
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
            let user = tagger.user("s", "mail", b"alice");
            Self { registry: Registry::new(limit, DAY), tagger, user }
        }

        /// Users as this process knows them, and as a store does with and without snapshots.
        fn all() -> [Self; 3] {
            let shared = |share| {
                let tagger = Tagger::keyed(b"a secret of the site, long enough");
                let user = tagger.user("s", "mail", b"alice");
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
            let seen = self.registry.look(self.user).await;
            self.registry.standing(&seen, self.user, &self.tag(secret), now_ms)
        }

        async fn begin(&self, secret: &str) -> Session {
            self.registry.begin(&Seen::default(), self.user, Some(self.tag(secret)), None, NOW).await
        }

        async fn commit(&self, session: Session, snapshot: &str, deleted: bool) {
            if let Some(commit) = self.registry.commit(session, Some(of(snapshot)), deleted) {
                commit.await;
            }
        }

        async fn left(&self) -> Option<Left> {
            let seen = self.registry.look(self.user).await;
            self.registry.snapshot(&seen, self.user)
        }

        async fn snapshot(&self) -> Option<Snapshot> {
            self.left().await.map(|left| (*left.snapshot).clone())
        }

        async fn reject(&self, secret: &str) {
            let seen = self.registry.look(self.user).await;
            self.registry.reject(&seen, self.user, &self.tag(secret)).await;
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
        let user = tagger.user("s", "mail", b"alice");
        let home = Home::in_memory(ManualClock::new(NOW));
        let registry = Registry::shared(400, DAY, &home, &tagger, Share::TagsAndSnapshots).unwrap();
        let world = World { registry, tagger, user };
        let session = world.begin("a").await;
        let ids: Vec<_> = (0..1000_u32).map(|id| format!("{:08x}", id.wrapping_mul(2_654_435_761))).collect();
        let rows = ids.iter().map(|id| Row { size: 1, unique_id: id.as_bytes() });
        if let Some(commit) = world.registry.commit(session, Snapshot::pack(rows), false) {
            commit.await;
        }
        assert_eq!((world.standing("a", NOW).await, world.snapshot().await), (Standing::Known, None));
    }

    #[tokio::test]
    async fn while_a_session_is_under_way_there_is_no_snapshot() {
        for world in World::all() {
            let session = world.begin("a").await;
            world.commit(session, "one", false).await;
            assert_eq!(world.snapshot().await.unwrap(), of("one"));
            let _dropped = world.begin("a").await;
            assert_eq!(world.snapshot().await, None);
        }
    }

    #[tokio::test]
    async fn of_overlapping_sessions_the_one_that_began_last_counts() {
        for world in World::all() {
            let first = world.begin("a").await;
            let second = world.begin("a").await;
            world.commit(second, "newer", false).await;
            world.commit(first.clone(), "older", false).await;
            assert_eq!(world.snapshot().await.unwrap(), of("newer"));
            world.commit(first, "older", true).await;
            assert_eq!(world.snapshot().await, None);
        }
    }

    #[tokio::test]
    async fn deletions_of_an_older_session_are_not_undone_by_a_newer_one() {
        for world in World::all() {
            let first = world.begin("a").await;
            let second = world.begin("a").await;
            world.commit(first, "left", true).await;
            world.commit(second, "as-it-was", false).await;
            assert_eq!(world.snapshot().await, None);
        }
    }

    #[tokio::test]
    async fn an_upgraded_session_leaves_nothing_where_another_has_seen_a_newer_maildrop() {
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
            assert_eq!(world.snapshot().await, None);
            world.commit(upgraded, "left", true).await;
            assert_eq!(world.snapshot().await.unwrap(), of("left"));
        }
    }

    #[tokio::test]
    async fn an_older_session_counts_for_nothing_even_if_its_user_was_forgotten_meanwhile() {
        let world = World::new(128 << 10);
        let first = world.begin("a").await;
        for index in 0..10_000_u32 {
            world
                .registry
                .begin(
                    &Seen::default(),
                    world.tagger.user("s", "mail", &index.to_le_bytes()),
                    Some(world.tag("a")),
                    None,
                    NOW,
                )
                .await;
        }
        let second = world.begin("a").await;
        world.commit(second, "newer", false).await;
        world.commit(first, "older", false).await;
        assert_eq!(world.snapshot().await.unwrap(), of("newer"));
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
        let huge = Snapshot::pack((0..1000).map(|_| Row { size: 1, unique_id: b"0123456789" })).unwrap();
        let _ = world.registry.commit(session, Some(huge), false);
        assert_eq!(world.snapshot().await, None);
        assert_eq!(world.standing("a", NOW).await, Standing::Known);
    }

    #[tokio::test]
    async fn only_the_latest_few_secrets_of_a_user_are_known() {
        for world in World::all() {
            for secret in ["1", "2", "3", "4", "5"] {
                world.begin(secret).await;
            }
            assert_eq!(world.standing("1", NOW).await, Standing::Changed);
            assert_eq!(world.standing("5", NOW).await, Standing::Known);
        }
    }

    #[tokio::test]
    async fn memory_stays_within_its_limit_and_the_latest_users_stay() {
        let world = World::new(256 << 10);
        let mut last = world.user;
        for index in 0..20_000_u32 {
            last = world.tagger.user("s", "mail", &index.to_le_bytes());
            let session = world.registry.begin(&Seen::default(), last, Some(world.tag("a")), None, NOW).await;
            let _ = world.registry.commit(session, Some(of("one")), false);
        }
        assert!(world.registry.octets() <= 256 << 10);
        assert!(world.registry.users() > 500);
        assert!(world.registry.snapshot(&Seen::default(), last).is_some());
    }
}
