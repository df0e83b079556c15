//! The sockets that a configuration listens on, opened before anything else: low ports may need
//! privileges that nothing after it has.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;

use super::listening::Listening;
use crate::config::{Config, VirtualServerConfig};
use crate::net::{self, Inherited};

/// The sockets of a configuration.
#[derive(Debug)]
pub struct Sockets {
    /// Of each virtual server, in the order of the configuration.
    pub(super) listening: Vec<Vec<Arc<Listening>>>,
}

impl Sockets {
    /// Listens on all addresses, with sockets that were handed to this process where there are
    /// some for them.
    ///
    /// # Errors
    /// Where an address is taken, forbidden, or not this machine's.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        Self::open_with(config, Inherited::take())
    }

    /// Listens on all addresses, with these sockets where there are some for them.
    ///
    /// # Errors
    /// As [`Sockets::open`].
    pub fn open_with(config: &Config, mut inherited: Inherited) -> anyhow::Result<Self> {
        let threads = config.threads.max(1);
        let listening = config
            .virtual_servers
            .iter()
            .map(|server| {
                addresses(server)
                    .map(|(address, encrypted)| open(server, address, encrypted, threads, &mut inherited))
                    .collect()
            })
            .collect::<anyhow::Result<_>>()?;
        for address in inherited.left() {
            tracing::warn!(%address, "a socket was handed over that no virtual server listens on");
        }
        Ok(Self { listening })
    }
}

/// The addresses of a virtual server: in cleartext first, then for TLS.
pub(super) fn addresses(server: &VirtualServerConfig) -> impl Iterator<Item = (SocketAddr, bool)> {
    let plain = server.listen.iter().map(|&address| (address, false));
    plain.chain(server.listen_tls.iter().map(|&address| (address, true)))
}

/// Listens on an address of a virtual server.
pub(super) fn open(
    server: &VirtualServerConfig,
    address: SocketAddr,
    encrypted: bool,
    threads: usize,
    inherited: &mut Inherited,
) -> anyhow::Result<Arc<Listening>> {
    let place = || format!("virtual server {}", server.name);
    let sockets = match inherited.find(address, threads).with_context(place)? {
        Some(sockets) => sockets,
        None => net::bind(address, threads).with_context(place)?,
    };
    Ok(Arc::new(Listening::new(address, encrypted, sockets)?))
}
