//! Puts the rooms together: engine, policies, pools and registry are made once, and each
//! thread gets a runtime, listeners and judges of its own. Connections never change threads.
//! What is served can be changed while it is.

mod certificates;
mod control;
mod core;
mod engines;
mod listening;
mod loading;
mod prepared;
mod serving;
mod sockets;
mod store_tool;
mod stores;
mod view;
mod virtual_server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

use self::core::{Changing, Core};
use crate::config::Config;
use crate::decision_log::Journal;
use crate::maildrop::Registry;
use crate::net::TlsAcceptor;
use crate::pool::{Keeper, Pool};
use crate::session::CountersSnapshot;
pub use control::{Change, Control, NotChanged, Reloaded};
pub use prepared::{Keys, Prepared};
use reprieve_policy_host::MetricsSnapshot;
use reprieve_store::clock::Clock;
use serving::Ending;
pub use sockets::{Reserved, Sockets};
pub use store_tool::{Page, PageRequest, Registered, StoreStats, StoreTool, is_about};
pub use stores::{Store, StoreKeys};
pub use view::{PolicyState, ShadowState, View, VirtualServerState};
use virtual_server::Served;

/// How long the end waits for the decision log, whose disk may hang, and for traces.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a server is started with beside its configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// The time of verdicts; the machine's own without it.
    pub clock: Option<Arc<dyn Clock>>,
    /// Leaves the stores alone, which another process may have open: for checks.
    pub without_stores: bool,
}

/// A server that serves. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    core: Arc<Core>,
    view: View,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Prepares a configuration and serves it, on threads of its own.
    ///
    /// # Errors
    /// What is wrong, in one sentence with its place in the configuration.
    pub fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        Self::serve(Prepared::new(config, options)?)
    }

    /// Listens and serves.
    ///
    /// # Errors
    /// Where an address cannot be listened on.
    pub fn serve(prepared: Prepared) -> anyhow::Result<Self> {
        let sockets = Sockets::open(&prepared.config)?;
        Self::serve_at(prepared, sockets)
    }

    /// Serves at sockets that are open already.
    ///
    /// # Errors
    /// If the system has no more threads, or a policy cannot be started.
    pub fn serve_at(prepared: Prepared, sockets: Sockets) -> anyhow::Result<Self> {
        let Prepared { config, clock, servers, pools, stores, engines, total, tellers } = prepared;

        let keeper = Keeper::start(pools.values().cloned().collect(), config.name_servers.clone())
            .context("cannot look after the nodes")?;
        let end = Ending::new();
        let (ready, started) = std::sync::mpsc::channel();
        let mut threads = Vec::new();
        let mut tell = Vec::new();
        for index in 0..config.threads.max(1) {
            let (teller, told) = mpsc::unbounded_channel();
            let (ending, ready) = (end.clone(), ready.clone());
            let thread = std::thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(move || serving::thread(told, ending, &ready))
                .context("cannot start a thread")?;
            threads.push(thread);
            tell.push(teller);
        }
        drop(ready);
        for _ in &threads {
            started.recv().context("a thread ended at its start")??;
        }
        let telling = tellers.start()?;
        let all_stores = stores.all().into();
        let changing = Changing { engines, stores, keeper: Some(keeper) };
        let core = Arc::new(Core::new(
            config,
            clock,
            all_stores,
            total,
            pools.clone(),
            telling,
            changing,
            tell,
            end,
        ));
        // From here on, what has begun ends with this.
        let server = Self { view: View::of(core.clone()), core, threads };
        let mut present = (**server.core.present.load()).clone();
        for (shared, listening) in servers.into_iter().zip(sockets.listening) {
            let doors = server.core.doors(&shared, &pools)?;
            present.servers.push(Served { shared, doors, listening });
        }
        server.core.certificates.note(&present.certificates());
        let served = present.servers.clone();
        server.core.present.store(Arc::new(present));
        for Served { shared, doors, listening } in &served {
            for listening in listening {
                server.core.accept(listening, shared, doors)?;
            }
        }
        Ok(server)
    }

    /// The first address that a virtual server listens on, with the port that it got.
    ///
    /// # Panics
    /// Where there is no such virtual server.
    #[must_use]
    pub fn address(&self, server: &str) -> SocketAddr {
        self.addresses_of(server)[0]
    }

    /// Every virtual server with the addresses that it listens on.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        self.view.virtual_servers().map(|server| (server.name, server.addresses)).collect()
    }

    /// The addresses of a virtual server, in the order of the configuration: those in
    /// cleartext, then those with TLS.
    ///
    /// # Panics
    /// Where there is no such virtual server.
    #[must_use]
    pub fn addresses_of(&self, server: &str) -> Vec<SocketAddr> {
        let found = self.addresses().into_iter().find(|(name, _)| *name == server);
        found.map_or_else(|| panic!("there is no virtual server {server:?}"), |(_, addresses)| addresses)
    }

    /// A pool, by its name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.core.present.load().pools.get(name).cloned()
    }

    /// Reads the certificates towards clients again. New connections get what the files hold;
    /// those that are open go on. What cannot be read stays as it was, and is logged. True
    /// where all could be read.
    pub fn reload_certificates(&self) -> bool {
        self.control().reload_certificates().is_empty()
    }

    /// Reads them again where a file has changed since.
    pub fn look_at_certificates(&self) {
        self.control().look_at_certificates();
    }

    /// The decision log, where there is one.
    #[must_use]
    pub fn journal(&self) -> Option<&Arc<Journal>> {
        self.core.telling.journal.as_ref()
    }

    /// Reads also these certificates again when it does its own.
    pub fn also_reload(&self, name: &str, acceptor: Arc<TlsAcceptor>) {
        self.core.certificates.add(name, acceptor);
    }

    /// What an administrator can see, for as long as wanted.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// What an administrator can change.
    #[must_use]
    pub fn control(&self) -> Control {
        self.view.control()
    }

    /// What has been counted of a virtual server's policy; None where there is no such virtual
    /// server.
    #[must_use]
    pub fn policy_metrics(&self, server: &str) -> Option<MetricsSnapshot> {
        let found = self.view.virtual_servers().find(|one| one.name == server);
        found.map(|one| one.policy.metrics)
    }

    /// What has happened until now, at all virtual servers.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.view.counters()
    }

    /// What is remembered of the users of the first store.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.core.stores[0].registry
    }

    /// Stops listening, lets sessions end by themselves for as long as given, and ends.
    /// Clients that have not logged in, or are posed, are told at once; where another process has
    /// taken over, only those that are left at the end of that time.
    pub fn shutdown(mut self, grace: Duration) {
        self.end(grace);
    }

    fn end(&mut self, grace: Duration) {
        self.core.end.deadline.send_replace(Instant::now().checked_add(grace));
        self.core.stop_listening();
        // A second time there is nobody left to wait for.
        let ends = !self.threads.is_empty();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // Every session has told of itself by now.
        if ends {
            self.core.telling.close(LAST_WORDS);
            // A change that is under way may have the stores for longer than this process lives.
            for store in self.core.stores.iter() {
                if !store.home.close(LAST_WORDS) {
                    tracing::error!("the store could not be saved in time; what was written last is lost");
                }
            }
        }
        // Views may live on; nodes are looked after no more. A change that is under way holds
        // nobody up: what it has ends with the process.
        if let Some(mut changing) = self.core.changing.try_lock() {
            drop(changing.keeper.take());
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
