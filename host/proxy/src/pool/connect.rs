//! From a node's address to its greeting: connecting, the PROXY header, TLS, the banner, and
//! telling the client's address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use super::connection::Wire;
use super::node::Node;
use super::state::Pool;
use crate::config::NodeTlsMode;
use crate::net::{Stream, TlsSession, local_proxy_header, proxy_header};
use reprieve_pop3::capability::BackendCapabilities;
use reprieve_pop3::reply::status;

/// For whom a node is connected to.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Its TLS session.
    pub tls: Option<&'a TlsSession>,
    /// Identifier of its session, for the node's log.
    pub session: &'a str,
}

/// What a node has said in its banner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// It takes XCLIENT from Reprieve (Dovecot).
    pub xclient: bool,
    /// The timestamp that APOP's digest is made with, `<` and `>` included (RFC 1939,
    /// section 7).
    pub timestamp: Option<Vec<u8>>,
}

impl Greeting {
    fn read(banner: &[u8]) -> Self {
        let begin = memchr::memchr(b'<', banner);
        let timestamp = begin.and_then(|begin| {
            let end = begin + memchr::memchr(b'>', &banner[begin..])?;
            let timestamp = &banner[begin..=end];
            timestamp.iter().all(u8::is_ascii_graphic).then(|| timestamp.to_vec())
        });
        Self { xclient: memchr::memmem::find(banner, b"[XCLIENT]").is_some(), timestamp }
    }
}

fn fault(what: &str) -> std::io::Error {
    std::io::Error::other(what.to_owned())
}

/// Why a node has not greeted a login.
#[derive(Debug)]
pub(super) enum Ungreeted {
    /// Anybody would have met it.
    Node(std::io::Error),
    /// The node knew the client's address: perhaps it hangs up on that one alone.
    Caller(std::io::Error),
}

impl From<Ungreeted> for std::io::Error {
    fn from(why: Ungreeted) -> Self {
        let (Ungreeted::Node(error) | Ungreeted::Caller(error)) = why;
        error
    }
}

impl std::fmt::Display for Ungreeted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Node(error) | Self::Caller(error)) = self;
        error.fmt(f)
    }
}

impl Pool {
    /// Connects to a node up to its greeting, and tells it about the caller; None where it is
    /// only to be asked how it is.
    pub(super) async fn greeted(
        &self,
        node: &Node,
        caller: Option<Caller<'_>>,
    ) -> Result<(Wire, Greeting), Ungreeted> {
        let within = self.config().connect_timeout;
        let stream = connect(node, within).await.map_err(Ungreeted::Node)?;
        let mut knows_caller = false;
        let greeted = self.greet(node, stream, caller, &mut knows_caller);
        match tokio::time::timeout(within, greeted).await {
            Ok(Ok(greeted)) => Ok(greeted),
            // A certificate that is wrong is so for everybody.
            Ok(Err(error)) if knows_caller && error.kind() != std::io::ErrorKind::InvalidData => {
                Err(Ungreeted::Caller(error))
            }
            Ok(Err(error)) => Err(Ungreeted::Node(error)),
            Err(_) => Err(Ungreeted::Node(fault("no greeting in time"))),
        }
    }

    async fn greet(
        &self,
        node: &Node,
        mut stream: TcpStream,
        caller: Option<Caller<'_>>,
        knows_caller: &mut bool,
    ) -> std::io::Result<(Wire, Greeting)> {
        let header = match caller {
            Some(caller) => proxy_header(self.config().proxy_header, caller.peer, caller.local, caller.tls),
            None => local_proxy_header(self.config().proxy_header),
        };
        if !header.is_empty() {
            *knows_caller = caller.is_some();
            tokio::io::AsyncWriteExt::write_all(&mut stream, &header).await?;
        }
        let mode = self.config().tls.mode;
        let stream = match self.connector() {
            Some(connector) if mode == NodeTlsMode::Implicit => connector.connect(&node.host, stream).await?,
            _ => Stream::Plain(stream),
        };
        let mut wire = Wire { stream, rest: Vec::new() };
        let banner = wire.line().await?;
        if status(&banner) != Some(true) {
            return Err(fault("it does not greet with +OK"));
        }
        let greeting = Greeting::read(&banner);
        if let Some(connector) = self.connector()
            && mode == NodeTlsMode::Stls
        {
            wire.write(b"STLS\r\n").await?;
            if status(&wire.line().await?) != Some(true) {
                return Err(fault("it refuses STLS"));
            }
            // What came before the handshake must not be taken for a reply inside it.
            if !wire.rest.is_empty() {
                return Err(fault("it speaks before the TLS handshake that it agreed to"));
            }
            let Stream::Plain(stream) = wire.stream else { return Err(fault("TLS twice")) };
            wire = Wire { stream: connector.connect(&node.host, stream).await?, rest: Vec::new() };
        }
        if let Some(caller) = caller
            && greeting.xclient
            && self.config().xclient
        {
            *knows_caller = true;
            wire.write(&xclient(caller)).await?;
            if status(&wire.line().await?) != Some(true) {
                return Err(fault("it refuses XCLIENT, which its banner offers"));
            }
        }
        Ok((wire, greeting))
    }

    /// Asks a node that was connected to what it can do, and takes leave.
    pub(super) async fn ask_capabilities(&self, mut wire: Wire) -> std::io::Result<BackendCapabilities> {
        let asking = async {
            let learned = capabilities(&mut wire).await?.unwrap_or(BackendCapabilities::WITHOUT_CAPA);
            let _ = wire.write(b"QUIT\r\n").await;
            let _ = wire.line().await;
            Ok(learned)
        };
        let within = self.config().connect_timeout;
        tokio::time::timeout(within, asking).await.map_err(|_| fault("no answer to CAPA in time"))?
    }
}

/// What a node answers to CAPA; None if it does not know it.
pub(super) async fn capabilities(wire: &mut Wire) -> std::io::Result<Option<BackendCapabilities>> {
    wire.write(b"CAPA\r\n").await?;
    match status(&wire.line().await?) {
        Some(true) => {}
        Some(false) => return Ok(None),
        None => return Err(fault("it answers CAPA neither with +OK nor with -ERR")),
    }
    let mut lines = Vec::new();
    loop {
        let line = wire.line().await?;
        if line.trim_ascii_end() == b"." {
            return Ok(Some(BackendCapabilities::parse(lines.iter().map(Vec::as_slice))));
        }
        if lines.len() >= 100 {
            return Err(fault("its answer to CAPA has no end"));
        }
        lines.push(line);
    }
}

/// `within`: for each address, so that one that does not answer leaves time for the next.
async fn connect(node: &Node, within: Duration) -> std::io::Result<TcpStream> {
    let mut last = fault("its name has no address");
    let addresses = node.addresses.load_full();
    for &address in addresses.iter() {
        match tokio::time::timeout(within, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = fault("no connection in time"),
        }
    }
    Err(last)
}

/// Dovecot's command, by which it takes the client's address for the connection's.
fn xclient(caller: Caller<'_>) -> Vec<u8> {
    let ip = match caller.peer.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.to_string(),
    };
    format!("XCLIENT ADDR={ip} PORT={} SESSION={}\r\n", caller.peer.port(), caller.session).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_tell_what_they_offer() {
        let greeting = Greeting::read(b"+OK [XCLIENT] Dovecot ready. <1896.697170952@dbc.mtview.ca.us>\r\n");
        assert!(greeting.xclient);
        assert_eq!(greeting.timestamp.as_deref(), Some(&b"<1896.697170952@dbc.mtview.ca.us>"[..]));
        assert_eq!(Greeting::read(b"+OK ready <a b>\r\n"), Greeting::default());
        assert_eq!(Greeting::read(b"+OK ready <\r\n"), Greeting::default());
    }

    #[test]
    fn xclient_tells_the_clients_own_address() {
        let caller = Caller {
            peer: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            local: "127.0.0.1:110".parse().unwrap(),
            tls: None,
            session: "0123",
        };
        assert_eq!(xclient(caller), b"XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=0123\r\n");
    }
}
