//! Connecting to a node: TCP, the PROXY header, TLS, the greeting and XCLIENT.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::connection::LineStream;
use super::node::Node;
use super::pool::Pool;
use crate::config::NodeTlsMode;
use crate::net::{Stream, TlsSession, local_proxy_header, proxy_header};
use reprieve_pop3::capability::BackendCapabilities;
use reprieve_pop3::reply::status;

/// Lines that a reply to CAPA may have. RFC 2449 sets no limit; real servers send about 15.
const MAX_CAPABILITIES: usize = 100;

/// The client on whose behalf Reprieve connects to a node.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo<'a> {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// The client's TLS session, if any.
    pub tls: Option<&'a TlsSession>,
    /// Session ID, passed on with XCLIENT so that the node's log can be matched with Reprieve's.
    pub session: &'a str,
}

/// What a node announces in its greeting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Whether it accepts XCLIENT from Reprieve (Dovecot's `login_trusted_networks`).
    pub xclient: bool,
    /// The timestamp for APOP, including `<` and `>` (RFC 1939, section 7).
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

fn failure(what: &str) -> std::io::Error {
    std::io::Error::other(what.to_owned())
}

/// Why connecting to a node failed.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The node failed regardless of the client.
    Node(std::io::Error),
    /// The node failed after it received the client's address; it may reject only this client.
    Client(std::io::Error),
}

impl From<ConnectError> for std::io::Error {
    fn from(why: ConnectError) -> Self {
        let (ConnectError::Node(error) | ConnectError::Client(error)) = why;
        error
    }
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Node(error) | Self::Client(error)) = self;
        error.fmt(f)
    }
}

impl Pool {
    /// Connects to a node and reads its greeting. `client` is announced to the node; None for a
    /// health check.
    pub(super) async fn connect(
        &self,
        node: &Node,
        client: Option<ClientInfo<'_>>,
    ) -> Result<(LineStream, Greeting), ConnectError> {
        let timeout = self.config().connect_timeout;
        let stream = connect_tcp(node, timeout).await.map_err(ConnectError::Node)?;
        let mut client_announced = false;
        let greeting = self.exchange_greeting(node, stream, client, &mut client_announced);
        match crate::time::timeout(timeout, greeting).await {
            Ok(Ok(greeted)) => Ok(greeted),
            // An invalid certificate (InvalidData) does not depend on the client.
            Ok(Err(error)) if client_announced && error.kind() != std::io::ErrorKind::InvalidData => {
                Err(ConnectError::Client(error))
            }
            Ok(Err(error)) => Err(ConnectError::Node(error)),
            Err(_) => Err(ConnectError::Node(failure("timed out waiting for the greeting"))),
        }
    }

    async fn exchange_greeting(
        &self,
        node: &Node,
        mut stream: Stream,
        client: Option<ClientInfo<'_>>,
        client_announced: &mut bool,
    ) -> std::io::Result<(LineStream, Greeting)> {
        let header = match client {
            Some(client) => proxy_header(self.config().proxy_header, client.peer, client.local, client.tls),
            None => local_proxy_header(self.config().proxy_header),
        };
        if !header.is_empty() {
            *client_announced = client.is_some();
            tokio::io::AsyncWriteExt::write_all(&mut stream, &header).await?;
        }
        let mode = self.config().tls.mode;
        let stream = match self.connector() {
            Some(connector) if mode == NodeTlsMode::Implicit => {
                connector.connect(&node.host, stream.into_plain()?).await?
            }
            _ => stream,
        };
        let mut line_stream = LineStream { stream, rest: Vec::new() };
        let banner = line_stream.line().await?;
        if status(&banner) != Some(true) {
            return Err(failure("the greeting is not +OK"));
        }
        let greeting = Greeting::read(&banner);
        if let Some(connector) = self.connector()
            && mode == NodeTlsMode::Stls
        {
            line_stream.write(b"STLS\r\n").await?;
            if status(&line_stream.line().await?) != Some(true) {
                return Err(failure("STLS was refused"));
            }
            // Data sent in cleartext must not be taken for a reply inside TLS (command injection).
            if !line_stream.rest.is_empty() {
                return Err(failure("unexpected data before the TLS handshake"));
            }
            let stream = line_stream.stream.into_plain()?;
            line_stream =
                LineStream { stream: connector.connect(&node.host, stream).await?, rest: Vec::new() };
        }
        if let Some(client) = client
            && greeting.xclient
            && self.config().xclient
        {
            *client_announced = true;
            line_stream.write(&xclient(client)).await?;
            if status(&line_stream.line().await?) != Some(true) {
                return Err(failure("XCLIENT was refused although the greeting offers it"));
            }
        }
        Ok((line_stream, greeting))
    }

    /// Queries the capabilities on a health check's connection, then sends QUIT.
    pub(super) async fn check_capabilities(
        &self,
        mut line_stream: LineStream,
    ) -> std::io::Result<BackendCapabilities> {
        let query = async {
            let capabilities =
                query_capabilities(&mut line_stream).await?.unwrap_or(BackendCapabilities::WITHOUT_CAPA);
            let _ = line_stream.write(b"QUIT\r\n").await;
            let _ = line_stream.line().await;
            Ok(capabilities)
        };
        let timeout = self.config().connect_timeout;
        crate::time::timeout(timeout, query)
            .await
            .map_err(|_| failure("timed out waiting for the reply to CAPA"))?
    }
}

/// Sends CAPA and reads the reply (RFC 2449, section 5); None if the node does not support CAPA.
pub(super) async fn query_capabilities(
    line_stream: &mut LineStream,
) -> std::io::Result<Option<BackendCapabilities>> {
    line_stream.write(b"CAPA\r\n").await?;
    match status(&line_stream.line().await?) {
        Some(true) => {}
        Some(false) => return Ok(None),
        None => return Err(failure("the reply to CAPA is neither +OK nor -ERR")),
    }
    let mut lines = Vec::new();
    loop {
        let line = line_stream.line().await?;
        if line.trim_ascii_end() == b"." {
            return Ok(Some(BackendCapabilities::parse(lines.iter().map(Vec::as_slice))));
        }
        if lines.len() >= MAX_CAPABILITIES {
            return Err(failure("the reply to CAPA has too many lines"));
        }
        lines.push(line);
    }
}

/// Tries the node's addresses in order. The timeout applies to each address.
async fn connect_tcp(node: &Node, timeout: Duration) -> std::io::Result<Stream> {
    let mut last = failure("the host name has no address");
    let addresses = node.addresses.load_full();
    for &address in addresses.iter() {
        match crate::time::timeout(timeout, Stream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = failure("the connection attempt timed out"),
        }
    }
    Err(last)
}

/// Dovecot's command that replaces the connection's address by the client's.
fn xclient(client: ClientInfo<'_>) -> Vec<u8> {
    let ip = match client.peer.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.to_string(),
    };
    format!("XCLIENT ADDR={ip} PORT={} SESSION={}\r\n", client.peer.port(), client.session).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_parsed() {
        let greeting = Greeting::read(b"+OK [XCLIENT] Dovecot ready. <1896.697170952@dbc.mtview.ca.us>\r\n");
        assert!(greeting.xclient);
        assert_eq!(greeting.timestamp.as_deref(), Some(&b"<1896.697170952@dbc.mtview.ca.us>"[..]));
        assert_eq!(Greeting::read(b"+OK ready <a b>\r\n"), Greeting::default());
        assert_eq!(Greeting::read(b"+OK ready <\r\n"), Greeting::default());
    }

    #[test]
    fn xclient_sends_ipv4_mapped_addresses_as_ipv4() {
        let client = ClientInfo {
            peer: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            local: "127.0.0.1:110".parse().unwrap(),
            tls: None,
            session: "0123",
        };
        assert_eq!(xclient(client), b"XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=0123\r\n");
    }
}
