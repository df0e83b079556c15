//! All pools of a configuration, and what policies see of them.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::pool::{Pool, PoolState};
use reprieve_policy_host::Backend;

/// The pools of a configuration, by name.
#[derive(Debug, Default)]
pub struct AllPools(HashMap<String, Arc<Pool>>);

impl Deref for AllPools {
    type Target = HashMap<String, Arc<Pool>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromIterator<(String, Arc<Pool>)> for AllPools {
    fn from_iter<I: IntoIterator<Item = (String, Arc<Pool>)>>(pools: I) -> Self {
        Self(pools.into_iter().collect())
    }
}

/// What policies can ask about them.
impl reprieve_policy_host::Pools for AllPools {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.keys().cloned().collect();
        names.sort();
        names
    }

    fn state(&self, pool: &str) -> Option<Backend> {
        self.get(pool).map(|pool| backend(pool))
    }
}

/// A pool's state as policies see it.
pub(super) fn backend(pool: &Pool) -> Backend {
    let PoolState { nodes, healthy, sessions, waiting, login_latency_ms } = pool.state();
    Backend {
        pool: pool.shared_name().clone(),
        nodes,
        healthy_nodes: healthy,
        sessions,
        waiting,
        login_latency_ms,
    }
}
