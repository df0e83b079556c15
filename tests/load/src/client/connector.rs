//! Connecting to a server: from which address, to which one, with or without TLS.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::fault::{Fault, FaultKind};
use super::stream::Stream;

/// A server's address, and the name that its certificate must have.
struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
}

/// Makes connections; sessions take turns with the servers and the source addresses.
pub(crate) struct Connector {
    targets: Vec<Target>,
    sources: Vec<IpAddr>,
    tls: Option<TlsConnector>,
}

impl Connector {
    /// Resolves the servers' names once. Without `sources` the kernel chooses the source address.
    pub(crate) fn new(
        servers: &[String],
        sources: Vec<IpAddr>,
        tls: Option<Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let mut targets = Vec::new();
        for server in servers {
            let Some((host, _port)) = server.rsplit_once(':') else {
                bail!("`{server}` has no port; use HOST:PORT, such as mail.example:110");
            };
            let address = server
                .to_socket_addrs()
                .with_context(|| format!("cannot look up {server}"))?
                .next()
                .with_context(|| format!("{server} has no address"))?;
            let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
            let name = ServerName::try_from(host).with_context(|| format!("{server} is not a valid name"))?;
            if sources.iter().any(|source| source.is_ipv4() != address.is_ipv4()) {
                bail!("{address} cannot be reached from --source: one is IPv4, the other IPv6");
            }
            targets.push(Target { address, name });
        }
        Ok(Self { targets, sources, tls: tls.map(TlsConnector::from) })
    }

    /// Connects the session with this number.
    pub(crate) async fn connect(&self, session: u64) -> Result<Stream, Fault> {
        let target = &self.targets[(session % self.targets.len() as u64) as usize];
        let fault = |kind, error: io::Error| Fault {
            stage: "connect",
            kind,
            detail: format!("{}: {error}", target.address),
        };
        let stream =
            self.tcp(session, target.address).await.map_err(|error| fault(FaultKind::Connection, error))?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => {
                let secured = tls.connect(target.name.clone(), stream).await;
                Ok(Stream::Tls(Box::new(secured.map_err(|error| fault(FaultKind::Tls, error))?)))
            }
        }
    }

    async fn tcp(&self, session: u64, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if !self.sources.is_empty() {
            let source = self.sources[(session % self.sources.len() as u64) as usize];
            choose_port_on_connect(&socket)?;
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        socket.connect(address).await
    }
}

/// Lets `connect` choose the source port instead of `bind`: it can use a port for several
/// destinations, so that ports do not run out.
fn choose_port_on_connect(socket: &TcpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while `socket` lives, and `on` is only read during the call,
    // with its own length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
