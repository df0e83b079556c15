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
    let records = records_in(&namespace);
    let unlisted = UserKey([0xff; 12]);
    let lifetime = Some(Duration::from_secs(60));
    runtime().block_on(namespace.set(&record_key(unlisted), b"a record", lifetime)).unwrap().unwrap();
    let listed = |number: usize| {
        let mut key = Hash::default();
        key[..8].copy_from_slice(&number.to_be_bytes());
        UserKey(key)
    };
    records.stale.lock().users = (1..MAX_STALE).map(|number| (listed(number), 0)).collect();
    records.mark_stale(listed(1));
    assert_eq!(records.stale_users(), MAX_STALE - 1);
    assert!(records.is_stale(listed(2)) && !records.is_stale(unlisted));
    for another in [MAX_STALE, MAX_STALE + 1, 1] {
        records.mark_stale(listed(another));
        assert_eq!(records.stale_users(), MAX_STALE);
        assert!(records.is_stale(unlisted), "it may be one of those that are not listed");
    }

    runtime().block_on(records.clone().delete_all_stale());
    assert_eq!(records.stale_users(), 0);
    assert!(!records.is_stale(unlisted) && !records.is_stale(listed(1)));
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
