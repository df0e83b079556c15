//! An address that is listened on.

use std::io;
use std::net::{SocketAddr, TcpListener};

use parking_lot::Mutex;
use tokio::sync::watch;

/// An address that is listened on, until this is stopped.
#[derive(Debug)]
pub(super) struct Listening {
    /// As the configuration has it: its port may be 0.
    pub(super) configured: SocketAddr,
    /// As it is.
    pub(super) address: SocketAddr,
    /// Whether its connections begin with a TLS handshake.
    pub(super) encrypted: bool,
    /// The sockets beside those that the threads accept from, for whoever takes them over. The
    /// system closes a socket when the last of its descriptors is closed.
    sockets: Mutex<Vec<TcpListener>>,
    stop: watch::Sender<bool>,
}

impl Listening {
    /// Holds the sockets of an address.
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

    /// The sockets, again: for threads that accept from them, or another process.
    pub(super) fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.lock().iter().map(TcpListener::try_clone).collect()
    }

    /// Becomes true when nothing more is to be accepted.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Closes the sockets. What was accepted goes on.
    pub(super) fn stop(&self) {
        self.sockets.lock().clear();
        self.stop.send_replace(true);
    }
}
