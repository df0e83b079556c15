//! The state of a running server. The active configuration is one value that is replaced as a
//! whole, by one change at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};

use super::certificates::Certificates;
use super::engines::Engines;
use super::followers::Followers;
use super::listener::Listener;
use super::runtime;
use super::stores::{OpenedStore, Stores};
use super::virtual_server::{Pools, Served, VirtualServer};
use super::worker::{AcceptTask, Shutdown};
use crate::config::Config;
use crate::net::AllConnections;
use crate::pool::HealthChecker;
use crate::session::{ContextHandle, CountersSnapshot, Evaluator, Sinks};
use reprieve_store::clock::Clock;

/// Reads the configuration for a reload.
pub(super) type Source = Arc<dyn Fn() -> anyhow::Result<Config> + Send + Sync>;

/// Shared by all parts of a running server.
pub(super) struct Core {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sinks: Sinks,
    pub(super) started: Instant,
    pub(super) stores: Arc<[OpenedStore]>,
    /// Open connections at all virtual servers.
    pub(super) connections: Arc<AllConnections>,
    pub(super) active: ArcSwap<ActiveConfig>,
    pub(super) certificates: Certificates,
    /// Locked during a change.
    pub(super) resources: Mutex<ChangeResources>,
    threads: Vec<mpsc::UnboundedSender<AcceptTask>>,
    pub(super) shutdown: Shutdown,
    /// Whether another process accepts connections instead, so that sessions need not be closed at
    /// once, and none is shown what this process remembers.
    pub(super) handed_over: Arc<AtomicBool>,
    pub(super) source: Mutex<Option<Source>>,
    /// Becomes true when the process is to drain and exit.
    pub(super) ending: watch::Sender<bool>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("active", &self.active).finish_non_exhaustive()
    }
}

/// The configuration that is being served, with everything that was built from it.
#[derive(Clone, Debug)]
pub(super) struct ActiveConfig {
    pub(super) config: Config,
    pub(super) servers: Vec<Served>,
    pub(super) pools: Pools,
    /// Totals of virtual servers that were removed.
    pub(super) removed_totals: CountersSnapshot,
}

/// Resources that only changes need.
#[derive(Debug)]
pub(super) struct ChangeResources {
    pub(super) engines: Engines,
    pub(super) stores: Stores,
    pub(super) health_checker: Option<HealthChecker>,
    /// Follows the logs of deliveries.
    pub(super) followers: Option<Followers>,
}

impl Core {
    #[allow(clippy::too_many_arguments)] // called once, with all parts
    pub(super) fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        stores: Arc<[OpenedStore]>,
        connections: Arc<AllConnections>,
        pools: Pools,
        sinks: Sinks,
        resources: ChangeResources,
        threads: Vec<mpsc::UnboundedSender<AcceptTask>>,
        shutdown: Shutdown,
    ) -> Self {
        let active =
            ActiveConfig { config, servers: Vec::new(), pools, removed_totals: CountersSnapshot::default() };
        Self {
            clock,
            sinks,
            started: Instant::now(),
            stores,
            connections,
            active: ArcSwap::from_pointee(active),
            certificates: Certificates::default(),
            resources: Mutex::new(resources),
            threads,
            shutdown,
            handed_over: Arc::default(),
            source: Mutex::new(None),
            ending: watch::channel(false).0,
        }
    }

    /// Builds the per-thread part of a virtual server, each with a policy instance that is ready.
    pub(super) fn handles(
        &self,
        shared: &VirtualServer,
        pools: &Pools,
    ) -> anyhow::Result<Vec<Arc<ContextHandle>>> {
        let evaluators = self.evaluators(shared)?;
        let ending = (&self.shutdown.drain, &self.handed_over);
        let context = |evaluator| shared.context(evaluator, pools, (&self.clock, &self.sinks), ending);
        Ok(evaluators.into_iter().map(|evaluator| ContextHandle::new(context(evaluator))).collect())
    }

    /// Builds evaluators of a virtual server's policy, one per thread, with a warm instance.
    pub(super) fn evaluators(&self, shared: &VirtualServer) -> anyhow::Result<Vec<Arc<Evaluator>>> {
        let runtime = runtime()?;
        let evaluator = |_| {
            let evaluator = Arc::new(Evaluator::new(shared.policy.clone()));
            runtime
                .block_on(evaluator.warm_up())
                .map_err(|failure| anyhow::anyhow!("virtual server {}: {failure}", shared.config.name))?;
            Ok(evaluator)
        };
        self.threads.iter().map(evaluator).collect()
    }

    /// Makes the worker threads accept connections on an address.
    pub(super) fn accept(
        &self,
        listener: &Listener,
        shared: &VirtualServer,
        handles: &[Arc<ContextHandle>],
    ) -> anyhow::Result<()> {
        let sockets = listener.sockets().context("cannot duplicate a listening socket")?;
        for (index, socket) in sockets.into_iter().enumerate() {
            let thread = index % self.threads.len();
            let task = AcceptTask {
                socket,
                encrypted: listener.encrypted,
                handle: handles[thread].clone(),
                admission: shared.admission.clone(),
                stopped: listener.stopped(),
            };
            self.threads[thread].send(task).ok().context("a thread has ended")?;
        }
        Ok(())
    }

    /// Locks the server for a change; None if it is shutting down.
    pub(super) fn begin_change(&self) -> Option<MutexGuard<'_, ChangeResources>> {
        let resources = self.resources.lock();
        (!*self.shutdown.closing.borrow()).then_some(resources)
    }

    /// Stops accepting connections everywhere, for good.
    pub(super) fn stop_listening(&self) {
        self.shutdown.closing.send_replace(true);
        if !self.handed_over.load(Ordering::SeqCst) {
            self.shutdown.drain.cancel();
        }
        self.stop_listeners();
    }

    /// Activates a configuration. A change may be in progress when the shutdown begins: either the
    /// shutdown sees the new listeners, or this sees the shutdown, so none is left open.
    pub(super) fn serve(&self, active: ActiveConfig) {
        self.active.store(Arc::new(active));
        if *self.shutdown.closing.borrow() {
            self.stop_listeners();
        }
    }

    fn stop_listeners(&self) {
        for listener in self.active.load().servers.iter().flat_map(|server| &server.listeners) {
            listener.stop();
        }
    }
}
