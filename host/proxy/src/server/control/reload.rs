//! Applies a new configuration, as far as that is possible without a restart.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::prepare::{Preparation, PreparedServer};
use super::{ChangeError, Control};
use crate::config::{Config, NodeTlsMode, PoolConfig};
use crate::net::TlsAcceptor;
use crate::new_mail::Missed;
use crate::pool::{HealthChecker, Pool};
use crate::server::core::ActiveConfig;
use crate::server::followers::{self, Followers};
use crate::server::lookups;
use crate::server::new_mail::{self, NewMail};
use crate::server::virtual_server::{Pools, Served};
use reprieve_lookup::Tables;

/// Result of a reload, also as JSON in the admin interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Applied changes, one line each.
    pub changed: Vec<String>,
    /// Changed settings that take effect after a restart.
    pub needs_restart: Vec<String>,
    /// Problems that did not prevent the reload, such as certificates that could not be read.
    pub warnings: Vec<String>,
}

impl Control {
    /// Applies a configuration: all of it that does not require a restart, or nothing.
    ///
    /// # Errors
    /// If something in the configuration cannot be used; nothing is changed then.
    pub fn reload(&self, mut config: Config) -> Result<ReloadReport, ChangeError> {
        let mut resources = self.core.begin_change().ok_or(ChangeError::Draining)?;
        let active = self.core.active.load_full();
        let mut report = ReloadReport::default();
        keep_settings_that_need_a_restart(&active.config, &mut config, &mut report.needs_restart);
        let pools = pools(&active, &config, &mut report)?;
        let servers = Preparation {
            core: &self.core,
            resources: &mut resources,
            active: &active,
            config: &config,
            pools: &pools,
            report: &mut report,
        }
        .virtual_servers()?;
        let health_checker =
            if Arc::ptr_eq(&pools, &active.pools) && config.name_servers == active.config.name_servers {
                None
            } else {
                let all = pools.values().cloned().collect();
                let started = HealthChecker::start(all, config.name_servers.clone());
                Some(started.context("cannot start the health checks")?)
            };
        let has_same_logs = followers::are_same(&active.config, &config);
        let has_same_names = new_mail::has_same_names(&active.config, &config);
        let next = self.activate(&active, config, servers, &pools)?;
        let certificates = next.certificates();
        self.core.serve(next);
        if health_checker.is_some() {
            resources.health_checker = health_checker;
        }
        if !has_same_names {
            let now_ms = self.core.clock.now_ms();
            pools.values().for_each(|pool| pool.signals().missed(Missed::Reconfigured, now_ms));
        }
        if !has_same_logs {
            // The old ones end first: they write to the same files.
            drop(resources.followers.take());
            let new_mail = NewMail::of(self.core.clone());
            let followers = Followers::start(&self.core.active.load().config, &new_mail);
            resources.followers = followers.unwrap_or_else(|error| {
                report.warnings.push(format!("logs of deliveries are not followed: {error}"));
                None
            });
        }
        self.core.certificates.remember(&certificates);
        let unchanged = kept_certificates(&active, certificates);
        report.warnings.extend(self.core.certificates.reload(&unchanged));
        report.warnings.extend(lookups::reload(&self.core, Tables::reload));
        report.log();
        Ok(report)
    }

    /// Opens the new listeners, switches the virtual servers over and closes the listeners that are
    /// no longer configured.
    fn activate(
        &self,
        active: &ActiveConfig,
        config: Config,
        servers: Vec<PreparedServer>,
        pools: &Pools,
    ) -> anyhow::Result<ActiveConfig> {
        let evaluators = servers
            .iter()
            .map(|server| {
                let previous = server.previous.as_ref();
                previous.map(|previous| self.evaluators(previous, &server.shared)).transpose()
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        self.accept_on_new_listeners(&servers)?;
        // From here on, nothing can fail.
        let limit = config.max_connections.unwrap_or(Config::MAX_CONNECTIONS);
        let mut next = ActiveConfig {
            config,
            servers: Vec::new(),
            pools: pools.clone(),
            removed_totals: active.removed_totals,
        };
        for (server, evaluators) in servers.into_iter().zip(evaluators) {
            let listeners = server.listeners().cloned().collect();
            let PreparedServer { shared, previous, handles, .. } = server;
            shared.admission.set_limits(limit, shared.config.max_connections_per_address);
            next.servers.push(match (previous, evaluators) {
                (Some(mut served), Some(evaluators)) => {
                    self.switch(&mut served, shared, evaluators, pools);
                    Served { listeners, ..served }
                }
                _ => Served { shared, handles, listeners },
            });
        }
        pools.values().for_each(|pool| pool.assign_free_slots());
        for removed in &active.servers {
            let name = &removed.shared.config.name;
            if !next.servers.iter().any(|served| served.shared.config.name == *name) {
                next.removed_totals = next.removed_totals + removed.shared.counters.snapshot();
            }
        }
        let kept: Vec<_> = next.servers.iter().flat_map(|served| &served.listeners).cloned().collect();
        for listener in active.servers.iter().flat_map(|server| &server.listeners) {
            if !kept.iter().any(|kept| Arc::ptr_eq(kept, listener)) {
                listener.stop();
            }
        }
        Ok(next)
    }

    /// Makes the worker threads accept on all new listeners, or on none.
    fn accept_on_new_listeners(&self, servers: &[PreparedServer]) -> anyhow::Result<()> {
        let accepting = servers.iter().try_for_each(|server| {
            let mut listeners = server.new_listeners.iter();
            listeners.try_for_each(|listener| self.core.accept(listener, &server.shared, &server.handles))
        });
        if accepting.is_err() {
            servers.iter().flat_map(|server| &server.new_listeners).for_each(|listener| listener.stop());
        }
        accepting
    }
}

impl ReloadReport {
    fn log(&self) {
        for line in &self.changed {
            tracing::info!("reload: {line}");
        }
        for key in &self.needs_restart {
            tracing::warn!("reload: {key} has changed; this takes effect after a restart");
        }
    }
}

/// Those of the new certificates that were in use before; the others were loaded just now.
fn kept_certificates(
    active: &ActiveConfig,
    mut certificates: Vec<(String, Arc<TlsAcceptor>)>,
) -> Vec<(String, Arc<TlsAcceptor>)> {
    let previous = active.certificates();
    certificates.retain(|(_, acceptor)| previous.iter().any(|(_, known)| Arc::ptr_eq(known, acceptor)));
    certificates
}

/// Builds the pools. A pool with the same configuration is kept; a changed one keeps the state of its
/// nodes.
fn pools(active: &ActiveConfig, config: &Config, report: &mut ReloadReport) -> anyhow::Result<Pools> {
    let mut pools = HashMap::new();
    for pool in &config.pools {
        let before = active.pools.get(&pool.name);
        let is_same = before.is_some_and(|before| before.config() == pool);
        let made = match before {
            Some(before) if is_same && !reads_files(pool) => before.clone(),
            _ => {
                match (Pool::replacing(pool.clone(), before.map(|pool| &**pool)), before) {
                    (Ok(made), _) => {
                        if !is_same {
                            let what = if before.is_some() { "changed" } else { "added" };
                            report.changed.push(format!("pool {} {what}", pool.name));
                        }
                        Arc::new(made)
                    }
                    // Only its files may have changed, and this process may not be allowed to read them.
                    (Err(error), Some(before)) if is_same => {
                        report.warnings.push(format!("pool {}: certificates and passwords not reloaded, the old ones stay in use: {error}", pool.name));
                        before.clone()
                    }
                    (Err(error), _) => return Err(error.into()),
                }
            }
        };
        pools.insert(pool.name.clone(), made);
    }
    for name in active.pools.keys().filter(|name| !pools.contains_key(*name)) {
        report.changed.push(format!("pool {name} removed; its sessions continue"));
    }
    let unchanged = pools.len() == active.pools.len()
        && pools
            .iter()
            .all(|(name, pool)| active.pools.get(name).is_some_and(|known| Arc::ptr_eq(known, pool)));
    Ok(if unchanged { active.pools.clone() } else { Arc::new(pools.into_iter().collect()) })
}

fn reads_files(pool: &PoolConfig) -> bool {
    pool.tls.mode != NodeTlsMode::Off || pool.master.is_some()
}

/// Restores the settings that require a restart, and adds them to `named` if they have changed.
fn keep_settings_that_need_a_restart(before: &Config, wanted: &mut Config, named: &mut Vec<String>) {
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
        "maildrop.credential-ttl" credential_ttl,
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

impl ActiveConfig {
    /// The certificates in use.
    pub(in crate::server) fn certificates(&self) -> Vec<(String, Arc<TlsAcceptor>)> {
        let with_tls = self
            .servers
            .iter()
            .filter_map(|server| Some((server.shared.config.name.clone(), server.shared.tls.clone()?)));
        with_tls.collect()
    }
}
