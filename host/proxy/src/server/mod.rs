//! Builds a server from a configuration. Engines, policies, pools and stores are shared; each
//! worker thread has its own runtime, listening sockets and policy evaluators, and a connection
//! stays on its thread. The configuration can be changed while the server runs (`control`).

mod certificates;
mod control;
mod core;
mod engines;
mod followers;
mod listener;
mod loading;
mod lookups;
mod new_mail;
mod prepared;
mod signalled_users;
mod sockets;
mod store_admin;
mod stores;
mod view;
mod virtual_server;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

use self::core::{ChangeResources, Core};
use self::followers::Followers;
use crate::config::Config;
use crate::decision_log::DecisionLog;
use crate::maildrop::Registry;
use crate::net::TlsAcceptor;
use crate::pool::{HealthChecker, Pool};
use crate::session::CountersSnapshot;
pub(crate) use control::{ChangeError, Control};
pub use control::{PolicyChange, ReloadReport};
pub(crate) use new_mail::{Applied, NewMail, NotHeard};
pub use prepared::Prepared;
pub(crate) use prepared::ServerKeys;
use reprieve_policy_host::MetricsSnapshot;
use reprieve_store::clock::Clock;
#[cfg(test)]
pub(crate) use signalled_users::{ServedUsers, SignalledUsers, share_gaps};
pub(crate) use sockets::{ReservedSockets, Sockets};
pub(crate) use store_admin::{
    KnownUser, Page, PageRequest, StoreAdmin, StoreStats, contains_user, spellings,
};
pub(crate) use stores::OpenedStore;
pub(crate) use view::{PolicyState, View};
pub use view::{ShadowState, VirtualServerState};
use virtual_server::Served;
use worker::Shutdown;

/// Longest wait at the end for each of decision log, traces and stores, whose disk or peer may hang.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Options of a server that are not part of its configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// Clock for verdicts and stores; the system's clock if None.
    pub clock: Option<Arc<dyn Clock>>,
    /// Uses memory instead of the configured stores, which another process may have open. For checks.
    pub without_stores: bool,
}

/// A running server. Dropping it ends all sessions at once.
#[derive(Debug)]
pub struct Server {
    core: Arc<Core>,
    view: View,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Loads everything that a configuration names, and serves it on threads of its own.
    ///
    /// # Errors
    /// If something cannot be used; the error names its line in the configuration.
    pub fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        Self::serve(Prepared::new(config, options)?)
    }

    /// Opens the listening sockets and serves.
    ///
    /// # Errors
    /// If a socket cannot be opened.
    pub fn serve(prepared: Prepared) -> anyhow::Result<Self> {
        let sockets = Sockets::open(&prepared.config)?;
        Self::serve_at(prepared, sockets)
    }

    /// Serves on sockets that are already open.
    ///
    /// # Errors
    /// If a thread or a policy instance cannot be started.
    pub fn serve_at(prepared: Prepared, sockets: Sockets) -> anyhow::Result<Self> {
        let Prepared { config, clock, servers, pools, stores, engines, connections, sinks } = prepared;

        let health_checker =
            HealthChecker::start(pools.values().cloned().collect(), config.name_servers.clone())
                .context("cannot start the health checks")?;
        let shutdown = Shutdown::new();
        let (ready, started) = std::sync::mpsc::channel();
        let mut threads = Vec::new();
        let mut senders = Vec::new();
        for index in 0..config.threads.max(1) {
            let (sender, tasks) = mpsc::unbounded_channel();
            let (shutdown, ready) = (shutdown.clone(), ready.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(tasks, shutdown, &ready))
                .context("cannot start a thread")?;
            threads.push(thread);
            senders.push(sender);
        }
        drop(ready);
        for _ in &threads {
            started.recv().context("a thread ended while it was starting")??;
        }
        let sinks = sinks.start()?;
        let all_stores = stores.all().into();
        let resources =
            ChangeResources { engines, stores, health_checker: Some(health_checker), followers: None };
        let core = Arc::new(Core::new(
            config,
            clock,
            all_stores,
            connections,
            pools.clone(),
            sinks,
            resources,
            senders,
            shutdown,
        ));
        // From here on, dropping `server` ends everything that was started.
        let server = Self { view: View::of(core.clone()), core, threads };
        let mut active = (**server.core.active.load()).clone();
        for (shared, listeners) in servers.into_iter().zip(sockets.listeners) {
            let handles = server.core.handles(&shared, &pools)?;
            active.servers.push(Served { shared, handles, listeners });
        }
        server.core.certificates.remember(&active.certificates());
        let served = active.servers.clone();
        server.core.active.store(Arc::new(active));
        for pool in pools.values() {
            pool.signals().start(server.core.clock.now_ms());
        }
        for Served { shared, handles, listeners } in &served {
            for listener in listeners {
                server.core.accept(listener, shared, handles)?;
            }
        }
        let config = &server.core.active.load().config;
        let followers = Followers::start(config, &server.view.new_mail()).context("cannot follow logs")?;
        server.core.resources.lock().followers = followers;
        Ok(server)
    }

    /// The first listen address of a virtual server, with its actual port.
    ///
    /// # Panics
    /// If there is no such virtual server.
    #[must_use]
    pub fn address(&self, server: &str) -> SocketAddr {
        self.addresses_of(server)[0]
    }

    /// The listen addresses of all virtual servers.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        self.view.virtual_servers().map(|server| (server.name, server.addresses)).collect()
    }

    /// The listen addresses of a virtual server in the order of the configuration: `listen`, then
    /// `listen-tls`.
    ///
    /// # Panics
    /// If there is no such virtual server.
    #[must_use]
    pub fn addresses_of(&self, server: &str) -> Vec<SocketAddr> {
        let found = self.addresses().into_iter().find(|(name, _)| *name == server);
        found.map_or_else(|| panic!("there is no virtual server {server:?}"), |(_, addresses)| addresses)
    }

    /// Finds a pool by its name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.core.active.load().pools.get(name).cloned()
    }

    /// Reloads the certificates for clients; established connections continue. A certificate that
    /// cannot be read is kept as it was, and the error is logged. Returns whether all could be read.
    pub fn reload_certificates(&self) -> bool {
        self.control().reload_certificates().is_empty()
    }

    /// Reloads the certificates for clients if a file has changed.
    pub fn reload_changed_certificates(&self) {
        self.control().reload_changed_certificates();
    }

    /// The decision log, if there is one.
    #[must_use]
    pub fn decision_log(&self) -> Option<&Arc<DecisionLog>> {
        self.core.sinks.decision_log.as_ref()
    }

    /// Adds certificates that are reloaded together with those of the virtual servers.
    pub fn add_certificates(&self, name: &str, acceptor: Arc<TlsAcceptor>) {
        self.core.certificates.add(name, acceptor);
    }

    /// Read access for the admin interface; may outlive the server.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Control for the admin interface.
    #[must_use]
    pub fn control(&self) -> Control {
        self.view.control()
    }

    /// Metrics of a virtual server's policy; None if there is no such virtual server.
    #[must_use]
    pub fn policy_metrics(&self, server: &str) -> Option<MetricsSnapshot> {
        let found = self.view.virtual_servers().find(|one| one.name == server);
        found.map(|one| one.policy.metrics)
    }

    /// Totals of all virtual servers.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.view.counters()
    }

    /// The maildrops remembered in the first store.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.core.stores[0].registry
    }

    /// Graceful shutdown: stops listening, waits up to `grace` for sessions to finish, and ends the
    /// rest. Sessions that have not logged in or are posed are closed at once, except after a
    /// takeover, when they have until the end of `grace`.
    pub fn shutdown(mut self, grace: Duration) {
        self.end(grace);
    }

    fn end(&mut self, grace: Duration) {
        self.core.shutdown.deadline.send_replace(Instant::now().checked_add(grace));
        self.core.stop_listening();
        // `drop` calls this a second time.
        let ends = !self.threads.is_empty();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // All sessions have ended, so the decision log and traces are complete.
        if ends {
            self.core.sinks.close(CLOSE_TIMEOUT);
            // `resources` has the stores, too, but a change in progress may hold its lock.
            for store in self.core.stores.iter() {
                if !store.store.close(CLOSE_TIMEOUT) {
                    tracing::error!("the store could not be saved in time; the latest changes are lost");
                }
            }
        }
        // Views may outlive the server, but health checks end. A change in progress must not block
        // the shutdown, so its resources end with the process.
        if let Some(mut resources) = self.core.resources.try_lock() {
            drop(resources.health_checker.take());
            drop(resources.followers.take());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}
