//! The sockets that a configuration listens on, opened before anything else: low ports may need
//! privileges that nothing after it has.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;

use crate::config::Config;
use crate::net::{self, Inherited};

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    /// Whether its connections begin with a TLS handshake.
    pub(super) encrypted: bool,
}

/// The sockets of a configuration.
#[derive(Debug)]
pub struct Sockets {
    /// Of each virtual server, the addresses that it got.
    pub(super) addresses: Vec<(String, Vec<SocketAddr>)>,
    /// For each thread, for each virtual server, its listeners.
    pub(super) listeners: Vec<Vec<Vec<Listener>>>,
}

impl Sockets {
    /// Listens on all addresses, with sockets that were handed to this process where there are
    /// some for them.
    ///
    /// # Errors
    /// Where an address is taken, forbidden, or not this machine's.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let threads = config.threads.max(1);
        let mut inherited = Inherited::take();
        let mut addresses = Vec::new();
        let mut listeners: Vec<Vec<Vec<Listener>>> = (0..threads).map(|_| Vec::new()).collect();
        for server in &config.virtual_servers {
            let mut bound = Vec::new();
            listeners.iter_mut().for_each(|thread| thread.push(Vec::new()));
            let plain = server.listen.iter().map(|&address| (address, false));
            let encrypted = server.listen_tls.iter().map(|&address| (address, true));
            for (address, encrypted) in plain.chain(encrypted) {
                let place = || format!("virtual server {}", server.name);
                let sockets = match inherited.find(address, threads).with_context(place)? {
                    Some(sockets) => sockets,
                    None => net::bind(address, threads).with_context(place)?,
                };
                bound.push(sockets[0].local_addr()?);
                for (thread, socket) in listeners.iter_mut().zip(sockets) {
                    if let Some(last) = thread.last_mut() {
                        last.push(Listener { socket, encrypted });
                    }
                }
            }
            addresses.push((server.name.clone(), bound));
        }
        for address in inherited.left() {
            tracing::warn!(%address, "a socket was handed over that no virtual server listens on");
        }
        Ok(Self { addresses, listeners })
    }
}
