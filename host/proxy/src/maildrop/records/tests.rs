//! Stale records, and what is logged about a full store. The registry's tests have the rest.

use std::sync::OnceLock;

use super::*;
use reprieve_store::clock::ManualClock;
use reprieve_store::{Access, AccessResult, Fault, Interceptor};

fn records_in(namespace: &reprieve_store::Namespace) -> Arc<Records> {
    let seal = Seal::new(&[1; 32]).expect("a key of this length");
    Arc::new(Records::new(namespace.clone(), seal, Duration::from_secs(86_400), StoreEpoch::fixed(0), true))
}

fn in_memory() -> reprieve_store::Namespace {
    reprieve_store::Namespace::in_memory(1 << 20, ManualClock::new(0))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

#[test]
fn the_key_of_a_record_is_the_number_of_its_user() {
    assert_eq!(record_key(UserKey::numbered(0xabc)), "000000000000000000000abc");
    assert_eq!(record_key(UserKey::numbered(0xf1 << 88)), "f10000000000000000000000");
}

/// Without a runtime no task deletes them meanwhile.
#[test]
fn if_more_records_are_stale_than_can_be_listed_none_counts_until_all_are_deleted() {
    let namespace = in_memory();
    let seal = Seal::new(&[1; 32]).expect("a key of this length");
    let lifetime = Duration::from_secs(86_400);
    let records = Records::new(namespace.clone(), seal, lifetime, StoreEpoch::fixed(0), true);
    let records = Arc::new(Records { stale: StaleRecords::with_limit(2), ..records });
    let [one, other, third, unlisted] = [1, 2, 3, 4].map(UserKey::numbered);
    runtime().block_on(namespace.set(&record_key(unlisted), b"a record", Some(lifetime))).unwrap().unwrap();
    records.mark_stale(one);
    records.mark_stale(other);
    assert!(records.is_stale(one) && !records.is_stale(unlisted));
    for more in [third, one] {
        records.mark_stale(more);
        assert_eq!(records.stale_users(), 2);
        assert!(records.is_stale(unlisted), "it may be one of those that are not listed");
    }
    // One of those that are listed makes no room for those that are not.
    runtime().block_on(records.delete_stale(one)).unwrap();
    assert!(records.is_stale(third));

    runtime().block_on(records.clone().delete_all_stale());
    assert_eq!(records.stale_users(), 0);
    assert!(!records.is_stale(unlisted) && !records.is_stale(one));
    assert_eq!(runtime().block_on(namespace.get(&record_key(unlisted))).unwrap(), None);
}

/// A session fails while the record that an earlier one has made stale is deleted.
#[derive(Debug, Default)]
struct FailsDuringDeletion {
    records: OnceLock<Arc<Records>>,
}

impl Interceptor for FailsDuringDeletion {
    fn inject_fault(&self, _: &Access<'_>) -> Option<Fault> {
        None
    }

    fn observe(&self, access: &Access<'_>, _: &AccessResult) {
        if let (Access::Delete { .. }, Some(records)) = (access, self.records.get()) {
            records.mark_stale(UserKey::numbered(1));
        }
    }
}

#[test]
fn a_record_that_becomes_stale_again_while_it_is_deleted_stays_stale() {
    let failure = Arc::new(FailsDuringDeletion::default());
    let records = records_in(&in_memory().intercepted_by(failure.clone()));
    let user = UserKey::numbered(1);
    records.mark_stale(user);
    failure.records.set(records.clone()).unwrap();
    runtime().block_on(records.delete_stale(user)).unwrap();
    assert!(records.is_stale(user));
    assert_eq!(records.stale_users(), 1);
}

#[test]
fn a_full_store_is_logged_now_and_then() {
    let records = records_in(&in_memory());
    records.log_full(Refused::TooLong);
    assert_eq!(*records.full_logged.lock(), None);
    records.log_full(Refused::Quota);
    let logged = *records.full_logged.lock();
    assert!(logged.is_some());
    records.log_full(Refused::Quota);
    records.log_full(Refused::TooLong);
    assert_eq!(*records.full_logged.lock(), logged);
}
