//! Listening sockets, one for each thread: the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Octets of a reply that may wait in the system before they are sent.
#[cfg(target_os = "linux")]
const NOT_SENT: u32 = 256 << 10;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", self.why())]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
    /// Whether another program listens there.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    fn why(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there; stop it, or choose another port".to_owned()
            }
            io::ErrorKind::PermissionDenied if self.address.port() < 1024 => {
                "ports below 1024 need a privilege: run as root or grant CAP_NET_BIND_SERVICE".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
            _ => self.source.to_string(),
        }
    }
}

/// Sockets that whoever has started this process has opened for it (systemd's socket
/// activation: `LISTEN_FDS`), by the addresses that they listen on.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// Takes them over. What is no TCP listener is left alone.
    #[must_use]
    pub fn take() -> Self {
        let mut given = listenfd::ListenFd::from_env();
        let sockets = (0..given.len()).filter_map(|index| given.take_tcp_listener(index).ok().flatten());
        Self(sockets.collect())
    }

    /// These, from whoever had them before.
    #[must_use]
    pub fn of(sockets: Vec<TcpListener>) -> Self {
        Self(sockets)
    }

    /// The sockets that listen on an address: `count`, or more where there are more, because
    /// connections wait in each of them.
    ///
    /// # Errors
    /// Where the system has no more descriptors.
    pub fn find(&mut self, address: SocketAddr, count: usize) -> io::Result<Option<Vec<TcpListener>>> {
        let listens_there = |socket: &TcpListener| socket.local_addr().is_ok_and(|own| own == address);
        let mut sockets: Vec<_> = self.0.extract_if(.., |socket| listens_there(socket)).collect();
        if sockets.is_empty() {
            return Ok(None);
        }
        for index in 0..count.saturating_sub(sockets.len()) {
            sockets.push(sockets[index].try_clone()?);
        }
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            prepare(socket2::SockRef::from(socket));
        }
        Ok(Some(sockets))
    }

    /// The addresses of those that nobody has asked for.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// Accepted connections inherit these.
fn prepare(socket: socket2::SockRef<'_>) {
    // Replies go out at once.
    let _ = socket.set_tcp_nodelay(true);
    // Of a reply to a client that reads slowly, no more than this waits in the system.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
}

/// Listens on an address, `count` times.
///
/// # Errors
/// Where the address is taken, forbidden or not this machine's.
pub fn bind(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    let fail = |source| BindError { address, source };
    // Sockets that share a port share it with any other process of this user: this one, which
    // does not share, finds out whether there is such a process.
    let alone = socket(address, false).map_err(fail)?;
    let address = alone.local_addr().map_err(fail)?.as_socket().unwrap_or(address);
    if count <= 1 {
        alone.listen(BACKLOG).map_err(fail)?;
        return Ok(vec![alone.into()]);
    }
    drop(alone);
    (0..count)
        .map(|_| {
            let shared = socket(address, true)?;
            shared.listen(BACKLOG)?;
            Ok(shared.into())
        })
        .collect::<io::Result<_>>()
        .map_err(fail)
}

/// Listens on an address by one socket, which another process of this user can have one beside;
/// `beside`: as this one has if the address is in use, until the other has ended.
///
/// # Errors
/// As [`bind`].
pub fn bind_one(address: SocketAddr, beside: bool) -> Result<TcpListener, BindError> {
    let fail = |source| BindError { address, source };
    let address = match socket(address, false) {
        Ok(alone) => alone.local_addr().map_err(fail)?.as_socket().unwrap_or(address),
        Err(error) if beside && error.kind() == io::ErrorKind::AddrInUse => address,
        Err(error) => return Err(fail(error)),
    };
    let shared = socket(address, true).map_err(fail)?;
    shared.listen(BACKLOG).map_err(fail)?;
    Ok(shared.into())
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    prepare(socket2::SockRef::from(&socket));
    if address.is_ipv6() {
        // "[::]" beside "0.0.0.0" is usual, and each is to mean its own family.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_listeners_share_one_free_port_and_nobody_else_can() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = bind(any, 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
        let client = std::net::TcpStream::connect(address).unwrap();
        let accepted = loop {
            if let Some((accepted, _)) = listeners.iter().find_map(|listener| listener.accept().ok()) {
                break accepted;
            }
        };
        assert!(accepted.nodelay().unwrap(), "accepted connections inherit TCP_NODELAY");
        drop(client);
        let error = bind(address, 2).unwrap_err();
        assert!(error.to_string().contains("another program"), "{error}");
    }
}
