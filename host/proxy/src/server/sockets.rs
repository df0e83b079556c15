//! Opens the listening sockets of a configuration, before root privileges are dropped: ports below
//! 1024 may require them.

use std::net::SocketAddr;
use std::sync::Arc;

use super::listener::Listener;
use crate::config::{Config, VirtualServerConfig};
use crate::net::{self, BindError, InheritedSockets};

/// All listening sockets of a configuration.
#[derive(Debug)]
pub struct Sockets {
    /// For each virtual server, in the order of the configuration.
    pub(super) listeners: Vec<Vec<Arc<Listener>>>,
}

/// The listening sockets that could be opened; during a takeover, the others are handed over by the
/// running process.
#[derive(Debug)]
pub struct ReservedSockets {
    /// For each virtual server, in the order of the configuration; None for an address that is in
    /// use.
    listeners: Vec<Vec<Option<Arc<Listener>>>>,
}

impl Sockets {
    /// Listens on all addresses. Uses sockets that the service manager passed to this process, if
    /// there are any.
    ///
    /// # Errors
    /// If an address is in use, forbidden, or not local.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        ReservedSockets::open(config, false)?.complete(config, InheritedSockets::default())
    }
}

impl ReservedSockets {
    /// Listens on all addresses, like [`Sockets::open`]. `skip_in_use`: skip addresses that
    /// another process listens on.
    ///
    /// # Errors
    /// As [`Sockets::open`].
    pub fn open(config: &Config, skip_in_use: bool) -> anyhow::Result<Self> {
        let mut inherited = InheritedSockets::take();
        let listeners =
            for_each_address(config, |server, at| match open(at, config.threads, &mut inherited) {
                Ok(listener) => Ok(Some(listener)),
                Err(OpenError::Bind(error)) if skip_in_use && error.is_in_use() => Ok(None),
                Err(error) => Err(error.at(server)),
            })?;
        warn_about_unused(&inherited);
        Ok(Self { listeners })
    }

    /// Adds the missing sockets, from those that another process handed over.
    ///
    /// # Errors
    /// As [`Sockets::open`].
    pub fn complete(mut self, config: &Config, mut inherited: InheritedSockets) -> anyhow::Result<Sockets> {
        let mut reserved = self.listeners.iter_mut().flatten();
        let listeners =
            for_each_address(config, |server, at| match reserved.next().and_then(Option::take) {
                Some(listener) => Ok(listener),
                None => open(at, config.threads, &mut inherited).map_err(|error| error.at(server)),
            })?;
        warn_about_unused(&inherited);
        Ok(Sockets { listeners })
    }
}

/// Calls `work` for each address of each virtual server.
fn for_each_address<T>(
    config: &Config,
    mut work: impl FnMut(&VirtualServerConfig, (SocketAddr, bool)) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<Vec<T>>> {
    let servers = config.virtual_servers.iter();
    servers.map(|server| addresses(server).map(|at| work(server, at)).collect()).collect()
}

fn warn_about_unused(inherited: &InheritedSockets) {
    for address in inherited.unused() {
        tracing::warn!(%address, "a socket was passed to this process, but no virtual server listens on its address");
    }
}

/// Why a listening socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl OpenError {
    pub(super) fn at(self, server: &VirtualServerConfig) -> anyhow::Error {
        anyhow::Error::from(self).context(format!("virtual server {}", server.name))
    }
}

/// The addresses of a virtual server, with whether connections begin with TLS: `listen`, then
/// `listen-tls`.
pub(super) fn addresses(server: &VirtualServerConfig) -> impl Iterator<Item = (SocketAddr, bool)> {
    let plain = server.listen.iter().map(|&address| (address, false));
    plain.chain(server.listen_tls.iter().map(|&address| (address, true)))
}

/// Listens on an address, with one socket per thread.
pub(super) fn open(
    (address, encrypted): (SocketAddr, bool),
    threads: usize,
    inherited: &mut InheritedSockets,
) -> Result<Arc<Listener>, OpenError> {
    let threads = threads.max(1);
    let sockets = match inherited.take_for(address, threads)? {
        Some(sockets) => sockets,
        None => net::bind(address, threads)?,
    };
    Ok(Arc::new(Listener::new(address, encrypted, sockets)?))
}
