//! Users in the memory of this process, in shards, and those whose record in a shared store is out of date.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use reprieve_pop3::snapshot::{Row, Snapshot};
use reprieve_sync::atomic::{AtomicBool, Ordering};
use stale_records::{Failures, StaleRecords};
use tag::{Hash, UserKey};
use user::{DatedSnapshot, SnapshotTimes, User};
use users::{OpenSession, Users};

#[path = "../../../host/proxy/src/maildrop/maildrop_session.rs"]
mod maildrop_session;
#[path = "../../../host/proxy/src/maildrop/no_snapshot.rs"]
mod no_snapshot;
#[path = "../../../host/proxy/src/maildrop/open_sessions.rs"]
mod open_sessions;
#[path = "../../../host/proxy/src/maildrop/stale_records.rs"]
mod stale_records;
#[path = "../../../host/proxy/src/maildrop/table.rs"]
mod table;
#[path = "../../../host/proxy/src/maildrop/tag.rs"]
mod tag;
#[path = "../../../host/proxy/src/maildrop/user.rs"]
mod user;
#[path = "../../../host/proxy/src/maildrop/users.rs"]
mod users;

/// Room for two or three users.
const LIMIT: u64 = 256;
const USERS: u8 = 4;
const THREADS: u8 = 3;

/// Each in a shard of their own.
fn user(number: u8) -> UserKey {
    let mut hash = Hash::default();
    hash[3] = number << 6;
    hash[4] = number;
    UserKey(hash)
}

/// A session leaves a snapshot of so many messages.
fn leave(messages: u8) -> impl Fn(&mut User) {
    let ids: Vec<_> = (0..messages).map(|id| [b'a' + id]).collect();
    let snapshot = Snapshot::pack(ids.iter().map(|id| Row { size: 1, unique_id: id })).expect("a snapshot");
    let dated =
        DatedSnapshot { snapshot: snapshot.shared(), times: SnapshotTimes::default(), is_up_to_date: true };
    move |user| user.snapshot = Some(dated.clone())
}

/// More users than there is room for are changed, looked up and forgotten.
pub fn users_come_and_go() {
    let users = Users::new(LIMIT);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let users = &users;
            scope.spawn(move || {
                for round in 0..3 {
                    let user = user((thread + round) % USERS);
                    match thread_rng().gen_range(0..5) {
                        0 => _ = users.forget(user),
                        1 => _ = users.update_existing(user, |user| user.snapshot = None),
                        2 => _ = users.look(user, |_| ()),
                        _ => users.change(user, leave(thread)),
                    }
                }
            });
        }
    });
    let all = users.memory_usage();
    assert_eq!((all.users, all.bytes), (users.count(), users.bytes()));
    // Each thread keeps the user that it has changed, however large they are.
    assert!(all.bytes <= LIMIT || all.users <= THREADS.into(), "{all:?}");
    users.change(user(0), |_| ());
    let all = users.memory_usage();
    assert!(all.bytes <= LIMIT || all.users == 1, "{all:?}");
    for number in 0..USERS {
        users.forget(user(number));
    }
    assert_eq!((users.bytes(), users.memory_usage().snapshots), (0, 0));
}

/// Sessions of one user begin and end, while their record is forgotten.
pub fn open_sessions_are_counted() {
    let users = Arc::new(Users::new(LIMIT));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let session = OpenSession::new(users.clone(), user(1));
                assert!(users.open_sessions(user(1)) >= 1);
                users.change(user(1), leave(1));
                users.forget(user(1));
                drop(session);
            });
        }
    });
    assert_eq!(users.open_sessions(user(1)), 0);
    assert_eq!((users.count(), users.bytes()), (0, 0));
}

/// Two sessions of a user cannot be written while the user's record is deleted.
pub fn a_stale_record_is_deleted() {
    let stale = StaleRecords::with_limit(9);
    delete_while_sessions_fail(&stale, |failures| stale.deleted(user(0), failures));
}

/// The same with all records, because more were stale than can be tracked.
pub fn all_records_are_deleted() {
    let stale = StaleRecords::with_limit(1);
    (1..3).for_each(|number| stale.mark(user(number)));
    delete_while_sessions_fail(&stale, |failures| stale.all_deleted(failures));
}

fn delete_while_sessions_fail(stale: &StaleRecords, deleted: impl Fn(Failures) + Sync) {
    // Whether the store has what a session has left unfinished.
    let is_wrong = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                is_wrong.store(true, Ordering::SeqCst);
                stale.mark(user(0));
            });
        }
        scope.spawn(|| {
            for _ in 0..2 {
                let failures = stale.failures();
                is_wrong.store(false, Ordering::SeqCst);
                deleted(failures);
            }
        });
    });
    assert!(stale.contains(user(0)) || !is_wrong.load(Ordering::SeqCst), "a wrong record is trusted");
    assert_eq!(stale.count() == 0, stale.is_empty());
}
