//! WebAssembly engines for the policies of a server.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, PolicyCache};
use reprieve_policy_host::{self as policy, Cache, Engine, Limits, Policy};

/// During a swap, the old and the new policy run at the same time.
const GENERATIONS: usize = 2;

/// Creates engines. At the start, virtual servers whose policies have equal memory and stack limits
/// share one, because these limits determine the compiled code.
#[derive(Debug)]
pub(super) struct Engines {
    cache: Option<Cache>,
    threads: usize,
    shared: HashMap<(u64, u64), Arc<Engine>>,
}

impl Engines {
    /// `only_check`: the engines are not used to serve.
    pub(super) fn new(config: &Config, only_check: bool) -> anyhow::Result<Self> {
        let mut engines = Self {
            cache: open_cache(&config.policy_cache, only_check)?,
            threads: config.threads.max(1),
            shared: HashMap::new(),
        };
        let mut instances: HashMap<(u64, u64), u32> = HashMap::new();
        for server in &config.virtual_servers {
            let sum = instances.entry(key(&server.policy.limits)).or_default();
            *sum = sum.saturating_add(engines.instances(&server.policy.limits));
        }
        for (key, instances) in instances {
            engines.shared.insert(key, engines.make(key, instances)?);
        }
        Ok(engines)
    }

    /// Maximum number of instances that a virtual server's policies have at once.
    fn instances(&self, limits: &Limits) -> u32 {
        // One more for the trial before a policy becomes active.
        u32::try_from((self.threads * limits.instances + 1) * GENERATIONS).unwrap_or(u32::MAX)
    }

    fn make(&self, (memory, stack): (u64, u64), instances: u32) -> anyhow::Result<Arc<Engine>> {
        let size = policy::EngineSize { memory, stack, instances };
        Engine::new(size, self.cache.as_ref()).context("cannot start the WebAssembly engine")
    }

    /// The shared engine for a virtual server's first policy.
    pub(super) fn of(&self, limits: &Limits) -> anyhow::Result<Arc<Engine>> {
        self.shared.get(&key(limits)).cloned().context("a virtual server has no engine")
    }

    /// An engine for a policy that replaces another: the same one, if it has room.
    pub(super) fn for_successor(
        &self,
        before: Option<&Policy>,
        limits: &Limits,
    ) -> anyhow::Result<Arc<Engine>> {
        let fits = |before: &&Policy| {
            key(before.limits()) == key(limits) && before.limits().instances >= limits.instances
        };
        match before.filter(fits) {
            Some(before) => Ok(before.engine().clone()),
            None => self.make(key(limits), self.instances(limits)),
        }
    }

    /// An engine for a shadow policy, which runs on one thread.
    pub(super) fn for_shadow(&self, limits: &Limits) -> anyhow::Result<Arc<Engine>> {
        self.make(key(limits), 4)
    }
}

fn key(limits: &Limits) -> (u64, u64) {
    (limits.memory, limits.stack)
}

/// Opens the cache of compiled policies. The default folder is optional: if it cannot be used, a
/// warning is logged.
fn open_cache(wanted: &PolicyCache, only_check: bool) -> anyhow::Result<Option<Cache>> {
    match wanted {
        PolicyCache::Off => Ok(None),
        // Root must not run machine code that another user can write, and compiles by itself.
        PolicyCache::Directory(directory) if only_check && Cache::of_a_service_user(directory).is_some() => {
            Ok(None)
        }
        PolicyCache::Directory(directory) => Ok(Some(Cache::open(directory)?)),
        PolicyCache::Default => {
            let opened = Cache::usual_folder().map(|directory| Cache::open(&directory)).transpose();
            Ok(opened.unwrap_or_else(|error| {
                tracing::warn!("{error}; policies are compiled at each start. Set policy-cache to a directory, or to \"off\"");
                None
            }))
        }
    }
}
