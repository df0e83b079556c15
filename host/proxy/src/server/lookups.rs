//! Lookup tables of virtual servers: reads them at the start, and again when their files change.

use super::core::Core;
use crate::config::VirtualServerConfig;
use crate::new_mail::Missed;
use reprieve_lookup::{Reload, Tables};

/// Reads the tables of a virtual server.
pub(super) fn open(server: &VirtualServerConfig) -> anyhow::Result<Tables> {
    let files = server.lookups.iter().map(|lookup| (&*lookup.name, &*lookup.path));
    Tables::open(files).map_err(|(name, error)| {
        let configured = server.lookups.iter().find(|lookup| lookup.name == name);
        let location = configured.map(|lookup| format!("{}: ", lookup.location)).unwrap_or_default();
        anyhow::anyhow!("{location}lookup table {name}: {error}")
    })
}

/// Reads the files again that `reload` finds. Returns a message for each that cannot be used; its old
/// version stays in use.
pub(super) fn reload(core: &Core, reload: fn(&Tables) -> Vec<Reload>) -> Vec<String> {
    let active = core.active.load();
    let mut warnings = Vec::new();
    for served in &active.servers {
        let server = &served.shared.config.name;
        for Reload { table, result, .. } in reload(&served.shared.lookups) {
            match result {
                Ok(entries) => tracing::info!(server, table, entries, "lookup table reloaded"),
                Err(error) => {
                    tracing::warn!(
                        server,
                        table,
                        "lookup table not reloaded, the old one stays in use: {error}"
                    );
                    warnings.push(format!(
                        "virtual server {server}: lookup table {table} not reloaded, the old one stays in use: {error}"
                    ));
                }
            }
        }
    }
    for pool in active.pools.values() {
        let name = pool.name();
        for Reload { result, .. } in pool.aliases().map(reload).unwrap_or_default() {
            match result {
                Ok(entries) => {
                    tracing::info!(pool = name, entries, "aliases reloaded");
                    // A signal may have been for a user that the old table did not name.
                    pool.signals().missed(Missed::Reconfigured, core.clock.now_ms());
                }
                Err(error) => {
                    tracing::warn!(pool = name, "aliases not reloaded, the old ones stay in use: {error}");
                    warnings.push(format!(
                        "pool {name}: aliases not reloaded, the old ones stay in use: {error}"
                    ));
                }
            }
        }
    }
    warnings
}

/// The tables as policies see them.
#[derive(Debug)]
pub(super) struct ForPolicies(pub(super) Tables);

impl reprieve_policy_host::Lookups for ForPolicies {
    fn get(&self, table: &str, key: &str) -> Option<Option<Box<str>>> {
        self.0.get(table, key).ok()
    }

    fn contains(&self, table: &str, key: &str) -> Option<bool> {
        self.0.contains(table, key).ok()
    }

    fn names(&self) -> Vec<String> {
        self.0.names().map(str::to_owned).collect()
    }
}
