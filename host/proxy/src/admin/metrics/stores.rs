//! Stores, and what is remembered of users.

use super::exposition::Exposition;
use crate::server::Store;
use reprieve_store::Health;

/// What the store of all virtual servers is called that have none for themselves.
const OF_ALL: &str = "shared";

pub(super) fn write(stores: &[Store], out: &mut Exposition) {
    let stores: Vec<_> = stores
        .iter()
        .map(|store| (store, store.of.as_deref().unwrap_or(OF_ALL), store.home.status()))
        .collect();
    let mut up = out.gauge(
        "reprieve_store_up",
        "Whether the store can be used; 0 too while a file cannot be written and memory has to do.",
    );
    for (_, name, status) in &stores {
        up.add(&[("store", name), ("home", &status.home)], (status.health == Health::Well).into());
    }
    let mut operations = out.counter("reprieve_store_operations", "Reads and writes of the store.");
    for (store, name, _) in &stores {
        operations.add(&[("store", name)], store.home.operations());
    }
    // What follows cannot happen in memory.
    let outside = || stores.iter().filter(|(store, ..)| store.home.waits().is_some());
    let mut failures =
        out.counter("reprieve_store_failures", "Operations that failed because the store did not answer.");
    for (_, name, status) in outside() {
        failures.add(&[("store", name)], status.failures);
    }
    let mut timeouts = out.counter("reprieve_store_timeouts", "Those of them that took too long.");
    for (_, name, status) in outside() {
        timeouts.add(&[("store", name)], status.timeouts);
    }
    let mut outages = out.counter("reprieve_store_outages", "Times that the store went out of reach.");
    for (_, name, status) in outside() {
        outages.add(&[("store", name)], status.outages);
    }
    let mut waits = out.histogram(
        "reprieve_store_wait_seconds",
        "What operations have waited: in Redis all of them, in a file those that had to read it.",
    );
    for (store, name, _) in &stores {
        if let Some(histogram) = store.home.waits() {
            waits.add_histogram(&[("store", name)], &histogram);
        }
    }
    let namespaces: Vec<_> = stores
        .iter()
        .flat_map(|(store, name, _)| store.home.namespaces().into_iter().map(move |space| (*name, space)))
        .collect();
    let mut used = out.gauge("reprieve_store_used_bytes", "Octets that a namespace holds.");
    for (name, space) in &namespaces {
        if let Some(octets) = space.octets {
            used.add(&[("store", name), ("namespace", &space.name)], octets);
        }
    }
    let mut quota = out.gauge("reprieve_store_quota_bytes", "Octets that a namespace may hold.");
    for (name, space) in &namespaces {
        quota.add(&[("store", name), ("namespace", &space.name)], space.quota);
    }
    let mut entries = out.gauge(
        "reprieve_store_entries",
        "Entries of a namespace in memory, with those that have expired and are still there.",
    );
    for (name, space) in &namespaces {
        if let Some(count) = space.entries {
            entries.add(&[("store", name), ("namespace", &space.name)], count as u64);
        }
    }
    let remembered: Vec<_> =
        stores.iter().map(|(store, name, _)| (*name, store.registry.remembered())).collect();
    let mut gauge = |name, help, value: fn(&crate::maildrop::Remembered) -> u64| {
        let mut samples = out.gauge(name, help);
        remembered.iter().for_each(|(store, all)| samples.add(&[("store", store)], value(all)));
    };
    gauge("reprieve_maildrop_users", "Users who are remembered in this process.", |all| all.users as u64);
    gauge("reprieve_maildrop_snapshots", "Users whose maildrop is known.", |all| all.snapshots as u64);
    gauge("reprieve_maildrop_used_bytes", "Octets that what is remembered of users takes.", |all| all.octets);
    gauge("reprieve_maildrop_limit_bytes", "Octets that it may take (maildrop.memory).", |all| all.limit);
    let mut forgotten = out.counter(
        "reprieve_maildrop_forgotten_users",
        "Users who were forgotten because there was no room: each passes once more.",
    );
    for (store, all) in &remembered {
        forgotten.add(&[("store", store)], all.forgotten);
    }
}
