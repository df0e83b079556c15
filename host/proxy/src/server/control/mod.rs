//! What an administrator changes while it serves. What is new is made ready aside, and takes the
//! place of what was there all at once; where something is wrong with it, nothing changes.

mod reload;
mod swap;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::core::{Core, Present};
use super::virtual_server::{Served, VirtualServer};
use crate::config::Config;
pub use reload::Reloaded;
pub use swap::Change;

/// Why nothing was changed: one sentence for the administrator.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// There is no such virtual server.
    #[error("there is no virtual server {name:?}; there is {known}")]
    NoServer {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The server is about to end.
    #[error("this server is draining; nothing was changed")]
    Ending,
    /// What is wanted cannot be had.
    #[error("{0}; nothing was changed")]
    Refused(String),
}

impl From<anyhow::Error> for NotChanged {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(format!("{error:#}"))
    }
}

/// Changes a server that serves. Its methods read files and compile: not for threads that serve.
#[derive(Clone, Debug)]
pub struct Control {
    core: Arc<Core>,
}

impl Control {
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// How the configuration is read again, when it is to be taken up.
    pub fn reload_from(&self, source: impl Fn() -> anyhow::Result<Config> + Send + Sync + 'static) {
        *self.core.source.lock() = Some(Arc::new(source));
    }

    /// Reads the configuration again and takes it up; the decision log's file is opened anew.
    ///
    /// # Errors
    /// What is wrong with it; all goes on as before.
    pub fn reload_again(&self) -> Result<Reloaded, NotChanged> {
        // Also where the configuration is wrong: whoever has renamed the file waits for that.
        if let Some(journal) = &self.core.telling.journal {
            journal.reopen();
        }
        let source = self.core.source.lock().clone();
        let config = match source {
            Some(source) => {
                source().inspect_err(|error| tracing::error!("reload: {error:#}; nothing was changed"))?
            }
            None => self.config(),
        };
        self.reload(config).inspect_err(|error| tracing::error!("reload: {error}"))
    }

    /// The files that the configuration names policies by.
    #[must_use]
    pub fn components(&self) -> Vec<std::path::PathBuf> {
        let config = self.config();
        let policies = config
            .virtual_servers
            .iter()
            .flat_map(|server| std::iter::once(&server.policy).chain(&server.shadow));
        policies
            .map(|policy| std::path::PathBuf::from(&policy.component))
            .filter(|path| path.is_file())
            .collect()
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.core.present.load().config.clone()
    }

    /// Reads the certificates towards clients again. Those that cannot be read stay; why.
    pub fn reload_certificates(&self) -> Vec<String> {
        self.core.certificates.reload(&self.core.present.load().certificates())
    }

    /// Reads them again where a file has changed.
    pub fn look_at_certificates(&self) {
        self.core.certificates.look(&self.core.present.load().certificates());
    }

    /// Has the process drain and end, as SIGTERM does.
    pub fn drain(&self) {
        self.core.ending.send_replace(true);
    }

    /// Becomes true when somebody wants the process to end.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.core.ending.subscribe()
    }

    /// Lets go of the stores that only one process can have, for the one that takes over; and
    /// takes them again where that one did not come to serve.
    pub async fn release_stores(&self, released: bool) {
        self.core.handed_over.store(released, Ordering::SeqCst);
        for store in self.core.stores.iter() {
            if !released {
                store.home.retake();
            } else if !store.home.release().await {
                tracing::warn!("not all of the store could be saved before another process takes it over");
            }
        }
    }

    /// Whether another process has what this one listens at, and its stores.
    #[must_use]
    pub fn has_handed_over(&self) -> bool {
        self.core.handed_over.load(Ordering::SeqCst)
    }

    /// Sockets that are listened on, for another process that takes them over.
    ///
    /// # Errors
    /// Where the system has no more descriptors.
    pub fn sockets(&self) -> std::io::Result<Vec<std::net::TcpListener>> {
        let present = self.core.present.load();
        let mut sockets = Vec::new();
        for listening in present.servers.iter().flat_map(|server| &server.listening) {
            sockets.extend(listening.sockets()?);
        }
        Ok(sockets)
    }

    fn find(&self, present: &Present, name: &str) -> Result<usize, NotChanged> {
        let mut names = present.servers.iter().map(|server| server.shared.config.name.as_str());
        names.clone().position(|known| known == name).ok_or_else(|| NotChanged::NoServer {
            name: name.to_owned(),
            known: names.by_ref().collect::<Vec<_>>().join(", "),
        })
    }

    /// Has a virtual server be otherwise from now on: the next login is judged by what is new.
    fn replace(&self, present: &Present, index: usize, shared: VirtualServer) -> Result<(), NotChanged> {
        let judges = self.judges(&present.servers[index], &shared)?;
        let mut changed = present.clone();
        self.lead(&mut changed.servers[index], shared, judges, &present.pools);
        self.core.serve(changed);
        Ok(())
    }

    /// Who judges from now on, on each thread: who does already, where it is the same policy.
    fn judges(
        &self,
        before: &Served,
        shared: &VirtualServer,
    ) -> anyhow::Result<Vec<Arc<reprieve_policy_host::Judge>>> {
        if Arc::ptr_eq(&before.shared.policy, &shared.policy) {
            return Ok(before.doors.iter().map(|door| door.context().judge.clone()).collect());
        }
        self.core.judges(shared)
    }

    /// The moment itself.
    fn lead(
        &self,
        served: &mut Served,
        shared: VirtualServer,
        judges: Vec<Arc<reprieve_policy_host::Judge>>,
        pools: &super::virtual_server::Pools,
    ) {
        for (door, judge) in served.doors.iter().zip(judges) {
            let context = shared.context(
                judge.clone(),
                pools,
                (&self.core.clock, &self.core.telling),
                &self.core.end.drain,
            );
            let before = door.lead_to(context);
            if !Arc::ptr_eq(&before.judge, &judge) {
                before.judge.retire();
            }
        }
        served.shared = shared;
    }
}
