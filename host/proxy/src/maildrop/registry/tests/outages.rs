//! A store that cannot be reached for a while, is full, or has lost what was written last.

use std::sync::atomic::AtomicUsize;

use super::*;
use parking_lot::Mutex;
use reprieve_store::{Access, AccessResult, Fault, Interceptor, Namespace, StoreEpoch};
use tokio::sync::Semaphore;

/// Makes a store fail, and counts what is written to it.
#[derive(Debug)]
struct Outage {
    fault: Mutex<Option<Fault>>,
    writes: AtomicUsize,
    reads: AtomicUsize,
    /// A permit for each deletion.
    deletions: Semaphore,
}

impl Default for Outage {
    fn default() -> Self {
        let [writes, reads] = [0, 0].map(AtomicUsize::new);
        Self { fault: Mutex::default(), writes, reads, deletions: Semaphore::new(0) }
    }
}

impl Interceptor for Outage {
    fn inject_fault(&self, _: &Access<'_>) -> Option<Fault> {
        *self.fault.lock()
    }

    fn observe(&self, access: &Access<'_>, result: &AccessResult) {
        match (access, result) {
            (_, AccessResult::Unavailable) => {}
            (Access::Get { .. }, _) => _ = self.reads.fetch_add(1, Ordering::Relaxed),
            (Access::Delete { .. } | Access::Clear, _) => self.deletions.add_permits(1),
            _ => _ = self.writes.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Outage {
    fn set(&self, fault: Option<Fault>) {
        *self.fault.lock() = fault;
    }

    /// Reads and writes so far.
    fn accesses(&self) -> (usize, usize) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

/// A proxy whose store can fail, and its records.
struct Site {
    world: World,
    outage: Arc<Outage>,
}

impl Site {
    fn new(share: Share) -> Self {
        let outage = Arc::new(Outage::default());
        let namespace = Namespace::in_memory(1 << 20, ManualClock::new(NOW)).intercepted_by(outage.clone());
        let tagger = Tagger::keyed(b"a secret of the site, long enough");
        let user = tagger.user("mail", b"alice");
        let keeps_snapshots = share == Share::TagsAndSnapshots;
        let seal = Seal::new(&tagger.sealing_key()).unwrap();
        let records = Records::new(namespace, seal, DAY, StoreEpoch::fixed(0), keeps_snapshots);
        let registry = Registry::new(1 << 20, DAY).sharing(records, keeps_snapshots, 1);
        Self { world: World { registry, tagger, user }, outage }
    }

    fn of_both_modes() -> [Self; 2] {
        [Share::Tags, Share::TagsAndSnapshots].map(Self::new)
    }

    fn fail(&self) {
        self.outage.set(Some(Fault::Unavailable));
    }

    /// The store answers again, and the task has deleted so many stale records.
    async fn recover(&self, deleted: u32) {
        self.outage.set(None);
        let deletions = self.outage.deletions.acquire_many(deleted);
        let deletions = tokio::time::timeout(Duration::from_secs(60), deletions).await;
        deletions.expect("stale records are deleted").unwrap().forget();
    }

    /// A session that leaves a snapshot while the store fails: its user's record is out of date.
    async fn lose_a_session(&self) {
        let session = self.world.begin("a").await;
        self.fail();
        // With `share = "tags"` only a deletion is written when a session ends.
        self.world.commit(session, "one", true).await;
    }
}

#[tokio::test]
async fn while_the_store_cannot_be_reached_every_user_is_unknown_and_signals_are_not_noted() {
    for site in Site::of_both_modes() {
        let world = &site.world;
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        site.fail();
        let fetched = world.look("a").await.fetched;
        assert_eq!(
            (fetched.standing, fetched.facts.snapshot, fetched.heard()),
            (TagStanding::Unknown, None, None)
        );
        assert!(world.registry.last_seen(&fetched, world.user).is_err());
        assert!(world.registry.hear(world.user, NOW, NOW).await.is_err());
        assert!(world.registry.note_gap(world.tagger.pool("mail"), NOW).await.is_err());
        assert!(world.registry.users_of(world.user).await.is_err());
        assert!(world.registry.forget(world.tagger.user("mail", b"bob")).await.is_err());
        assert_eq!(world.registry.learn(world.user, world.user, NOW).await, Learned::Unavailable);
        assert_eq!(world.registry.stale_users(), 0, "nothing was lost");
        site.recover(0).await;
        assert_eq!(world.snapshot().await.unwrap(), of("one"));
    }
}

#[tokio::test]
async fn the_record_of_a_session_that_could_not_be_written_is_ignored_and_deleted() {
    for site in Site::of_both_modes() {
        let world = &site.world;
        let bob = world.tagger.user("mail", b"bob");
        world.open(world.look_of(bob, "a").await).await;
        site.lose_a_session().await;
        assert_eq!(world.registry.stale_users(), 1);
        // The store answers again, but the record is still there.
        site.outage.set(None);
        let fetched = world.look("a").await.fetched;
        assert_eq!((fetched.standing, fetched.heard()), (TagStanding::Unknown, None));
        let others = world.registry.look(bob, Some(&world.tag("a")), NOW).await;
        assert_eq!(others.standing, TagStanding::Known, "the records of others count");
        site.recover(1).await;
        assert_eq!(world.registry.stale_users(), 0);
        assert!(world.registry.describe(world.user, NOW).await.is_none());
        assert!(world.registry.describe(bob, NOW).await.is_some());
        let session = world.begin("a").await;
        world.commit(session, "two", false).await;
        assert_eq!(world.snapshot().await.unwrap(), of("two"));
    }
}

#[tokio::test]
async fn a_session_or_a_signal_deletes_a_stale_record_at_once() {
    for site in Site::of_both_modes() {
        let world = &site.world;
        site.lose_a_session().await;
        site.outage.set(None);
        assert!(world.registry.hear(world.user, NOW, NOW).await.unwrap(), "the next login passes");
        assert_eq!(world.registry.stale_users(), 0);
        assert!(!world.registry.hear(world.user, NOW, NOW).await.unwrap(), "there is no record");

        site.lose_a_session().await;
        site.outage.set(None);
        let session = world.begin("a").await;
        assert!(!session.may_leave_snapshot(), "others may have seen the maildrop since");
        assert_eq!(world.registry.stale_users(), 0);
        assert_eq!(world.standing("a", NOW).await, TagStanding::Known);
    }
}

#[tokio::test]
async fn all_stale_records_are_deleted_when_the_store_answers_again() {
    for site in Site::of_both_modes() {
        let world = &site.world;
        let users: Vec<_> =
            (0..3_u32).map(|number| world.tagger.user("mail", &number.to_le_bytes())).collect();
        let mut sessions = Vec::new();
        for user in &users {
            sessions.push(world.open(world.look_of(*user, "a").await).await);
        }
        site.fail();
        for session in sessions {
            world.commit(session, "one", true).await;
        }
        assert_eq!(world.registry.stale_users(), 3);
        site.recover(3).await;
        assert_eq!(world.registry.stale_users(), 0);
        for user in users {
            assert!(world.registry.describe(user, NOW).await.is_none());
        }
        // Another outage, in which the task tries in vain.
        site.lose_a_session().await;
        tokio::task::yield_now().await;
        assert_eq!(world.registry.stale_users(), 1);
        site.recover(1).await;
        assert_eq!(world.registry.stale_users(), 0);
    }
}

#[tokio::test]
async fn new_users_pass_while_the_store_is_full() {
    for site in Site::of_both_modes() {
        let world = &site.world;
        site.outage.set(Some(Fault::Full));
        let session = world.begin("a").await;
        assert!(!session.may_leave_snapshot());
        assert_eq!(world.standing("a", NOW).await, TagStanding::Unknown);
        let mailbox = world.tagger.mailbox("mail", b"box");
        assert_eq!(world.registry.learn(mailbox, world.user, NOW).await, Learned::Full);
        site.outage.set(None);
        assert_eq!(world.registry.learn(mailbox, world.user, NOW).await, Learned::New);
    }
}

#[tokio::test]
async fn the_name_of_a_mailbox_is_not_written_for_each_session() {
    for site in Site::of_both_modes() {
        let world = &site.world;
        let [one, other] = [b"one", b"two"].map(|name| world.tagger.mailbox("mail", name));
        for mailbox in [one, other] {
            assert_eq!(world.registry.learn(mailbox, world.user, NOW).await, Learned::New);
        }
        let written = site.outage.accesses();
        for mailbox in [one, other, one, other] {
            assert_eq!(world.registry.learn(mailbox, world.user, NOW).await, Learned::Known);
        }
        assert_eq!(site.outage.accesses(), written);
    }
}

#[tokio::test]
async fn a_session_of_a_known_user_reads_their_record_once() {
    for (site, at_end) in Site::of_both_modes().iter().zip([0, 1]) {
        let world = &site.world;
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        let (reads, writes) = site.outage.accesses();
        let session = world.begin("a").await;
        world.commit(session, "two", false).await;
        assert_eq!(site.outage.accesses(), (reads + 1, writes + 1 + at_end));
    }
}

/// A replica that had not received the name has taken the store's place.
#[tokio::test]
async fn a_name_that_a_store_may_have_lost_is_written_again() {
    for share in [Share::Tags, Share::TagsAndSnapshots] {
        let tagger = Tagger::keyed(b"a secret of the site, long enough");
        let user = tagger.user("mail", b"alice");
        let store = Store::in_memory(ManualClock::new(NOW));
        let registry = Registry::shared(1 << 20, DAY, &store, &tagger, share).unwrap();
        let mailbox = tagger.mailbox("mail", b"box");
        assert_eq!(registry.learn(mailbox, user, NOW).await, Learned::New, "{share:?}");
        assert_eq!(registry.learn(mailbox, user, NOW).await, Learned::Known, "{share:?}");
        let config =
            NamespaceConfig { name: NAMESPACE.to_owned(), quota: 1 << 20, value_limit: RECORD_LIMIT };
        store.namespace(config).clear().await.unwrap();
        store.epoch().set(7);
        assert_eq!(registry.learn(mailbox, user, NOW).await, Learned::New, "{share:?}");
        let users: Vec<_> = registry.users_of(mailbox).await.unwrap().collect();
        assert_eq!(users, [user], "{share:?}");
    }
}
