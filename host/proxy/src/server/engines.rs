//! The engines that policies run in.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, PolicyCache};
use reprieve_policy_host::{self as policy, Cache, Engine, Limits, Policy};

/// A policy that takes another's place runs beside it for a moment.
const GENERATIONS: usize = 2;

/// Makes engines, and has the first virtual servers share them: those whose policies have equal
/// limits of memory and stack can, because these shape the code.
#[derive(Debug)]
pub(super) struct Engines {
    cache: Option<Cache>,
    threads: usize,
    shared: HashMap<(u64, u64), Arc<Engine>>,
}

impl Engines {
    /// `only_check`: nothing is served by them.
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

    /// Instances that a virtual server's policies may have at once.
    fn instances(&self, limits: &Limits) -> u32 {
        // Beside those that serve, one more is tried before it serves.
        u32::try_from((self.threads * limits.instances + 1) * GENERATIONS).unwrap_or(u32::MAX)
    }

    fn make(&self, (memory, stack): (u64, u64), instances: u32) -> anyhow::Result<Arc<Engine>> {
        let size = policy::EngineSize { memory, stack, instances };
        Engine::new(size, self.cache.as_ref()).context("cannot start the WebAssembly engine")
    }

    /// The engine of a virtual server's first policy.
    pub(super) fn of(&self, limits: &Limits) -> anyhow::Result<Arc<Engine>> {
        self.shared.get(&key(limits)).cloned().context("a virtual server has no engine")
    }

    /// An engine for a policy that takes the place of another: its own, where it has room.
    pub(super) fn succeeding(&self, before: Option<&Policy>, limits: &Limits) -> anyhow::Result<Arc<Engine>> {
        let fits = |before: &&Policy| {
            key(before.limits()) == key(limits) && before.limits().instances >= limits.instances
        };
        match before.filter(fits) {
            Some(before) => Ok(before.engine().clone()),
            None => self.make(key(limits), self.instances(limits)),
        }
    }

    /// An engine for a policy that judges on one thread, a call at a time.
    pub(super) fn for_shadow(&self, limits: &Limits) -> anyhow::Result<Arc<Engine>> {
        self.make(key(limits), 4)
    }
}

fn key(limits: &Limits) -> (u64, u64) {
    (limits.memory, limits.stack)
}

/// Opens the folder for compiled policies. The usual one is a convenience: a start goes on
/// without it.
fn open_cache(wanted: &PolicyCache, only_check: bool) -> anyhow::Result<Option<Cache>> {
    match wanted {
        PolicyCache::Off => Ok(None),
        // Root runs no machine code that another user has written: it compiles for itself.
        PolicyCache::Folder(folder) if only_check && Cache::of_a_service_user(folder).is_some() => Ok(None),
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
