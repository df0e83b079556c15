//! What a running server is made of, and how it changes: what is served now is one value that
//! is replaced as a whole, by one change at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};

use super::certificates::Certificates;
use super::engines::Engines;
use super::listening::Listening;
use super::runtime;
use super::serving::{Accept, Ending};
use super::stores::{Store, Stores};
use super::virtual_server::{Pools, Served, VirtualServer};
use crate::config::Config;
use crate::pool::Keeper;
use crate::session::{CountersSnapshot, Door, Telling};
use reprieve_policy_host::Judge;
use reprieve_store::clock::Clock;

/// How the configuration is read again.
pub(super) type Source = Arc<dyn Fn() -> anyhow::Result<Config> + Send + Sync>;

/// A running server.
pub(super) struct Core {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telling: Telling,
    pub(super) began: Instant,
    pub(super) stores: Arc<[Store]>,
    /// Connections of all virtual servers.
    pub(super) total: Arc<AtomicU32>,
    pub(super) present: ArcSwap<Present>,
    pub(super) certificates: Certificates,
    /// Held by whoever changes something.
    pub(super) changing: Mutex<Changing>,
    threads: Vec<mpsc::UnboundedSender<Accept>>,
    pub(super) end: Ending,
    /// Another process accepts in this one's place: nobody here need be told to come again.
    pub(super) handed_over: AtomicBool,
    /// How the configuration is read again.
    pub(super) source: Mutex<Option<Source>>,
    /// Somebody wants the process to drain and end.
    pub(super) ending: watch::Sender<bool>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("present", &self.present).finish_non_exhaustive()
    }
}

/// What is served now.
#[derive(Clone, Debug)]
pub(super) struct Present {
    pub(super) config: Config,
    pub(super) servers: Vec<Served>,
    pub(super) pools: Pools,
    /// What has happened at virtual servers that are no more.
    pub(super) gone: CountersSnapshot,
}

/// What only changes need.
#[derive(Debug)]
pub(super) struct Changing {
    pub(super) engines: Engines,
    pub(super) stores: Stores,
    pub(super) keeper: Option<Keeper>,
}

impl Core {
    #[allow(clippy::too_many_arguments)] // its parts, once
    pub(super) fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        stores: Arc<[Store]>,
        total: Arc<AtomicU32>,
        pools: Pools,
        telling: Telling,
        changing: Changing,
        threads: Vec<mpsc::UnboundedSender<Accept>>,
        end: Ending,
    ) -> Self {
        let present = Present { config, servers: Vec::new(), pools, gone: CountersSnapshot::default() };
        Self {
            clock,
            telling,
            began: Instant::now(),
            stores,
            total,
            present: ArcSwap::from_pointee(present),
            certificates: Certificates::default(),
            changing: Mutex::new(changing),
            threads,
            end,
            handed_over: AtomicBool::new(false),
            source: Mutex::new(None),
            ending: watch::channel(false).0,
        }
    }

    /// Makes what each thread has of a virtual server, with an instance of its policy ready in
    /// each.
    pub(super) fn doors(&self, shared: &VirtualServer, pools: &Pools) -> anyhow::Result<Vec<Arc<Door>>> {
        let judges = self.judges(shared)?;
        let context = |judge| shared.context(judge, pools, (&self.clock, &self.telling), &self.end.drain);
        Ok(judges.into_iter().map(|judge| Door::new(context(judge))).collect())
    }

    /// Judges by a virtual server's policy, one for each thread, ready to be asked.
    pub(super) fn judges(&self, shared: &VirtualServer) -> anyhow::Result<Vec<Arc<Judge>>> {
        let runtime = runtime()?;
        let judge = |_| {
            let judge = Arc::new(Judge::new(shared.policy.clone()));
            runtime
                .block_on(judge.warm_up())
                .map_err(|failure| anyhow::anyhow!("virtual server {}: {failure}", shared.config.name))?;
            Ok(judge)
        };
        self.threads.iter().map(judge).collect()
    }

    /// Has the threads accept at an address.
    pub(super) fn accept(
        &self,
        listening: &Listening,
        shared: &VirtualServer,
        doors: &[Arc<Door>],
    ) -> anyhow::Result<()> {
        let sockets = listening.sockets().context("cannot share a socket among threads")?;
        for (index, socket) in sockets.into_iter().enumerate() {
            let thread = index % self.threads.len();
            let task = Accept {
                socket,
                encrypted: listening.encrypted,
                door: doors[thread].clone(),
                admission: shared.admission.clone(),
                stopped: listening.stopped(),
            };
            self.threads[thread].send(task).ok().context("a thread has ended")?;
        }
        Ok(())
    }

    /// The right to change something; None where the server ends.
    pub(super) fn change(&self) -> Option<MutexGuard<'_, Changing>> {
        let changing = self.changing.lock();
        (!*self.end.closing.borrow()).then_some(changing)
    }

    /// Stops accepting, everywhere and for ever.
    pub(super) fn stop_listening(&self) {
        self.end.closing.send_replace(true);
        if !self.handed_over.load(Ordering::SeqCst) {
            self.end.drain.cancel();
        }
        self.stop_present();
    }

    /// Serves something else from now on. A change that was under way when the end began did not
    /// hold that up, and listens nowhere: either the end sees what is new, or this sees the end.
    pub(super) fn serve(&self, present: Present) {
        self.present.store(Arc::new(present));
        if *self.end.closing.borrow() {
            self.stop_present();
        }
    }

    fn stop_present(&self) {
        for listening in self.present.load().servers.iter().flat_map(|server| &server.listening) {
            listening.stop();
        }
    }
}
