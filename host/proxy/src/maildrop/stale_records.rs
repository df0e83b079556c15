//! Users whose record in a shared store is out of date, because one of their sessions could not be
//! written. This proxy ignores such a record, and deletes it as soon as the store can be reached.

use std::collections::BTreeMap;

use reprieve_sync::Mutex;
use reprieve_sync::atomic::{AtomicUsize, Ordering};

use super::tag::UserKey;

/// Maximum number of users to track. Beyond it, all records are out of date, and will be deleted.
const LIMIT: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct StaleRecords {
    limit: usize,
    marked: Mutex<Marked>,
    /// Number of users; `limit` if it is exceeded. Most of the time 0, so that nobody needs the lock.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Marked {
    /// Each has the number of the failure, because another one may come while the record is deleted.
    users: BTreeMap<UserKey, u64>,
    failures: u64,
    /// There were more than the limit: all records are out of date.
    all: bool,
}

/// The failures at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failures(u64);

impl Default for StaleRecords {
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl StaleRecords {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self { limit, marked: Mutex::default(), count: AtomicUsize::new(0) }
    }

    /// Notes that a session of a user could not be written.
    pub(super) fn mark(&self, user: UserKey) {
        let mut marked = self.marked.lock();
        marked.failures += 1;
        let failure = marked.failures;
        if marked.users.len() < self.limit || marked.users.contains_key(&user) {
            marked.users.insert(user, failure);
        } else {
            marked.all = true;
        }
        self.set_count(&marked);
    }

    /// Whether a user's record is out of date.
    pub(super) fn contains(&self, user: UserKey) -> bool {
        self.count() > 0 && {
            let marked = self.marked.lock();
            marked.all || marked.users.contains_key(&user)
        }
    }

    /// Number of users, at most the limit.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn is_empty(&self) -> bool {
        let marked = self.marked.lock();
        marked.users.is_empty() && !marked.all
    }

    /// Whether all records are out of date.
    pub(super) fn are_all(&self) -> bool {
        self.marked.lock().all
    }

    /// Some of the users, at most so many.
    pub(super) fn some(&self, count: usize) -> Vec<UserKey> {
        self.marked.lock().users.keys().take(count).copied().collect()
    }

    /// The failures until now, before a record or all of them are deleted.
    pub(super) fn failures(&self) -> Failures {
        Failures(self.marked.lock().failures)
    }

    /// A user's record was deleted, after those failures.
    pub(super) fn deleted(&self, user: UserKey, after: Failures) {
        let mut marked = self.marked.lock();
        if marked.users.get(&user).is_some_and(|failure| *failure <= after.0) {
            marked.users.remove(&user);
        }
        self.set_count(&marked);
    }

    /// All records were deleted, after those failures. If there were others meanwhile, some record may be
    /// there again, and all must be deleted once more.
    pub(super) fn all_deleted(&self, after: Failures) {
        let mut marked = self.marked.lock();
        if marked.failures == after.0 {
            marked.users.clear();
            marked.all = false;
        }
        self.set_count(&marked);
    }

    /// Called with the lock, so that the number is that of the latest change.
    fn set_count(&self, marked: &Marked) {
        let count = if marked.all { self.limit } else { marked.users.len() };
        self.count.store(count, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> UserKey {
        UserKey::numbered(number)
    }

    #[test]
    fn a_failure_during_the_deletion_keeps_a_record_stale() {
        let stale = StaleRecords::with_limit(9);
        stale.mark(user(1));
        let before = stale.failures();
        stale.mark(user(1));
        stale.deleted(user(1), before);
        assert!(stale.contains(user(1)) && !stale.contains(user(2)));
        stale.deleted(user(1), stale.failures());
        assert!(!stale.contains(user(1)) && stale.is_empty());
    }

    #[test]
    fn beyond_the_limit_all_records_are_stale_until_all_are_deleted() {
        let stale = StaleRecords::with_limit(2);
        (1..=3).for_each(|number| stale.mark(user(number)));
        assert!(stale.are_all() && stale.contains(user(3)) && stale.contains(user(4)));
        // One that is tracked does not make room for those that are not.
        stale.deleted(user(1), stale.failures());
        assert!(stale.contains(user(1)) && stale.contains(user(3)));
        assert_eq!(stale.count(), 2);
        let before = stale.failures();
        stale.mark(user(5));
        stale.all_deleted(before);
        assert!(stale.contains(user(5)), "it failed meanwhile");
        stale.all_deleted(stale.failures());
        assert!(!stale.contains(user(5)) && stale.is_empty() && stale.count() == 0);
    }
}
