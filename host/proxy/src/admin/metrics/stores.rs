//! Metrics of the stores, and of the users that are remembered.

use super::exposition::Exposition;
use crate::server::OpenedStore;
use reprieve_store::Health;

/// Label of the store that is shared by all virtual servers without a store of their own.
const SHARED: &str = "shared";

pub(super) fn write(stores: &[OpenedStore], out: &mut Exposition) {
    write_operations(stores, out);
    write_namespaces(stores, out);
    write_maildrops(stores, out);
}

fn label(store: &OpenedStore) -> &str {
    store.virtual_server.as_deref().unwrap_or(SHARED)
}

fn write_operations(stores: &[OpenedStore], out: &mut Exposition) {
    let stores: Vec<_> = stores.iter().map(|store| (store, label(store), store.store.status())).collect();
    let mut up = out.gauge(
        "reprieve_store_up",
        "Whether the store can be used; 0 also while a file cannot be written and memory is used instead.",
    );
    for (_, name, status) in &stores {
        up.add(&[("store", name), ("backend", &status.backend)], (status.health == Health::Healthy).into());
    }
    let mut operations = out.counter("reprieve_store_operations", "Reads and writes of the store.");
    for (store, name, _) in &stores {
        operations.add(&[("store", name)], store.store.operations());
    }
    // A store in memory cannot fail.
    let external = || stores.iter().filter(|(store, ..)| store.store.waits().is_some());
    let mut failures =
        out.counter("reprieve_store_failures", "Operations that failed because the store did not answer.");
    for (_, name, status) in external() {
        failures.add(&[("store", name)], status.failures);
    }
    let mut timeouts = out.counter("reprieve_store_timeouts", "Failures by timeout.");
    for (_, name, status) in external() {
        timeouts.add(&[("store", name)], status.timeouts);
    }
    let mut outages = out.counter("reprieve_store_outages", "Times that the store became unreachable.");
    for (_, name, status) in external() {
        outages.add(&[("store", name)], status.outages);
    }
    let mut waits = out.histogram(
        "reprieve_store_wait_seconds",
        "Time per operation: with Redis all of them, with a file those that had to read it.",
    );
    for (store, name, _) in &stores {
        if let Some(histogram) = store.store.waits() {
            waits.add_histogram(&[("store", name)], &histogram);
        }
    }
}

fn write_namespaces(stores: &[OpenedStore], out: &mut Exposition) {
    let namespaces: Vec<_> = stores
        .iter()
        .flat_map(|store| store.store.namespaces().into_iter().map(move |space| (label(store), space)))
        .collect();
    let mut used = out.gauge("reprieve_store_used_bytes", "Size of a namespace.");
    for (name, space) in &namespaces {
        if let Some(bytes) = space.used_bytes {
            used.add(&[("store", name), ("namespace", &space.name)], bytes);
        }
    }
    let mut quota = out.gauge("reprieve_store_quota_bytes", "Limit of a namespace's size.");
    for (name, space) in &namespaces {
        quota.add(&[("store", name), ("namespace", &space.name)], space.quota);
    }
    let mut entries = out.gauge(
        "reprieve_store_entries",
        "Entries of a namespace in memory, including expired ones that are not yet removed.",
    );
    for (name, space) in &namespaces {
        if let Some(count) = space.entries {
            entries.add(&[("store", name), ("namespace", &space.name)], count as u64);
        }
    }
}

fn write_maildrops(stores: &[OpenedStore], out: &mut Exposition) {
    let remembered: Vec<_> =
        stores.iter().map(|store| (label(store), store.registry.memory_usage())).collect();
    let mut gauge = |name, help, value: fn(&crate::maildrop::MemoryUsage) -> u64| {
        let mut samples = out.gauge(name, help);
        remembered.iter().for_each(|(store, all)| samples.add(&[("store", store)], value(all)));
    };
    gauge("reprieve_maildrop_users", "Users that this process remembers.", |all| all.users as u64);
    gauge("reprieve_maildrop_snapshots", "Users with a snapshot of their maildrop.", |all| {
        all.snapshots as u64
    });
    gauge("reprieve_maildrop_used_bytes", "Memory used for what is remembered of users.", |all| all.bytes);
    gauge("reprieve_maildrop_limit_bytes", "Limit of that memory (maildrop.memory).", |all| all.limit);
    let mut forgotten = out.counter(
        "reprieve_maildrop_forgotten_users",
        "Users that were forgotten because maildrop.memory was used up; the next login of each passes.",
    );
    for (store, all) in &remembered {
        forgotten.add(&[("store", store)], all.forgotten);
    }
}
