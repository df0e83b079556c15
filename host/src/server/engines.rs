//! The engines that policies run in.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, PolicyCache, VirtualServerConfig};
use crate::policy::{self, Cache, Engine};

/// The engines of a process: virtual servers whose policies have equal limits of memory and
/// stack share one, because these shape the code.
pub(super) struct Engines(HashMap<(u64, u64), Arc<Engine>>);

impl Engines {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let cache = open_cache(&config.policy_cache)?;
        let mut instances: HashMap<(u64, u64), u32> = HashMap::new();
        for server in &config.virtual_servers {
            let each = config.threads.saturating_mul(server.policy.limits.instances);
            let sum = instances.entry(Self::key(server)).or_default();
            // Beside those that serve, one more is tried at the start.
            *sum = sum.saturating_add(u32::try_from(each + 1).unwrap_or(u32::MAX));
        }
        let engines = instances.into_iter().map(|((memory, stack), instances)| {
            let size = policy::EngineSize { memory, stack, instances };
            let engine = Engine::new(size, cache.as_ref()).context("cannot start the WebAssembly engine")?;
            Ok(((memory, stack), engine))
        });
        Ok(Self(engines.collect::<anyhow::Result<_>>()?))
    }

    fn key(server: &VirtualServerConfig) -> (u64, u64) {
        (server.policy.limits.memory, server.policy.limits.stack)
    }

    pub(super) fn of(&self, server: &VirtualServerConfig) -> anyhow::Result<Arc<Engine>> {
        self.0.get(&Self::key(server)).cloned().context("a virtual server has no engine")
    }
}

/// Opens the folder for compiled policies. The usual one is a convenience: a start goes on
/// without it.
fn open_cache(wanted: &PolicyCache) -> anyhow::Result<Option<Cache>> {
    match wanted {
        PolicyCache::Off => Ok(None),
        PolicyCache::Folder(folder) => Ok(Some(Cache::open(folder)?)),
        PolicyCache::Usual => {
            let opened = Cache::usual_folder().map(|folder| Cache::open(&folder)).transpose();
            Ok(opened.unwrap_or_else(|error| {
                tracing::warn!("{error}; policies are compiled at each start. Set policy-cache to a folder, or to \"off\"");
                None
            }))
        }
    }
}
