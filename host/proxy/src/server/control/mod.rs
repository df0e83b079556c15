//! Changes to a running server. The new state is prepared first and then replaces the old one
//! atomically; if anything is wrong with it, nothing changes.

mod prepare;
mod reload;
mod swap;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::core::{ActiveConfig, Core};
use super::followers::Followers;
use super::lookups;
use super::new_mail::NewMail;
use super::virtual_server::{Served, VirtualServer};
use crate::config::Config;
use crate::session::Evaluator;
pub use reload::ReloadReport;
use reprieve_lookup::Tables;
pub use swap::PolicyChange;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such virtual server.
    #[error("there is no virtual server {name:?}; the virtual servers are {known}")]
    #[allow(missing_docs)]
    UnknownServer { name: String, known: String },
    /// The server is shutting down.
    #[error("this server is draining; nothing was changed")]
    Draining,
    /// The new state cannot be used; the reason.
    #[error("{0}; nothing was changed")]
    Refused(String),
}

impl From<anyhow::Error> for ChangeError {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(format!("{error:#}"))
    }
}

/// Changes a running server. Methods read files and compile, and must not be called on worker
/// threads.
#[derive(Clone, Debug)]
pub struct Control {
    core: Arc<Core>,
}

impl Control {
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Sets the source that [`Control::reload_from_source`] reads the configuration from.
    pub fn set_source(&self, source: impl Fn() -> anyhow::Result<Config> + Send + Sync + 'static) {
        *self.core.source.lock() = Some(Arc::new(source));
    }

    /// Reads the configuration again and applies it; reopens the decision log's file.
    ///
    /// # Errors
    /// If the configuration is invalid; nothing is changed then.
    pub fn reload_from_source(&self) -> Result<ReloadReport, ChangeError> {
        // Even if the configuration is invalid, because log rotation relies on it.
        if let Some(decision_log) = &self.core.sinks.decision_log {
            decision_log.reopen();
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

    /// Component files that the configuration names.
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

    /// The active configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        self.core.active.load().config.clone()
    }

    /// Reloads the certificates for clients. Returns an error message for each that cannot be read
    /// and is kept as it was.
    pub fn reload_certificates(&self) -> Vec<String> {
        self.core.certificates.reload(&self.core.active.load().certificates())
    }

    /// Reloads the certificates for clients if a file has changed.
    pub fn reload_changed_certificates(&self) {
        self.core.certificates.reload_if_changed(&self.core.active.load().certificates());
    }

    /// Reads the lookup tables again whose files have changed and are now as they were at the previous
    /// call. The old version of a file that cannot be used stays in use, and the error is logged.
    pub fn reload_changed_lookups(&self) {
        lookups::reload(&self.core, Tables::reload_changed);
    }

    /// Makes the process drain and exit, as SIGTERM does.
    pub fn drain(&self) {
        self.core.ending.send_replace(true);
    }

    /// Becomes true when the process is to drain and exit.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.core.ending.subscribe()
    }

    /// Releases the stores that only one process can have open, for the process that takes over.
    /// `released` false reopens them, if that process did not start to serve.
    pub async fn release_stores(&self, released: bool) {
        self.core.handed_over.store(released, Ordering::SeqCst);
        self.follow_logs(!released);
        for store in self.core.stores.iter() {
            if !released {
                store.store.reacquire();
            } else if !store.store.release().await {
                tracing::warn!(
                    "the store could not be saved completely before another process takes it over"
                );
            }
        }
    }

    /// Follows the logs of deliveries, or leaves them to the process that takes over.
    fn follow_logs(&self, here: bool) {
        let Some(mut resources) = self.core.begin_change() else { return };
        resources.followers = None;
        if here {
            let config = &self.core.active.load().config;
            match Followers::start(config, &NewMail::of(self.core.clone())) {
                Ok(followers) => resources.followers = followers,
                Err(error) => tracing::error!("logs of deliveries are not followed: {error}"),
            }
        }
    }

    /// Whether sockets and stores were handed over to another process.
    #[must_use]
    pub fn has_handed_over(&self) -> bool {
        self.core.handed_over.load(Ordering::SeqCst)
    }

    /// Duplicates all listening sockets, for the process that takes over.
    ///
    /// # Errors
    /// If this process is out of file descriptors.
    pub fn sockets(&self) -> std::io::Result<Vec<std::net::TcpListener>> {
        let active = self.core.active.load();
        let mut sockets = Vec::new();
        for listener in active.servers.iter().flat_map(|server| &server.listeners) {
            sockets.extend(listener.sockets()?);
        }
        Ok(sockets)
    }

    fn find(&self, active: &ActiveConfig, name: &str) -> Result<usize, ChangeError> {
        let mut names = active.servers.iter().map(|server| server.shared.config.name.as_str());
        names.clone().position(|known| known == name).ok_or_else(|| ChangeError::UnknownServer {
            name: name.to_owned(),
            known: names.by_ref().collect::<Vec<_>>().join(", "),
        })
    }

    /// Replaces a virtual server; the next login uses the new one.
    fn replace(&self, active: &ActiveConfig, index: usize, shared: VirtualServer) -> Result<(), ChangeError> {
        let evaluators = self.evaluators(&active.servers[index], &shared)?;
        let mut changed = active.clone();
        self.switch(&mut changed.servers[index], shared, evaluators, &active.pools);
        self.core.serve(changed);
        Ok(())
    }

    /// Evaluators of the new policy, one per thread. The existing ones are kept if the policy is the
    /// same.
    fn evaluators(&self, before: &Served, shared: &VirtualServer) -> anyhow::Result<Vec<Arc<Evaluator>>> {
        if Arc::ptr_eq(&before.shared.policy, &shared.policy) {
            return Ok(before.handles.iter().map(|handle| handle.context().evaluator.clone()).collect());
        }
        self.core.evaluators(shared)
    }

    /// Switches connections and logins over to the new virtual server.
    fn switch(
        &self,
        served: &mut Served,
        shared: VirtualServer,
        evaluators: Vec<Arc<Evaluator>>,
        pools: &super::virtual_server::Pools,
    ) {
        for (handle, evaluator) in served.handles.iter().zip(evaluators) {
            let context = shared.context(
                evaluator.clone(),
                pools,
                (&self.core.clock, &self.core.sinks),
                (&self.core.shutdown.drain, &self.core.handed_over),
            );
            let before = handle.replace(context);
            if !Arc::ptr_eq(&before.evaluator, &evaluator) {
                before.evaluator.retire();
            }
        }
        served.shared = shared;
    }
}
