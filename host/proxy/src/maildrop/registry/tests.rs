//! The registry in each of its modes.

mod knowledge;
mod outages;

use super::super::user::TagStanding;
use super::*;
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::snapshot::{Row, Snapshot};
use reprieve_store::clock::ManualClock;

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

    /// One of each mode.
    fn of_all_modes() -> [Self; 3] {
        let shared = |share| {
            let tagger = Tagger::keyed(b"a secret of the site, long enough");
            let user = tagger.user("mail", b"alice");
            let store = Store::in_memory(ManualClock::new(NOW));
            let registry = Registry::shared(1 << 20, DAY, &store, &tagger, share).unwrap();
            Self { registry, tagger, user }
        };
        [Self::new(1 << 20), shared(Share::Tags), shared(Share::TagsAndSnapshots)]
    }

    /// Two proxies with one store.
    fn two_proxies(share: Share) -> [Self; 2] {
        let store = Store::in_memory(ManualClock::new(NOW));
        [0, 1].map(|_| {
            let tagger = Tagger::keyed(b"a secret of the site, long enough");
            let user = tagger.user("mail", b"alice");
            let registry = Registry::shared(1 << 20, DAY, &store, &tagger, share).unwrap();
            Self { registry, tagger, user }
        })
    }

    fn tag(&self, secret: &str) -> Tag {
        self.tagger
            .tag(self.user, &Credentials::new(b"alice", Secret::new(secret.as_bytes()), Mechanism::UserPass))
    }

    async fn standing(&self, secret: &str, now_ms: u64) -> TagStanding {
        self.registry.look(self.user, Some(&self.tag(secret)), now_ms).await.standing
    }

    /// Looks up a login whose credentials are about to be sent.
    async fn look(&self, secret: &str) -> Opening {
        self.look_of(self.user, secret).await
    }

    async fn look_of(&self, user: UserKey, secret: &str) -> Opening {
        self.look_at(user, secret, NOW).await
    }

    async fn look_at(&self, user: UserKey, secret: &str, now_ms: u64) -> Opening {
        let tag = self.tag(secret);
        let mut fetched = self.registry.look(user, Some(&tag), now_ms).await;
        self.registry.reserve(&mut fetched, user).await;
        Opening { user, tag: Some(tag), route: None, accepted_ms: NOW, fetched, expects_signals: true }
    }

    /// The first reply that shows the maildrop has arrived.
    async fn open(&self, opening: Opening) -> MaildropSession {
        self.registry.begin(opening).wait().await
    }

    async fn begin(&self, secret: &str) -> MaildropSession {
        self.open(self.look(secret).await).await
    }

    /// The mail server has accepted the client's secret, and the session that was posed goes on there.
    async fn upgrade(&self, posed: u64) -> MaildropSession {
        let (user, tag, heard) = (self.user, self.tag("a"), Some(0));
        self.registry
            .begin_upgraded(Upgrade { user, tag, posed, heard, store_epoch: 0, looked_ms: NOW })
            .await
    }

    async fn commit(&self, session: MaildropSession, snapshot: &str, deleted: bool) {
        if let Some(commit) = self.registry.commit(session, end(of(snapshot), deleted)) {
            commit.await;
        }
    }

    async fn last_seen(&self) -> Result<LastSeen, NoSnapshot> {
        let fetched = self.registry.look(self.user, None, NOW).await;
        self.registry.last_seen(&fetched, self.user)
    }

    async fn snapshot(&self) -> Result<Snapshot, NoSnapshot> {
        self.last_seen().await.map(|last_seen| (*last_seen.snapshot).clone())
    }

    async fn reject(&self, secret: &str) {
        let tag = self.tag(secret);
        let fetched = self.registry.look(self.user, Some(&tag), NOW).await;
        self.registry.reject(&fetched, self.user, Some(&tag), 5).await;
    }
}

fn of(id: &str) -> Snapshot {
    Snapshot::pack([Row { size: 1, unique_id: id.as_bytes() }]).unwrap()
}

fn end(snapshot: Snapshot, deleted: bool) -> LeftMaildrop {
    LeftMaildrop { deleted, ..LeftMaildrop::without_deletions(snapshot, NOW) }
}

#[tokio::test]
async fn a_secret_is_known_once_the_mail_server_has_accepted_it() {
    for world in World::of_all_modes() {
        assert_eq!(world.standing("a", NOW).await, TagStanding::Unknown);
        world.begin("a").await;
        assert_eq!(world.standing("a", NOW).await, TagStanding::Known);
        assert_eq!(world.standing("b", NOW).await, TagStanding::Changed);
    }
}

#[tokio::test]
async fn a_rejected_secret_is_forgotten_and_a_wrong_one_changes_nothing() {
    for world in World::of_all_modes() {
        world.begin("a").await;
        world.reject("wrong").await;
        assert_eq!(world.standing("a", NOW).await, TagStanding::Known);
        world.reject("a").await;
        assert_eq!(world.standing("a", NOW).await, TagStanding::Unknown);
    }
}

#[tokio::test]
async fn a_snapshot_that_a_full_store_refuses_is_dropped_and_the_secret_kept() {
    let tagger = Tagger::keyed(b"a secret of the site, long enough");
    let user = tagger.user("mail", b"alice");
    let store = Store::in_memory(ManualClock::new(NOW));
    let registry = Registry::shared(400, DAY, &store, &tagger, Share::TagsAndSnapshots).unwrap();
    let world = World { registry, tagger, user };
    let session = world.begin("a").await;
    let ids: Vec<_> = (0..1000_u32).map(|id| format!("{:08x}", id.wrapping_mul(2_654_435_761))).collect();
    let rows = ids.iter().map(|id| Row { size: 1, unique_id: id.as_bytes() });
    if let Some(commit) = world.registry.commit(session, end(Snapshot::pack(rows).unwrap(), false)) {
        commit.await;
    }
    assert_eq!(world.standing("a", NOW).await, TagStanding::Known);
    assert_eq!(world.snapshot().await, Err(NoSnapshot::NoRoom));
}

#[tokio::test]
async fn there_is_no_snapshot_during_a_session() {
    for world in World::of_all_modes() {
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        assert_eq!(world.snapshot().await.unwrap(), of("one"));
        let _dropped = world.begin("a").await;
        assert_eq!(world.snapshot().await, Err(NoSnapshot::NoneYet));
    }
}

/// A step of a session in the table below.
#[derive(Clone, Copy)]
enum Step {
    Look(usize),
    Begin(usize),
    /// It leaves a snapshot that names the session.
    Commit(usize),
    /// As `Commit`, after a deletion that the mail server has confirmed.
    Delete(usize),
    /// Another login is rejected.
    Reject,
    /// The user's record is lost.
    Forget,
}

#[tokio::test]
async fn no_snapshot_is_older_than_a_listing_that_was_seen_or_a_confirmed_deletion() {
    use Step::{Begin, Commit, Delete, Forget, Look, Reject};
    let orders: [(&str, &[Step], Option<usize>); 13] = [
        ("one after the other", &[Look(0), Begin(0), Commit(0), Look(1), Begin(1), Commit(1)], Some(1)),
        (
            "the second looks after the first has begun",
            &[Look(0), Begin(0), Look(1), Begin(1), Commit(1), Commit(0)],
            Some(1),
        ),
        (
            "as before, and the second ends last",
            &[Look(0), Begin(0), Look(1), Begin(1), Commit(0), Commit(1)],
            Some(1),
        ),
        (
            "the maildrop was opened before another session, and the reply came after it",
            &[Look(0), Look(1), Begin(1), Commit(1), Begin(0), Commit(0)],
            None,
        ),
        (
            "it is not known which listing is newer",
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
        (
            "a session that may leave no snapshot has deleted while a newer one was under way",
            &[Look(0), Look(1), Begin(0), Begin(1), Look(0), Begin(0), Delete(1), Commit(0)],
            None,
        ),
        ("its own deletion", &[Look(0), Begin(0), Delete(0)], Some(0)),
        (
            "a rejected login disturbs no session",
            &[Look(0), Begin(0), Reject, Commit(0), Reject, Reject],
            Some(0),
        ),
        (
            "a rejected login disturbs no session that has looked",
            &[Look(0), Reject, Begin(0), Commit(0)],
            Some(0),
        ),
        (
            "another session began and its user was forgotten since the look",
            &[Look(0), Look(1), Begin(1), Forget, Begin(0), Commit(0)],
            None,
        ),
        (
            "its user was forgotten during the session, and it has deleted",
            &[Look(0), Begin(0), Forget, Look(1), Delete(0), Begin(1), Commit(1)],
            None,
        ),
    ];
    for (name, steps, expected) in orders {
        for (mode, world) in World::of_all_modes().into_iter().enumerate() {
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
            assert_eq!(found.ok(), expected.map(|it| of(&it.to_string())), "{name}, mode {mode}");
        }
    }
}

#[tokio::test]
async fn an_upgraded_session_leaves_no_snapshot_if_another_has_seen_a_newer_maildrop() {
    for world in World::of_all_modes() {
        let before = world.begin("a").await;
        world.commit(before, "old", false).await;
        let posed = world.last_seen().await.unwrap().token;
        let other = world.begin("a").await;
        world.commit(other, "new", false).await;
        let upgraded = world.upgrade(posed).await;
        world.commit(upgraded, "old", false).await;
        assert_eq!(world.snapshot().await.unwrap(), of("new"));
        // Undisturbed, it leaves a snapshot.
        let posed = world.last_seen().await.unwrap().token;
        let upgraded = world.upgrade(posed).await;
        assert_eq!(world.snapshot().await, Err(NoSnapshot::NoneYet));
        world.commit(upgraded, "left", true).await;
        assert_eq!(world.snapshot().await.unwrap(), of("left"));
        // After a failed upgrade the next login passes, even if a session is under way.
        let posed = world.last_seen().await.unwrap().token;
        world.registry.forget_snapshot(world.user).await;
        let upgraded = world.upgrade(posed).await;
        world.commit(upgraded, "left", false).await;
        assert!(world.snapshot().await.is_err());
    }
}

#[tokio::test]
async fn rejections_are_counted_until_the_mail_server_accepts_a_login() {
    for world in World::of_all_modes() {
        world.reject("wrong").await;
        assert!(
            world.registry.describe(world.user, NOW).await.is_none(),
            "an unknown user must stay unknown"
        );
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
async fn an_older_session_leaves_no_snapshot_even_if_its_user_was_forgotten_meanwhile() {
    let world = World::new(128 << 10);
    let first = world.begin("a").await;
    // Looked up before any user could be evicted.
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
    for world in World::of_all_modes() {
        world.begin("a").await;
        let day_ms = 86_400_000;
        assert_eq!(world.standing("a", NOW + day_ms).await, TagStanding::Known);
        assert_eq!(world.standing("a", NOW + day_ms + 1000).await, TagStanding::Unknown);
    }
}

#[tokio::test]
async fn a_huge_snapshot_is_not_kept() {
    let world = World::new(1 << 20);
    let session = world.begin("a").await;
    let huge = |count| Snapshot::pack((0..count).map(|_| Row { size: 1, unique_id: b"0123456789" }));
    let _ = world.registry.commit(session, end(huge(6000).unwrap(), false));
    assert_eq!(world.snapshot().await, Err(NoSnapshot::TooLarge));
    assert_eq!(world.standing("a", NOW).await, TagStanding::Known);
}

#[tokio::test]
async fn the_size_limit_of_snapshots_is_the_same_for_every_user() {
    let world = World::new(1 << 20);
    let rows = || (0..5000).map(|_| Row { size: 1, unique_id: b"0123456789" });
    for index in 0..200_u32 {
        let user = world.tagger.user("mail", &index.to_le_bytes());
        let session = world.open(world.look_of(user, "a").await).await;
        let _ = world.registry.commit(session, end(Snapshot::pack(rows()).unwrap(), false));
        let fetched = world.registry.look(user, None, NOW).await;
        let last_seen = world.registry.last_seen(&fetched, user);
        assert_eq!(last_seen.map(|last_seen| last_seen.snapshot.count()).ok(), Some(5000));
        assert!(world.registry.bytes() <= 1 << 20);
    }
}

#[tokio::test]
async fn a_snapshot_is_upgraded_where_its_session_went() {
    for world in World::of_all_modes() {
        let route = Arc::new(Route { pool: Some("other".to_owned()), user: Some("box".to_owned()) });
        let opening = Opening { route: Some(route.clone()), ..world.look("a").await };
        let session = world.open(opening).await;
        world.commit(session, "one", false).await;
        let fetched = world.look("a").await.fetched;
        let left = world.registry.last_seen(&fetched, world.user).unwrap();
        assert_eq!(left.route, Some(route), "{:?}", world.registry);
    }
}

#[tokio::test]
async fn a_signal_counts_after_the_clock_was_set_back() {
    for world in World::of_all_modes() {
        let session = world.open(world.look_at(world.user, "a", NOW + 60_000).await).await;
        world.commit(session, "one", false).await;
        assert!(world.registry.hear(world.user, NOW, NOW).await.unwrap());
        let fetched = world.look("a").await.fetched;
        let left = world.registry.last_seen(&fetched, world.user).unwrap();
        assert_eq!(left.heard, None, "{:?}", world.registry);
    }
}

#[tokio::test]
async fn only_the_latest_eight_secrets_of_a_user_are_known() {
    for world in World::of_all_modes() {
        for secret in 1..=9 {
            world.begin(&secret.to_string()).await;
        }
        assert_eq!(world.standing("1", NOW).await, TagStanding::Changed);
        assert_eq!(world.standing("2", NOW).await, TagStanding::Known);
        assert_eq!(world.standing("9", NOW).await, TagStanding::Known);
    }
}

#[tokio::test]
async fn memory_stays_within_its_limit_and_the_latest_users_stay() {
    let world = World::new(256 << 10);
    let mut last = world.user;
    for index in 0..20_000_u32 {
        last = world.tagger.user("mail", &index.to_le_bytes());
        let session = world.open(world.look_of(last, "a").await).await;
        let _ = world.registry.commit(session, end(of("one"), false));
    }
    assert!(world.registry.bytes() <= 256 << 10);
    assert!(world.registry.users() > 500);
    let fetched = world.registry.look(last, None, NOW).await;
    assert!(world.registry.last_seen(&fetched, last).is_ok());
}

impl World {
    /// A session that finds `found` and leaves `left`, at a second of its own.
    async fn session(&self, found: &str, left: &str, second: u64) {
        let now_ms = NOW + second * 1000;
        let session = self.open(self.look_at(self.user, "a", now_ms).await).await;
        let end = LeftMaildrop {
            found: of(found).digest(),
            deleted: found != left,
            ..LeftMaildrop::without_deletions(of(left), now_ms)
        };
        if let Some(commit) = self.registry.commit(session, end) {
            commit.await;
        }
    }

    /// When the maildrop was seen, has changed and was upgraded, in seconds after [`NOW`].
    async fn times(&self) -> Option<(u32, u32, Option<u32>)> {
        let facts = self.registry.look(self.user, None, NOW).await.facts;
        let times = facts.snapshot?.times;
        let start = u32::try_from(NOW / 1000).unwrap();
        let upgraded = (times.upgraded_s != 0).then(|| times.upgraded_s - start);
        Some((times.seen_s - start, times.changed_s - start, upgraded))
    }
}

#[tokio::test]
async fn a_maildrop_has_changed_if_a_session_finds_something_else_than_was_left() {
    for world in World::of_all_modes() {
        assert_eq!(world.times().await, None);
        world.session("one", "one", 1).await;
        assert_eq!(world.times().await, Some((1, 1, None)));
        world.session("one", "one", 2).await;
        assert_eq!(world.times().await, Some((2, 1, None)));
        world.session("two", "two", 3).await;
        assert_eq!(world.times().await, Some((3, 3, None)));
        // What a session deletes itself is no change.
        world.session("two", "rest", 4).await;
        assert_eq!(world.times().await, Some((4, 3, None)));
        world.session("rest", "rest", 5).await;
        assert_eq!(world.times().await, Some((5, 3, None)));
    }
}

#[tokio::test]
async fn an_upgrade_is_remembered_with_the_snapshot() {
    for world in World::of_all_modes() {
        world.session("one", "one", 1).await;
        let posed = world.last_seen().await.unwrap().token;
        let (tag, now_ms) = (world.tag("a"), NOW + 2_000);
        let session = world
            .registry
            .begin_upgraded(Upgrade {
                user: world.user,
                tag,
                posed,
                heard: None,
                store_epoch: 0,
                looked_ms: now_ms,
            })
            .await;
        let end = LeftMaildrop::without_deletions(of("one"), NOW + 3_000);
        if let Some(commit) = world.registry.commit(session, end) {
            commit.await;
        }
        assert_eq!(world.times().await, Some((2, 1, Some(2))));
        world.session("two", "two", 4).await;
        assert_eq!(world.times().await, Some((4, 4, Some(2))));
    }
}

#[tokio::test]
async fn relayed_sessions_of_a_user_are_counted() {
    for world in World::of_all_modes() {
        let open = async || world.registry.look(world.user, None, NOW).await.facts.open_sessions;
        let sessions = [0, 1].map(|_| world.registry.open_session(world.user));
        let _another = world.registry.open_session(world.tagger.user("mail", b"bob"));
        assert_eq!(open().await, 2);
        drop(sessions);
        assert_eq!(open().await, 0);
    }
}

#[tokio::test]
async fn a_snapshot_that_another_proxy_has_overtaken_says_nothing() {
    let [here, there] = World::two_proxies(Share::Tags);
    here.session("one", "one", 1).await;
    assert_eq!(there.times().await, None);
    there.session("two", "two", 2).await;
    assert_eq!((here.times().await, there.times().await), (None, Some((2, 2, None))));
    assert_eq!(here.snapshot().await, Err(NoSnapshot::Elsewhere));
    // It is not known what the session over there has found.
    here.session("one", "one", 3).await;
    assert_eq!(here.times().await, Some((3, 3, None)));
}

impl World {
    async fn has_new_mail(&self) -> bool {
        let facts = self.registry.look(self.user, None, NOW).await.facts;
        let shown = self.last_seen().await.unwrap();
        assert_eq!(shown.heard.is_none(), facts.snapshot.unwrap().has_new_mail);
        shown.heard.is_none()
    }

    async fn hear(&self) -> bool {
        self.registry.hear(self.user, NOW, NOW).await.unwrap()
    }
}

#[tokio::test]
async fn a_signal_is_satisfied_by_a_session_that_looks_after_it() {
    for world in World::of_all_modes() {
        assert!(!world.hear().await, "nothing is kept for an unknown user");
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        if world.has_new_mail().await {
            // In this process, a signal may have come before there was a record.
            let session = world.begin("a").await;
            world.commit(session, "one", false).await;
        }
        assert!(!world.has_new_mail().await);
        assert!(world.hear().await);
        assert!(world.has_new_mail().await);
        let session = world.begin("a").await;
        world.commit(session, "two", false).await;
        assert!(!world.has_new_mail().await);
        // It comes between a session's look and its begin, and between its begin and its end.
        for before_begin in [true, false] {
            let look = world.look("a").await;
            if before_begin {
                world.hear().await;
            }
            let session = world.open(look).await;
            if !before_begin {
                world.hear().await;
            }
            world.commit(session, "two", false).await;
            assert!(world.has_new_mail().await, "{before_begin}");
            let session = world.begin("a").await;
            world.commit(session, "two", false).await;
            assert!(!world.has_new_mail().await);
        }
    }
}

#[tokio::test]
async fn an_upgraded_session_does_not_satisfy_a_signal_that_came_after_its_snapshot() {
    for world in World::of_all_modes() {
        for _ in 0..2 {
            let session = world.begin("a").await;
            world.commit(session, "one", false).await;
        }
        for heard_before in [false, true] {
            let posed = world.last_seen().await.unwrap();
            if heard_before {
                world.hear().await;
            }
            let session = world
                .registry
                .begin_upgraded(Upgrade {
                    user: world.user,
                    tag: world.tag("a"),
                    posed: posed.token,
                    heard: posed.heard,
                    store_epoch: 0,
                    looked_ms: NOW,
                })
                .await;
            world.commit(session, "one", false).await;
            assert_eq!(world.has_new_mail().await, heard_before);
        }
    }
}

#[tokio::test]
async fn a_mailbox_with_another_name_leads_to_its_users() {
    for world in World::of_all_modes() {
        let mailbox = world.tagger.mailbox("mail", b"box");
        for _ in 0..2 {
            let session = world.begin("a").await;
            world.commit(session, "one", false).await;
        }
        assert_eq!(world.registry.learn(mailbox, world.user, NOW).await, Learned::New);
        assert!(world.has_new_mail().await, "a signal may have come before");
        assert_eq!(world.registry.learn(mailbox, world.user, NOW).await, Learned::Known);
        let users: Vec<_> = world.registry.users_of(mailbox).await.unwrap().collect();
        assert_eq!(users, [world.user]);
        let other = world.tagger.mailbox("mail", b"other");
        assert_eq!(world.registry.users_of(other).await.unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_gap_in_the_signals_is_told_to_the_proxies_that_share_the_users() {
    for (world, told) in World::of_all_modes().iter().zip([None, Some(NOW), Some(NOW)]) {
        let [pool, other] = ["mail", "other"].map(|name| world.tagger.pool(name));
        assert_eq!(world.registry.last_gap(pool).await, None);
        world.registry.note_gap(pool, NOW).await.unwrap();
        assert_eq!(world.registry.last_gap(pool).await, told);
        assert_eq!(world.registry.last_gap(other).await, None);
    }
}

/// Redis was restarted, and may have lost the last writes.
#[tokio::test]
async fn a_session_that_a_store_may_have_lost_voids_what_was_seen_before_it() {
    for share in [Share::Tags, Share::TagsAndSnapshots] {
        let tagger = Tagger::keyed(b"a secret of the site, long enough");
        let user = tagger.user("mail", b"alice");
        let store = Store::in_memory(ManualClock::new(NOW));
        let epoch = store.epoch();
        let registry = Registry::shared(1 << 20, DAY, &store, &tagger, share).unwrap();
        let world = World { registry, tagger, user };
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        assert!(world.snapshot().await.is_ok());
        epoch.set(7);
        assert!(world.snapshot().await.is_err(), "{share:?}");
        // Sessions that are open meanwhile leave nothing, whenever they looked and began.
        for restarts_before_begin in [true, false] {
            let look = world.look("a").await;
            if restarts_before_begin {
                epoch.set(epoch.get() + 1);
            }
            let session = world.open(look).await;
            if !restarts_before_begin {
                epoch.set(epoch.get() + 1);
            }
            world.commit(session, "one", false).await;
            assert!(world.snapshot().await.is_err(), "{share:?}, {restarts_before_begin}");
        }
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        assert!(world.snapshot().await.is_ok(), "{share:?}");
    }
}
