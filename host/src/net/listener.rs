//! Listening sockets, one for each thread: the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", self.why())]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
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

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted connections inherit it: replies go out at once.
    socket.set_tcp_nodelay(true)?;
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
