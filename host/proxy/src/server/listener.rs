//! The listening sockets of one address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use parking_lot::Mutex;
use tokio::sync::watch;

/// A listen address with its sockets, open until [`Listener::stop`].
#[derive(Debug)]
pub(super) struct Listener {
    /// The configured address; its port may be 0.
    pub(super) configured: SocketAddr,
    /// The actual address.
    pub(super) address: SocketAddr,
    /// Whether its connections begin with a TLS handshake.
    pub(super) encrypted: bool,
    /// Duplicates of the sockets that the threads accept from, for a takeover. A socket is closed
    /// when its last descriptor is closed.
    sockets: Mutex<Vec<TcpListener>>,
    stop: watch::Sender<bool>,
}

impl Listener {
    pub(super) fn new(
        configured: SocketAddr,
        encrypted: bool,
        sockets: Vec<TcpListener>,
    ) -> io::Result<Self> {
        let address = match sockets.first() {
            Some(socket) => socket.local_addr()?,
            None => configured,
        };
        let (stop, _) = watch::channel(false);
        Ok(Self { configured, address, encrypted, sockets: Mutex::new(sockets), stop })
    }

    /// Duplicates the sockets, for worker threads or a takeover.
    pub(super) fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.lock().iter().map(TcpListener::try_clone).collect()
    }

    /// Becomes true when the threads are to stop accepting.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Closes the sockets; accepted connections continue.
    pub(super) fn stop(&self) {
        self.sockets.lock().clear();
        self.stop.send_replace(true);
    }
}
