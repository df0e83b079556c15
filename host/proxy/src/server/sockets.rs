//! The sockets that a configuration listens on, opened before anything else: low ports may need
//! privileges that nothing after it has.

use std::net::SocketAddr;
use std::sync::Arc;

use super::listening::Listening;
use crate::config::{Config, VirtualServerConfig};
use crate::net::{self, BindError, Inherited};

/// The sockets of a configuration.
#[derive(Debug)]
pub struct Sockets {
    /// Of each virtual server, in the order of the configuration.
    pub(super) listening: Vec<Vec<Arc<Listening>>>,
}

/// Sockets of a configuration, as far as nobody else has them: what may need root.
#[derive(Debug)]
pub struct Reserved {
    /// Of each virtual server, in the order of the configuration; None for an address that another
    /// process is to hand over.
    listening: Vec<Vec<Option<Arc<Listening>>>>,
}

impl Sockets {
    /// Listens on all addresses, with sockets that were handed to this process if there are some
    /// for them.
    ///
    /// # Errors
    /// If an address is taken, forbidden, or not this machine's.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        Reserved::open(config, false)?.completed(config, Inherited::default())
    }
}

impl Reserved {
    /// Listens on all addresses, as [`Sockets::open`] does; `beside` another process, it leaves
    /// out those that are in use.
    ///
    /// # Errors
    /// As [`Sockets::open`].
    pub fn open(config: &Config, beside: bool) -> anyhow::Result<Self> {
        let mut inherited = Inherited::take();
        let listening = each(config, |server, at| match open(at, config.threads, &mut inherited) {
            Ok(listening) => Ok(Some(listening)),
            Err(OpenError::Bind(error)) if beside && error.is_in_use() => Ok(None),
            Err(error) => Err(error.at(server)),
        })?;
        warn_of_left(&inherited);
        Ok(Self { listening })
    }

    /// Listens on what is missing, with the sockets that another process has handed over.
    ///
    /// # Errors
    /// As [`Sockets::open`].
    pub fn completed(mut self, config: &Config, mut inherited: Inherited) -> anyhow::Result<Sockets> {
        let mut reserved = self.listening.iter_mut().flatten();
        let listening = each(config, |server, at| match reserved.next().and_then(Option::take) {
            Some(listening) => Ok(listening),
            None => open(at, config.threads, &mut inherited).map_err(|error| error.at(server)),
        })?;
        warn_of_left(&inherited);
        Ok(Sockets { listening })
    }
}

/// Does something for each address of each virtual server.
fn each<T>(
    config: &Config,
    mut work: impl FnMut(&VirtualServerConfig, (SocketAddr, bool)) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<Vec<T>>> {
    let servers = config.virtual_servers.iter();
    servers.map(|server| addresses(server).map(|at| work(server, at)).collect()).collect()
}

fn warn_of_left(inherited: &Inherited) {
    for address in inherited.left() {
        tracing::warn!(%address, "a socket was handed over that no virtual server listens on");
    }
}

/// Why an address of a virtual server cannot be listened on.
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

/// The addresses of a virtual server: in cleartext first, then for TLS.
pub(super) fn addresses(server: &VirtualServerConfig) -> impl Iterator<Item = (SocketAddr, bool)> {
    let plain = server.listen.iter().map(|&address| (address, false));
    plain.chain(server.listen_tls.iter().map(|&address| (address, true)))
}

/// Listens on an address, which may begin with a TLS handshake.
pub(super) fn open(
    (address, encrypted): (SocketAddr, bool),
    threads: usize,
    inherited: &mut Inherited,
) -> Result<Arc<Listening>, OpenError> {
    let threads = threads.max(1);
    let sockets = match inherited.find(address, threads)? {
        Some(sockets) => sockets,
        None => net::bind(address, threads)?,
    };
    Ok(Arc::new(Listening::new(address, encrypted, sockets)?))
}
