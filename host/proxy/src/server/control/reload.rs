//! Another configuration: all of it that can be taken up while it serves.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::swap::is_same;
use super::{Control, NotChanged};
use crate::config::{Config, NodeTlsMode, PoolConfig, VirtualServerConfig};
use crate::net::{Admission, Inherited, TlsAcceptor};
use crate::pool::{Keeper, Pool};
use crate::server::core::{Changing, Present};
use crate::server::listening::Listening;
use crate::server::loading::Seat;
use crate::server::runtime;
use crate::server::sockets;
use crate::server::virtual_server::{Pools, Served, VirtualServer, settings};
use crate::session::Door;

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is otherwise now, a line each.
    pub changed: Vec<String>,
    /// Keys whose change waits for a restart.
    pub needs_restart: Vec<String>,
    /// What is not as it should be, and stays as it was.
    pub warnings: Vec<String>,
}

/// A virtual server that is ready to be served.
struct Next {
    shared: VirtualServer,
    listening: Vec<Arc<Listening>>,
    /// Those that listen already.
    known: usize,
    before: Option<Served>,
    /// Where connections come in: those that there are, or new ones.
    doors: Vec<Arc<Door>>,
}

impl Control {
    /// Takes up a configuration. Either all of it that can be taken up is, at once, or nothing.
    ///
    /// # Errors
    /// What is wrong with it; all goes on as before.
    pub fn reload(&self, mut config: Config) -> Result<Reloaded, NotChanged> {
        let mut changing = self.core.change().ok_or(NotChanged::Ending)?;
        let present = self.core.present.load_full();
        let mut done = Reloaded::default();
        keep_what_needs_a_restart(&present.config, &mut config, &mut done.needs_restart);
        let pools = pools(&present, &config, &mut done)?;
        let servers = self.virtual_servers(&mut changing, &present, &config, &pools, &mut done)?;
        let keeper =
            if Arc::ptr_eq(&pools, &present.pools) && config.name_servers == present.config.name_servers {
                None
            } else {
                let all = pools.values().cloned().collect();
                Some(Keeper::start(all, config.name_servers.clone()).context("cannot look after the nodes")?)
            };
        let judges = servers
            .iter()
            .map(|next| match &next.before {
                Some(before) => self.judges(before, &next.shared).map(Some),
                None => Ok(None),
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let fresh = |next: &Next| next.listening.iter().skip(next.known).cloned().collect::<Vec<_>>();
        let accepting = servers.iter().try_for_each(|next| {
            fresh(next)
                .iter()
                .try_for_each(|listening| self.core.accept(listening, &next.shared, &next.doors))
        });
        if let Err(error) = accepting {
            servers.iter().flat_map(fresh).for_each(|listening| listening.stop());
            return Err(error.into());
        }
        // The moment itself: from here on nothing can go wrong.
        let most = config.max_connections.unwrap_or(Config::MAX_CONNECTIONS);
        let mut changed = Present { config, servers: Vec::new(), pools: pools.clone(), gone: present.gone };
        for (next, judges) in servers.into_iter().zip(judges) {
            let Next { shared, listening, before, doors, .. } = next;
            shared.admission.limit(most, shared.config.max_connections_per_address);
            changed.servers.push(match (before, judges) {
                (Some(mut served), Some(judges)) => {
                    self.lead(&mut served, shared, judges, &pools);
                    served.listening = listening;
                    served
                }
                _ => Served { shared, doors, listening },
            });
        }
        for gone in &present.servers {
            let name = &gone.shared.config.name;
            if !changed.servers.iter().any(|served| served.shared.config.name == *name) {
                changed.gone = changed.gone + gone.shared.counters.snapshot();
            }
        }
        let kept: Vec<_> = changed.servers.iter().flat_map(|served| &served.listening).cloned().collect();
        for listening in present.servers.iter().flat_map(|server| &server.listening) {
            if !kept.iter().any(|kept| Arc::ptr_eq(kept, listening)) {
                listening.stop();
            }
        }
        let in_use = changed.certificates();
        let known = present.certificates();
        self.core.serve(changed);
        if keeper.is_some() {
            changing.keeper = keeper;
        }
        // What was loaded just now is as the files are.
        let before: Vec<_> = in_use
            .iter()
            .filter(|(_, acceptor)| known.iter().any(|(_, known)| Arc::ptr_eq(known, acceptor)))
            .cloned()
            .collect();
        self.core.certificates.note(&in_use);
        done.warnings.extend(self.core.certificates.reload(&before));
        for line in &done.changed {
            tracing::info!("reload: {line}");
        }
        for key in &done.needs_restart {
            tracing::warn!("reload: {key} has changed; that needs a restart");
        }
        Ok(done)
    }

    fn virtual_servers(
        &self,
        changing: &mut Changing,
        present: &Present,
        config: &Config,
        pools: &Pools,
        done: &mut Reloaded,
    ) -> anyhow::Result<Vec<Next>> {
        changing.stores.forget_quotas();
        let mut all = Vec::new();
        for server in &config.virtual_servers {
            let found = present.servers.iter().find(|served| served.shared.config.name == server.name);
            if found.is_none() && server.store.is_some() {
                done.needs_restart
                    .push(format!("virtual server {}, which has a store of its own,", server.name));
                continue;
            }
            all.push(self.virtual_server(changing, (present, config), server, found, pools, done)?);
        }
        for served in &present.servers {
            let name = &served.shared.config.name;
            if !config.virtual_servers.iter().any(|server| server.name == *name) {
                done.changed.push(format!("virtual server {name} is gone; its sessions go on"));
            }
        }
        Ok(all)
    }

    /// Makes one ready.
    fn virtual_server(
        &self,
        changing: &mut Changing,
        (present, config): (&Present, &Config),
        server: &VirtualServerConfig,
        found: Option<&Served>,
        pools: &Pools,
        done: &mut Reloaded,
    ) -> anyhow::Result<Next> {
        let name = &server.name;
        let before = found.map(|served| &served.shared);
        let (store, namespace) = changing.stores.of(server)?;
        let tls = match (&server.tls, before) {
            (None, _) => None,
            (Some(tls), Some(VirtualServer { config, tls: Some(known), .. }))
                if config.tls.as_ref() == Some(tls) =>
            {
                Some(known.clone())
            }
            (Some(tls), _) => Some(Arc::new(TlsAcceptor::load(tls)?)),
        };
        let same_pools =
            pools.len() == present.pools.len() && pools.keys().all(|pool| present.pools.contains_key(pool));
        let same_namespace = before.is_some_and(|before| before.config.namespace == server.namespace);
        let runtime = runtime()?;
        let seat = |engine, version| Seat { engine, server, version, config, clock: &self.core.clock };
        let ((policy, component), replaced) = match before {
            Some(before)
                if same_pools
                    && same_namespace
                    && is_same(&before.policy, &before.config.policy, &server.policy) =>
            {
                ((before.policy.clone(), before.component.clone()), before.before.clone())
            }
            _ => {
                let current = before.map(|before| &*before.policy);
                let engine = changing.engines.succeeding(current, &server.policy.limits)?;
                let version = current.map_or(0, |policy| policy.version()) + 1;
                let loaded = runtime.block_on(seat(engine, version).load(namespace.clone()))?;
                if before.is_some() {
                    done.changed.push(format!("virtual server {name}: policy {}", server.policy.component));
                }
                (loaded, before.map(VirtualServer::running))
            }
        };
        let shadow = match (&server.shadow, before) {
            (None, _) => None,
            (Some(wanted), Some(VirtualServer { config, shadow: Some(running), .. }))
                if same_pools
                    && config.shadow.as_ref().is_some_and(|of| is_same(running.policy(), of, wanted)) =>
            {
                Some(running.clone())
            }
            (Some(wanted), before) => {
                let version = before
                    .and_then(|before| before.shadow.as_ref())
                    .map_or(0, |shadow| shadow.policy().version());
                let engine = changing.engines.for_shadow(&wanted.limits)?;
                let loading = seat(engine, version + 1).load_shadow(wanted, &store);
                Some(runtime.block_on(loading)?)
            }
        };
        match before {
            None => done.changed.push(format!("virtual server {name} is new")),
            Some(before) if before.config != *server => {
                done.changed.push(format!("virtual server {name}"));
            }
            Some(_) => {}
        }
        let mut listening = Vec::new();
        let mut fresh = Vec::new();
        for (address, encrypted) in sockets::addresses(server) {
            let known = found.and_then(|served| {
                served
                    .listening
                    .iter()
                    .find(|known| known.configured == address && known.encrypted == encrypted)
            });
            match known {
                Some(known) => listening.push(known.clone()),
                None => {
                    let threads = config.threads;
                    let opened = sockets::open((address, encrypted), threads, &mut Inherited::default());
                    fresh.push(opened.map_err(|error| error.at(server))?);
                }
            }
        }
        let known = listening.len();
        listening.extend(fresh);
        let most = config.max_connections.unwrap_or(Config::MAX_CONNECTIONS);
        let admission = match before {
            Some(before) => before.admission.clone(),
            None => Admission::new(self.core.total.clone(), most, server.max_connections_per_address),
        };
        let pool = pools.get(&server.pool).context("a virtual server's pool is not defined")?.clone();
        let shared = VirtualServer {
            settings: Arc::new(settings(server, tls.clone())),
            tls,
            policy,
            component,
            before: replaced,
            shadow,
            pool,
            store,
            namespace,
            admission,
            counters: before.map_or_else(Arc::default, |before| before.counters.clone()),
            pollers: before.map_or_else(
                || config.admin.worst_pollers.then(Arc::default),
                |before| before.pollers.clone(),
            ),
            unrelieved: before.map_or_else(Arc::default, |before| before.unrelieved.clone()),
            config: server.clone(),
        };
        let doors = match found {
            Some(served) => served.doors.clone(),
            None => self.core.doors(&shared, pools)?,
        };
        Ok(Next { shared, listening, known, before: found.cloned(), doors })
    }
}

/// The pools: those whose configuration is the same stay; of others, what is known of nodes does.
fn pools(present: &Present, config: &Config, done: &mut Reloaded) -> anyhow::Result<Pools> {
    let mut pools = HashMap::new();
    for pool in &config.pools {
        let before = present.pools.get(&pool.name);
        let is_same = before.is_some_and(|before| before.config() == pool);
        let made = match before {
            Some(before) if is_same && !reads_files(pool) => before.clone(),
            _ => match (Pool::succeeding(pool.clone(), before.map(|pool| &**pool)), before) {
                (Ok(made), _) => {
                    if !is_same {
                        let what = if before.is_some() { "" } else { " is new" };
                        done.changed.push(format!("pool {}{what}", pool.name));
                    }
                    Arc::new(made)
                }
                // Only its files have changed, and this process may not be allowed to read them.
                (Err(error), Some(before)) if is_same => {
                    done.warnings.push(format!("pool {}: what is in use stays: {error}", pool.name));
                    before.clone()
                }
                (Err(error), _) => return Err(error.into()),
            },
        };
        pools.insert(pool.name.clone(), made);
    }
    for name in present.pools.keys().filter(|name| !pools.contains_key(*name)) {
        done.changed.push(format!("pool {name} is gone; its sessions go on"));
    }
    let unchanged = pools.len() == present.pools.len()
        && pools
            .iter()
            .all(|(name, pool)| present.pools.get(name).is_some_and(|known| Arc::ptr_eq(known, pool)));
    Ok(if unchanged { present.pools.clone() } else { Arc::new(pools) })
}

fn reads_files(pool: &PoolConfig) -> bool {
    pool.tls.mode != NodeTlsMode::Off || pool.master.is_some()
}

/// Puts back what cannot change while it serves, and names it.
fn keep_what_needs_a_restart(before: &Config, wanted: &mut Config, named: &mut Vec<String>) {
    macro_rules! keep {
        ($($key:literal $field:ident),+ $(,)?) => {
            $(if wanted.$field != before.$field {
                named.push(format!("`{}`", $key));
                wanted.$field = before.$field.clone();
            })+
        };
    }
    keep! {
        "threads" threads,
        "policy-cache" policy_cache,
        "maildrop.memory" maildrop_memory,
        "maildrop.trust" maildrop_trust,
        "admin" admin,
        "user" user,
        "group" group,
        "store" store,
        "decision-log" decision_log,
        "traces" traces,
    }
    for server in &mut wanted.virtual_servers {
        let Some(known) = before.virtual_servers.iter().find(|known| known.name == server.name) else {
            continue;
        };
        if server.store != known.store {
            named.push(format!("`virtual-server.store` of {}", server.name));
            server.store.clone_from(&known.store);
            server.namespace.clone_from(&known.namespace);
        }
        if server.policy.store_quota != known.policy.store_quota {
            named.push(format!("`virtual-server.policy.store-quota` of {}", server.name));
            server.policy.store_quota = known.policy.store_quota;
        }
    }
}

impl Present {
    /// The certificates in use.
    pub(in crate::server) fn certificates(&self) -> Vec<(String, Arc<TlsAcceptor>)> {
        let with_tls = self
            .servers
            .iter()
            .filter_map(|server| Some((server.shared.config.name.clone(), server.shared.tls.clone()?)));
        with_tls.collect()
    }
}
