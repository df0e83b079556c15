//! What the registry knows of users, sessions and snapshots, in each of its modes.

use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn a_session_knows_what_was_left_before_it_and_whether_it_may_leave_something() {
    for world in World::of_all_modes() {
        let one = of("one").digest();
        let session = world.begin("a").await;
        assert!(session.may_leave_snapshot() && !session.has_found_the_same(one));
        assert_eq!(session.previous(), None);
        world.commit(session, "one", false).await;
        // In this process, a signal may have come before there was a record.
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;

        let opening = world.look_at(world.user, "a", NOW + 5000).await;
        let heard = opening.fetched.heard();
        let session = world.open(opening).await;
        assert!(session.has_found_the_same(one) && !session.has_found_the_same(of("two").digest()));
        assert_eq!(session.previous(), Some(&of("one")));
        assert_eq!((session.heard(), session.looked_s()), (heard, (NOW / 1000) as u32 + 5));
        world.commit(session, "one", false).await;

        world.hear().await;
        let [first, second] = [world.look("a").await, world.look("a").await];
        assert_ne!(first.fetched.heard(), heard);
        let first = world.open(first).await;
        assert_eq!(first.previous(), None, "there may be messages that were signalled");
        assert!(first.may_leave_snapshot() && first.has_found_the_same(one));
        let second = world.open(second).await;
        assert!(!second.may_leave_snapshot() && !second.has_found_the_same(one));
    }
}

#[tokio::test]
async fn what_is_known_of_a_snapshot_are_its_size_and_whether_it_is_of_another_pool() {
    for world in World::of_all_modes() {
        for (pool, user, is_elsewhere) in [(Some("other"), None, true), (None, Some("box"), false)] {
            let [pool, user] = [pool, user].map(|name| name.map(str::to_owned));
            let route = Some(Arc::new(Route { pool: pool.clone(), user }));
            let session = world.open(Opening { route: route.clone(), ..world.look("a").await }).await;
            let rows = [3, 4].map(|size| Row { size, unique_id: if size == 3 { b"x" } else { b"y" } });
            if let Some(commit) = world.registry.commit(session, end(Snapshot::pack(rows).unwrap(), false)) {
                commit.await;
            }
            let fetched = world.registry.look(world.user, None, NOW).await;
            let facts = fetched.facts.snapshot.unwrap();
            assert_eq!((facts.messages, facts.total_bytes, facts.is_elsewhere), (2, 7, is_elsewhere));
            assert_eq!(world.registry.route(&fetched, world.user), route);

            let described = world.registry.describe(world.user, NOW).await.unwrap();
            let expected = Description {
                secrets: 1,
                accepted_at_s: Some(NOW / 1000),
                messages: Some(2),
                bytes: Some(7),
                no_snapshot: None,
                rejections: 0,
                pool,
            };
            assert_eq!(described, expected);
        }
        let much_later = world.registry.describe(world.user, NOW + 86_401_000).await.unwrap();
        assert_eq!((much_later.secrets, much_later.accepted_at_s), (0, Some(NOW / 1000)));
    }
}

#[tokio::test]
async fn the_first_snapshot_of_a_user_is_in_doubt_if_a_signal_may_have_come_before_there_was_a_record() {
    for expects_signals in [false, true] {
        for (world, is_local) in World::of_all_modes().iter().zip([true, false, false]) {
            let session = world.open(Opening { expects_signals, ..world.look("a").await }).await;
            world.commit(session, "one", false).await;
            // In a store, the record was reserved when the session looked.
            assert_eq!(world.has_new_mail().await, expects_signals && is_local);
        }
    }
}

#[tokio::test]
async fn a_login_that_fails_before_it_shows_the_maildrop_voids_the_snapshot() {
    for world in World::of_all_modes() {
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        if let Some(write) = world.registry.forget_opened(world.look("a").await) {
            write.await;
        }
        assert!(world.snapshot().await.is_err());
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        assert!(world.snapshot().await.is_ok());
    }
}

#[tokio::test]
async fn a_pose_is_remembered_where_that_costs_no_write_in_the_store() {
    for is_upgrade in [false, true] {
        for (world, is_remembered) in World::of_all_modes().iter().zip([true, true, false]) {
            let session = world.begin("a").await;
            world.commit(session, "one", false).await;
            let left = world.last_seen().await.unwrap();
            assert!(!left.was_posed);
            world.registry.pose(world.user, NOW + 7000);
            assert_eq!(world.last_seen().await.unwrap().was_posed, is_remembered);
            let session = if is_upgrade { world.upgrade(left.token).await } else { world.begin("a").await };
            let posed_s = if is_remembered { (NOW / 1000) as u32 + 7 } else { 0 };
            assert_eq!(session.wait().posed_s, posed_s, "{is_upgrade} {:?}", world.registry);
        }
    }
}

#[tokio::test]
async fn a_login_that_was_posed_before_a_signal_has_not_delayed_its_mail() {
    for is_upgrade in [false, true] {
        for world in World::of_all_modes() {
            for _ in 0..2 {
                let session = world.begin("a").await;
                world.commit(session, "one", false).await;
            }
            let posed = world.last_seen().await.unwrap().token;
            world.registry.pose(world.user, NOW + 7000);
            assert!(world.registry.hear(world.user, NOW + 9000, NOW + 9000).await.unwrap());
            let session = if is_upgrade { world.upgrade(posed).await } else { world.begin("a").await };
            let expected =
                super::super::super::maildrop_session::Wait { heard_s: (NOW / 1000) as u32 + 9, posed_s: 0 };
            assert_eq!(session.wait(), expected, "{is_upgrade} {:?}", world.registry);
        }
    }
}

#[tokio::test]
async fn a_user_is_forgotten_once_wherever_they_are_known() {
    for world in World::of_all_modes() {
        world.begin("a").await;
        assert!(world.registry.forget(world.user).await.unwrap());
        assert_eq!(world.standing("a", NOW).await, TagStanding::Unknown);
        assert!(!world.registry.forget(world.user).await.unwrap());
    }
    for share in [Share::Tags, Share::TagsAndSnapshots] {
        let [here, there] = World::two_proxies(share);
        here.begin("a").await;
        assert!(there.registry.forget(there.user).await.unwrap());
        assert_eq!(here.standing("a", NOW).await, TagStanding::Unknown);
    }
}

#[tokio::test]
async fn no_two_sessions_of_proxies_that_share_users_have_the_same_token() {
    for share in [Share::Tags, Share::TagsAndSnapshots] {
        let mut tokens = HashSet::new();
        for world in World::two_proxies(share) {
            for _ in 0..5 {
                let session = world.begin("a").await;
                assert!(session.may_leave_snapshot() && tokens.insert(session.token));
            }
        }
    }
}

#[test]
fn the_number_after_the_last_is_no_token() {
    let registry = Registry { next_token: AtomicU64::new(u64::MAX), ..Registry::new(1 << 20, DAY) };
    assert_eq!([registry.token(), registry.token(), registry.token()], [u64::MAX, 1, 2]);
}

#[test]
fn a_registry_knows_whether_proxies_share_it() {
    let tagger = Tagger::keyed(b"a secret of the site, long enough");
    for (share, is_shared) in [(Share::Off, false), (Share::Tags, true), (Share::TagsAndSnapshots, true)] {
        let store = Store::in_memory(ManualClock::new(NOW));
        let registry = Registry::shared(1 << 20, DAY, &store, &tagger, share).unwrap();
        assert_eq!((registry.is_shared(), registry.stale_users()), (is_shared, 0));
    }
}

#[tokio::test]
async fn users_in_this_process_are_counted_with_their_memory() {
    let world = World::new(1 << 20);
    let session = world.begin("a").await;
    world.commit(session, "one", false).await;
    let other = world.tagger.user("mail", b"bob");
    world.open(world.look_of(other, "a").await).await;
    let bytes = world.registry.bytes();
    assert!(bytes > 160, "{bytes}");
    let expected = MemoryUsage { users: 2, snapshots: 1, bytes, limit: 1 << 20, forgotten: 0 };
    assert_eq!((world.registry.memory_usage(), world.registry.users()), (expected, 2));
}

#[tokio::test]
async fn rejections_beyond_the_limit_are_not_written_to_a_store_but_forget_the_secret() {
    for (world, counted) in World::of_all_modes().iter().zip([7, 5, 5]) {
        world.begin("a").await;
        for _ in 0..7 {
            world.reject("wrong").await;
        }
        assert_eq!(world.registry.look(world.user, None, NOW).await.rejections, counted);
        assert_eq!(world.standing("a", NOW).await, TagStanding::Known);
        world.reject("a").await;
        assert_eq!(world.standing("a", NOW).await, TagStanding::Unknown);
    }
}

#[tokio::test]
async fn two_logins_of_a_new_user_at_once_disturb_each_other_only_if_both_see_the_maildrop() {
    for world in World::of_all_modes() {
        let mut both = [
            world.registry.look(world.user, Some(&world.tag("a")), NOW).await,
            world.registry.look(world.user, Some(&world.tag("a")), NOW).await,
        ];
        for fetched in &mut both {
            world.registry.reserve(fetched, world.user).await;
        }
        let [_, fetched] = both;
        let tag = Some(world.tag("a"));
        let user = world.user;
        let opening = Opening { user, tag, route: None, accepted_ms: NOW, fetched, expects_signals: true };
        let session = world.open(opening).await;
        assert!(session.may_leave_snapshot());
    }
}

/// Signals do not find the user: the store could not be reached when the name of their mailbox was noted.
#[tokio::test]
async fn a_session_whose_mailbox_is_not_noted_leaves_no_snapshot() {
    for world in World::of_all_modes() {
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        let mut opening = world.look("a").await;
        opening.fetched.leave_no_snapshot();
        let session = world.open(opening).await;
        assert!(!session.may_leave_snapshot());
        world.commit(session, "other", false).await;
        assert_eq!(world.look("a").await.fetched.facts.snapshot, None);
    }
}

#[tokio::test]
async fn a_mailbox_has_at_most_sixteen_users() {
    for world in World::of_all_modes() {
        let mailbox = world.tagger.mailbox("mail", b"box");
        let user = |number: u32| world.tagger.user("mail", &number.to_le_bytes());
        for number in 0..16 {
            assert_eq!(world.registry.learn(mailbox, user(number), NOW).await, Learned::New);
        }
        assert_eq!(world.registry.learn(mailbox, user(16), NOW).await, Learned::Full);
        assert_eq!(world.registry.learn(mailbox, user(15), NOW).await, Learned::Known);
        let users: Vec<_> = world.registry.users_of(mailbox).await.unwrap().collect();
        assert_eq!(users, (0..16).map(user).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_upgrade_after_the_record_was_lost_leaves_no_snapshot() {
    for world in World::of_all_modes() {
        let session = world.begin("a").await;
        world.commit(session, "one", false).await;
        let posed = world.last_seen().await.unwrap().token;
        world.registry.forget(world.user).await.unwrap();
        let session = world.upgrade(posed).await;
        assert!(!session.may_leave_snapshot());
        world.commit(session, "one", false).await;
        assert_eq!(world.snapshot().await, Err(NoSnapshot::NoneYet));
        assert_eq!(world.standing("a", NOW).await, TagStanding::Known);
    }
}

/// Redis was restarted, and may have lost the last writes.
#[tokio::test]
async fn an_upgraded_session_leaves_nothing_if_the_store_was_restarted_since_it_was_posed() {
    for share in [Share::Tags, Share::TagsAndSnapshots] {
        for restarts in [false, true] {
            let tagger = Tagger::keyed(b"a secret of the site, long enough");
            let user = tagger.user("mail", b"alice");
            let store = Store::in_memory(ManualClock::new(NOW));
            let epoch = store.epoch();
            epoch.set(7);
            let registry = Registry::shared(1 << 20, DAY, &store, &tagger, share).unwrap();
            let world = World { registry, tagger, user };
            let session = world.begin("a").await;
            world.commit(session, "one", false).await;

            let fetched = world.look("a").await.fetched;
            let posed = world.registry.last_seen(&fetched, user).unwrap();
            if restarts {
                epoch.set(8);
            }
            let (tag, store_epoch) = (world.tag("a"), fetched.store_epoch());
            let upgrade =
                Upgrade { user, tag, posed: posed.token, heard: posed.heard, store_epoch, looked_ms: NOW };
            let session = world.registry.begin_upgraded(upgrade).await;
            assert_eq!(session.may_leave_snapshot(), !restarts, "{share:?}");
            world.commit(session, "two", true).await;
            assert_eq!(world.snapshot().await.ok(), (!restarts).then(|| of("two")), "{share:?}");
        }
    }
}
