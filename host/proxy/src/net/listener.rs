//! Listening sockets, one per thread: the kernel distributes new connections among them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Number of connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// Unsent bytes that the kernel buffers per connection (`TCP_NOTSENT_LOWAT`).
#[cfg(target_os = "linux")]
const MAX_UNSENT_BYTES: u32 = 256 << 10;

/// A listen address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", self.reason())]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
    /// Whether another program is listening on the address.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    fn reason(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program is listening there; stop it, or choose another port".to_owned()
            }
            io::ErrorKind::PermissionDenied if self.address.port() < 1024 => {
                "ports below 1024 are privileged: start as root, or grant CAP_NET_BIND_SERVICE; once `user` \
                 has replaced root, only a restart can open them"
                    .to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
            _ => self.source.to_string(),
        }
    }
}

/// Listening sockets passed to this process by systemd's socket activation (`LISTEN_FDS`) or by
/// the process that it replaces.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<TcpListener>);

impl InheritedSockets {
    /// Takes the sockets of `LISTEN_FDS`, except those that are not TCP listeners.
    #[must_use]
    pub fn take() -> Self {
        let mut passed = listenfd::ListenFd::from_env();
        let sockets = (0..passed.len()).filter_map(|index| passed.take_tcp_listener(index).ok().flatten());
        Self(sockets.collect())
    }

    /// Wraps sockets received from the process that this one replaces.
    #[must_use]
    pub fn new(sockets: Vec<TcpListener>) -> Self {
        Self(sockets)
    }

    /// Takes the sockets that listen on an address, duplicated if there are fewer than `count`.
    /// May return more than `count`: connections may be waiting in each of them.
    ///
    /// # Errors
    /// If no file descriptor is left.
    pub fn take_for(&mut self, address: SocketAddr, count: usize) -> io::Result<Option<Vec<TcpListener>>> {
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
            set_options(socket2::SockRef::from(socket));
        }
        Ok(Some(sockets))
    }

    /// Addresses of the sockets that were not taken.
    pub fn unused(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// Sets options that accepted connections inherit.
fn set_options(socket: socket2::SockRef<'_>) {
    // Send replies immediately.
    let _ = socket.set_tcp_nodelay(true);
    // Limits the memory that a slow client occupies in the kernel.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
}

/// Opens `count` sockets that listen on one address.
///
/// # Errors
/// If the address is in use, privileged, or not an address of this machine.
pub fn bind(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    let fail = |source| BindError { address, source };
    // SO_REUSEPORT would also share the port with another process of the same user. Binding once
    // without it detects such a process.
    let exclusive = socket(address, false).map_err(fail)?;
    let address = exclusive.local_addr().map_err(fail)?.as_socket().unwrap_or(address);
    if count <= 1 {
        exclusive.listen(BACKLOG).map_err(fail)?;
        return Ok(vec![exclusive.into()]);
    }
    drop(exclusive);
    (0..count)
        .map(|_| {
            let shared = socket(address, true)?;
            shared.listen(BACKLOG)?;
            Ok(shared.into())
        })
        .collect::<io::Result<_>>()
        .map_err(fail)
}

/// Binds one socket with SO_REUSEPORT, so that the process that replaces this one can listen at
/// the same time. It does not [listen] yet. `share`: bind even if a process of the same user is listening
/// already.
///
/// # Errors
/// As [`bind`].
pub fn bind_one(address: SocketAddr, share: bool) -> Result<TcpListener, BindError> {
    let fail = |source| BindError { address, source };
    let address = match socket(address, false) {
        Ok(exclusive) => exclusive.local_addr().map_err(fail)?.as_socket().unwrap_or(address),
        Err(error) if share && error.kind() == io::ErrorKind::AddrInUse => address,
        Err(error) => return Err(fail(error)),
    };
    Ok(socket(address, true).map_err(fail)?.into())
}

/// Listens on a bound socket: from now on the system accepts connections there, which wait to be served.
///
/// # Errors
/// If another process has begun to listen on the address.
pub fn listen(socket: &TcpListener) -> io::Result<()> {
    socket2::SockRef::from(socket).listen(BACKLOG)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    set_options(socket2::SockRef::from(&socket));
    if address.is_ipv6() {
        // So that "[::]" and "0.0.0.0" can both be listed.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_one_process_share_a_port_and_exclude_others() {
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
