//! Prepares the virtual servers of a new configuration. What has not changed is shared with the
//! active ones.

use std::sync::Arc;

use anyhow::Context as _;

use super::reload::ReloadReport;
use super::swap::is_same;
use crate::config::{Config, PolicyConfig, VirtualServerConfig};
use crate::net::{Admission, InheritedSockets, TlsAcceptor};
use crate::server::core::{ActiveConfig, ChangeResources, Core};
use crate::server::listener::Listener;
use crate::server::loading::{Component, PolicyLoader, PolicySource};
use crate::server::lookups;
use crate::server::runtime;
use crate::server::sockets;
use crate::server::stores::OpenedStore;
use crate::server::virtual_server::{Pools, Served, VirtualServer, settings};
use crate::session::ContextHandle;
use reprieve_lookup::Tables;
use reprieve_policy_host::{Engine, Policy, Shadow};
use reprieve_store::Namespace;

/// A virtual server that is ready to be activated.
pub(super) struct PreparedServer {
    pub(super) shared: VirtualServer,
    kept_listeners: Vec<Arc<Listener>>,
    pub(super) new_listeners: Vec<Arc<Listener>>,
    /// The active virtual server of the same name.
    pub(super) previous: Option<Served>,
    /// Those of the previous virtual server, or new ones.
    pub(super) handles: Vec<Arc<ContextHandle>>,
}

impl PreparedServer {
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.kept_listeners.iter().chain(&self.new_listeners)
    }
}

/// What the new virtual servers are prepared from.
pub(super) struct Preparation<'a> {
    pub(super) core: &'a Core,
    pub(super) resources: &'a mut ChangeResources,
    pub(super) active: &'a ActiveConfig,
    pub(super) config: &'a Config,
    pub(super) pools: &'a Pools,
    pub(super) report: &'a mut ReloadReport,
}

/// A loaded policy, with what `swap --back` restores.
struct LoadedPolicy {
    policy: Arc<Policy>,
    component: Component,
    previous: Option<PolicySource>,
}

impl Preparation<'_> {
    pub(super) fn virtual_servers(mut self) -> anyhow::Result<Vec<PreparedServer>> {
        self.resources.stores.forget_quotas();
        let mut prepared = Vec::new();
        for server in &self.config.virtual_servers {
            let active = &self.active.servers;
            let previous = active.iter().find(|served| served.shared.config.name == server.name);
            if previous.is_none() && server.store.is_some() {
                let line = format!("virtual server {}, which has a store of its own,", server.name);
                self.report.needs_restart.push(line);
                continue;
            }
            prepared.push(self.virtual_server(server, previous)?);
        }
        for served in &self.active.servers {
            let name = &served.shared.config.name;
            if !self.config.virtual_servers.iter().any(|server| server.name == *name) {
                self.report.changed.push(format!("virtual server {name} removed; its sessions continue"));
            }
        }
        Ok(prepared)
    }

    fn virtual_server(
        &mut self,
        server: &VirtualServerConfig,
        served: Option<&Served>,
    ) -> anyhow::Result<PreparedServer> {
        let previous = served.map(|served| &served.shared);
        let (store, namespace) = self.resources.stores.for_server(server)?;
        let tls = tls(server, previous)?;
        let lookups = match previous {
            // Read again once nothing can fail any more.
            Some(previous) if previous.config.lookups == server.lookups => previous.lookups.clone(),
            _ => lookups::open(server)?,
        };
        let loaded = self.policy(server, previous, &namespace, &lookups)?;
        let shadow = self.shadow(server, previous, &store, &lookups)?;
        match previous {
            None => self.report.changed.push(format!("virtual server {} added", server.name)),
            Some(previous) if previous.config != *server => {
                self.report.changed.push(format!("virtual server {} changed", server.name));
            }
            Some(_) => {}
        }
        let (kept_listeners, new_listeners) = self.listeners(server, served)?;
        let admission = match previous {
            Some(previous) => previous.admission.clone(),
            None => {
                let limit = self.config.max_connections.unwrap_or(Config::MAX_CONNECTIONS);
                Admission::new(self.core.connections.clone(), limit, server.max_connections_per_address)
            }
        };
        let pool = self.pools.get(&server.pool).context("a virtual server's pool is not defined")?.clone();
        let shared = VirtualServer {
            settings: Arc::new(settings(server, tls.clone())),
            tls,
            policy: loaded.policy,
            component: loaded.component,
            previous_policy: loaded.previous,
            shadow,
            pool,
            store,
            namespace,
            admission,
            lookups,
            counters: previous.map_or_else(Arc::default, |previous| previous.counters.clone()),
            pollers: previous.map_or_else(
                || self.config.admin.top_pollers.then(Arc::default),
                |previous| previous.pollers.clone(),
            ),
            unrelieved: previous.map_or_else(Arc::default, |previous| previous.unrelieved.clone()),
            config: server.clone(),
        };
        let handles = match served {
            Some(served) => served.handles.clone(),
            None => self.core.handles(&shared, self.pools)?,
        };
        Ok(PreparedServer { shared, kept_listeners, new_listeners, previous: served.cloned(), handles })
    }

    /// Whether the pools have the same names as before; a policy receives the names when it is loaded.
    fn has_same_pools(&self) -> bool {
        let active = &self.active.pools;
        self.pools.len() == active.len() && self.pools.keys().all(|pool| active.contains_key(pool))
    }

    fn loader<'l>(
        &'l self,
        server: &'l VirtualServerConfig,
        engine: Arc<Engine>,
        version: u64,
        lookups: &'l Tables,
    ) -> PolicyLoader<'l> {
        PolicyLoader { engine, server, version, config: self.config, clock: &self.core.clock, lookups }
    }

    fn policy(
        &mut self,
        server: &VirtualServerConfig,
        previous: Option<&VirtualServer>,
        namespace: &Namespace,
        lookups: &Tables,
    ) -> anyhow::Result<LoadedPolicy> {
        if let Some(previous) = previous
            && self.has_same_pools()
            && previous.config.lookups == server.lookups
            && previous.config.namespace == server.namespace
            && is_same(&previous.policy, &previous.config.policy, &server.policy)
        {
            return Ok(LoadedPolicy {
                policy: previous.policy.clone(),
                component: previous.component.clone(),
                previous: previous.previous_policy.clone(),
            });
        }
        let current = previous.map(|previous| &*previous.policy);
        let engine = self.resources.engines.for_successor(current, &server.policy.limits)?;
        let version = current.map_or(0, |policy| policy.version()) + 1;
        let loading = self.loader(server, engine, version, lookups).load(namespace.clone());
        let (policy, component) = runtime()?.block_on(loading)?;
        if previous.is_some() {
            let line = format!("virtual server {}: policy {}", server.name, server.policy.component);
            self.report.changed.push(line);
        }
        Ok(LoadedPolicy { policy, component, previous: previous.map(VirtualServer::policy_source) })
    }

    fn shadow(
        &self,
        server: &VirtualServerConfig,
        previous: Option<&VirtualServer>,
        store: &OpenedStore,
        lookups: &Tables,
    ) -> anyhow::Result<Option<Arc<Shadow>>> {
        let Some(wanted) = &server.shadow else { return Ok(None) };
        let running = previous.and_then(|previous| previous.shadow.as_ref());
        let configured =
            |previous: &VirtualServer| -> Option<PolicyConfig> { previous.config.shadow.clone() };
        if let (Some(running), Some(of)) = (running, previous.and_then(configured))
            && self.has_same_pools()
            && previous.is_some_and(|previous| previous.config.lookups == server.lookups)
            && is_same(running.policy(), &of, wanted)
        {
            return Ok(Some(running.clone()));
        }
        let version = running.map_or(0, |shadow| shadow.policy().version()) + 1;
        let engine = self.resources.engines.for_shadow(&wanted.limits)?;
        let loading = self.loader(server, engine, version, lookups).load_shadow(wanted, store);
        Ok(Some(runtime()?.block_on(loading)?))
    }

    /// The listeners that are kept, and those that had to be opened.
    #[allow(clippy::type_complexity)] // two lists of the same kind
    fn listeners(
        &self,
        server: &VirtualServerConfig,
        served: Option<&Served>,
    ) -> anyhow::Result<(Vec<Arc<Listener>>, Vec<Arc<Listener>>)> {
        let (mut kept, mut new) = (Vec::new(), Vec::new());
        for (address, encrypted) in sockets::addresses(server) {
            let known = served.and_then(|served| {
                let mut listeners = served.listeners.iter();
                listeners.find(|known| known.configured == address && known.encrypted == encrypted)
            });
            match known {
                Some(known) => kept.push(known.clone()),
                None => {
                    let none = &mut InheritedSockets::default();
                    let opened = sockets::open((address, encrypted), self.config.threads, none);
                    new.push(opened.map_err(|error| error.at(server))?);
                }
            }
        }
        Ok((kept, new))
    }
}

fn tls(
    server: &VirtualServerConfig,
    previous: Option<&VirtualServer>,
) -> anyhow::Result<Option<Arc<TlsAcceptor>>> {
    let Some(wanted) = &server.tls else { return Ok(None) };
    match previous {
        Some(VirtualServer { config, tls: Some(known), .. }) if config.tls.as_ref() == Some(wanted) => {
            Ok(Some(known.clone()))
        }
        _ => Ok(Some(Arc::new(TlsAcceptor::load(wanted)?))),
    }
}
