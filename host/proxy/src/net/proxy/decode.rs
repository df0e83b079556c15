//! Decodes PROXY headers, versions 1 and 2.

use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::net::{ClientCertificate, TlsSession};

/// Longest header of version 1 in bytes, including CR LF. A header of version 2 states its length
/// (at most 65,551 bytes) and is read completely: only peers that `proxy-from` trusts may send one.
const MAX_V1_BYTES: usize = 107;
/// First 12 bytes of a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Origin of a connection according to its PROXY header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// Forwarded for a client.
    Client {
        /// The client's address.
        peer: SocketAddr,
        /// The address that the client connected to.
        local: SocketAddr,
        /// The TLS session that the proxy terminated, if any.
        tls: Option<TlsSession>,
    },
    /// Opened by the proxy itself (`LOCAL` or `UNKNOWN`), such as a health check.
    Local,
}

/// A PROXY header that is missing or invalid.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The connection was closed or failed within the header.
    #[error("the connection ended within the PROXY header: {0}")]
    Lost(#[from] std::io::Error),
    /// The first bytes are not a PROXY header.
    #[error("a connection from `proxy-from` does not begin with a PROXY header")]
    Missing,
    /// Longer than version 1 allows.
    #[error("a PROXY header of version 1 is longer than {MAX_V1_BYTES} bytes")]
    TooLong,
    /// The header cannot be parsed.
    #[error("invalid PROXY header: {0}")]
    Malformed(String),
}

/// Reads a header and nothing beyond it.
///
/// # Errors
/// If the header is missing or invalid.
pub async fn read_header(stream: &mut TcpStream) -> Result<Proxied, ProxyError> {
    let mut header = Vec::with_capacity(128);
    // Usually the whole header has arrived in one segment.
    let mut peeked = [0; 536];
    let count = stream.peek(&mut peeked).await?;
    let whole = length(&peeked[..count]).unwrap_or(1);
    read_more(stream, &mut header, whole).await?;
    while let missing @ 1.. = missing(&header)? {
        read_more(stream, &mut header, missing).await?;
    }
    parse(&header)
}

/// Number of bytes that can be read of a header that begins like this, without reading beyond it. 0 if
/// it is whole.
///
/// # Errors
/// If no valid header begins like this.
pub fn missing(header: &[u8]) -> Result<usize, ProxyError> {
    if !is_prefix(header) {
        return Err(ProxyError::Missing);
    }
    let missing = match length(header) {
        Some(whole) => whole.saturating_sub(header.len()),
        None => 1,
    };
    if missing > 0 && header.starts_with(b"PROXY ") && header.len() >= MAX_V1_BYTES {
        return Err(ProxyError::TooLong);
    }
    Ok(missing)
}

/// Parses a whole header.
///
/// # Errors
/// If it is invalid.
pub fn parse(header: &[u8]) -> Result<Proxied, ProxyError> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(_) if header.len() > MAX_V1_BYTES => Err(ProxyError::TooLong),
        HeaderResult::V1(Ok(parsed)) => Ok(from_v1(&parsed)),
        HeaderResult::V2(Ok(parsed)) => Ok(from_v2(&parsed)),
        HeaderResult::V1(Err(why)) => Err(ProxyError::Malformed(why.to_string())),
        HeaderResult::V2(Err(why)) => Err(ProxyError::Malformed(why.to_string())),
    }
}

/// Whether a header may start with these bytes. If not, reading stops at once.
fn is_prefix(bytes: &[u8]) -> bool {
    [&SIGNATURE[..], b"PROXY "].into_iter().any(|begin| {
        let common = bytes.len().min(begin.len());
        bytes[..common] == begin[..common]
    })
}

/// Appends exactly `count` bytes of the stream to the header.
async fn read_more(stream: &mut TcpStream, header: &mut Vec<u8>, count: usize) -> std::io::Result<()> {
    let before = header.len();
    header.resize(before + count, 0);
    stream.read_exact(&mut header[before..]).await?;
    Ok(())
}

/// Length in bytes of the header that starts like this, if known yet.
pub fn length(start: &[u8]) -> Option<usize> {
    if start.starts_with(SIGNATURE) {
        let length = start.get(14..16)?;
        return Some(16 + usize::from(u16::from_be_bytes([length[0], length[1]])));
    }
    let is_text = start.starts_with(b"PROXY ");
    memchr::memchr(b'\n', start).map(|end| end + 1).filter(|_| is_text)
}

fn from_v1(header: &v1::Header<'_>) -> Proxied {
    match &header.addresses {
        v1::Addresses::Tcp4(addresses) => client_v4(addresses, None),
        v1::Addresses::Tcp6(addresses) => client_v6(addresses, None),
        v1::Addresses::Unknown => Proxied::Local,
    }
}

fn from_v2(header: &v2::Header<'_>) -> Proxied {
    match &header.addresses {
        _ if header.command == v2::Command::Local => Proxied::Local,
        v2::Addresses::IPv4(addresses) => client_v4(addresses, tls_of(header)),
        v2::Addresses::IPv6(addresses) => client_v6(addresses, tls_of(header)),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => Proxied::Local,
    }
}

fn client_v4(addresses: &v1::IPv4, tls: Option<TlsSession>) -> Proxied {
    let peer = (addresses.source_address, addresses.source_port).into();
    let local = (addresses.destination_address, addresses.destination_port).into();
    Proxied::Client { peer, local, tls }
}

fn client_v6(addresses: &v1::IPv6, tls: Option<TlsSession>) -> Proxied {
    let peer = (addresses.source_address, addresses.source_port).into();
    let local = (addresses.destination_address, addresses.destination_port).into();
    Proxied::Client { peer, local, tls }
}

/// The TLS session that the proxy terminated: PP2_TYPE_SSL and PP2_TYPE_AUTHORITY.
fn tls_of(header: &v2::Header<'_>) -> Option<TlsSession> {
    /// PP2_CLIENT_SSL.
    const OVER_TLS: u8 = 1;
    /// PP2_CLIENT_CERT_CONN or PP2_CLIENT_CERT_SESS.
    const WITH_CERTIFICATE: u8 = 2 | 4;
    let tlvs = || header.tlvs().filter_map(Result::ok);
    let ssl = tlvs().find(|tlv| tlv.kind == u8::from(v2::Type::SSL))?;
    let (&[client, _, _, _, _], mut rest) = ssl.value.split_first_chunk::<5>()?;
    if client & OVER_TLS == 0 {
        return None;
    }
    // The four bytes after the flags are zero if the certificate was verified.
    let verified = ssl.value[1..5] == [0; 4];
    let (mut version, mut common_name) = ("TLS", None);
    while let [kind, high, low, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, more) = more.split_at_checked(length)?;
        if *kind == u8::from(v2::Type::SSLVersion) {
            version = match value {
                b"TLSv1.3" => "TLSv1.3",
                b"TLSv1.2" => "TLSv1.2",
                b"TLSv1.1" => "TLSv1.1",
                b"TLSv1" => "TLSv1",
                _ => "TLS",
            };
        } else if *kind == u8::from(v2::Type::SSLCommonName) {
            common_name = std::str::from_utf8(value).ok().map(str::to_owned);
        }
        rest = more;
    }
    let authority = tlvs().find(|tlv| tlv.kind == u8::from(v2::Type::Authority));
    Some(TlsSession {
        version,
        server_name: authority.and_then(|tlv| String::from_utf8(tlv.value.to_vec()).ok()),
        client: common_name.filter(|_| verified && client & WITH_CERTIFICATE != 0).map(|name| {
            ClientCertificate { subject: format!("CN={name}"), user: Some(name), fingerprint: None }
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyHeader;
    use crate::net::proxy::{header, local_header};
    use tokio::io::AsyncWriteExt as _;

    /// Decodes a header that arrives in pieces. Also returns the bytes after it.
    async fn read(pieces: &[&[u8]]) -> (Result<Proxied, ProxyError>, Vec<u8>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let writing = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let reading = async {
            let result = read_header(&mut server).await;
            let mut rest = Vec::new();
            if result.is_ok() {
                server.read_to_end(&mut rest).await.unwrap();
            }
            (result, rest)
        };
        tokio::join!(writing, reading).1
    }

    fn addresses() -> (SocketAddr, SocketAddr) {
        ("192.0.2.7:4711".parse().unwrap(), "198.51.100.1:110".parse().unwrap())
    }

    #[tokio::test]
    async fn both_versions_are_read_and_nothing_beyond_them() {
        let (peer, local) = addresses();
        for version in [ProxyHeader::V1, ProxyHeader::V2] {
            let bytes = [header(version, peer, local, None), b"USER a\r\n".to_vec()].concat();
            let (proxied, rest) = read(&[&bytes]).await;
            assert_eq!(proxied.unwrap(), Proxied::Client { peer, local, tls: None }, "{version:?}");
            assert_eq!(rest, b"USER a\r\n");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let (proxied, rest) = read(&single).await;
            assert_eq!(proxied.unwrap(), Proxied::Client { peer, local, tls: None }, "{version:?}");
            assert_eq!(rest, b"USER a\r\n");
            assert_eq!(read(&[&local_header(version)]).await.0.unwrap(), Proxied::Local);
        }
    }

    #[tokio::test]
    async fn invalid_headers_are_refused_with_the_reason() {
        let missing = "does not begin with a PROXY header";
        let invalid = "invalid PROXY header: ";
        let too_long = [&b"PROXY UNKNOWN "[..], &[b'x'; 500]].concat();
        let ended = [&too_long[..], b"\r\n"].concat();
        for (bytes, why) in [
            (&b"USER alice\r\n"[..], missing),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client's hello", missing),
            (b"PROXY TCP4 1.2.3.4\r\n", invalid),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n", invalid),
            (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\0\x6e", invalid),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "the connection ended"),
            (b"PROXY TCP4", "the connection ended"),
            (b"", "the connection ended"),
            (&too_long, "longer than 107 bytes"),
            (&ended, "longer than 107 bytes"),
        ] {
            let error = read(&[bytes]).await.0.unwrap_err().to_string();
            assert!(error.contains(why), "{}: {error}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_header_of_version_2_may_have_the_maximum_length() {
        let (peer, local) = addresses();
        for padding in [100, 2_100, 16_384, 65_535 - 12 - 3] {
            let mut bytes = header(ProxyHeader::V2, peer, local, None);
            let length = u16::try_from(12 + 3 + padding).unwrap();
            bytes[14..16].copy_from_slice(&length.to_be_bytes());
            // PP2_TYPE_NOOP.
            bytes.push(4);
            bytes.extend_from_slice(&u16::try_from(padding).unwrap().to_be_bytes());
            bytes.resize(bytes.len() + padding, 0);
            bytes.extend_from_slice(b"USER a\r\n");
            for pieces in [vec![&bytes[..]], bytes.chunks(1000).collect()] {
                let (proxied, rest) = read(&pieces).await;
                assert_eq!(proxied.unwrap(), Proxied::Client { peer, local, tls: None }, "{padding}");
                assert_eq!(rest, b"USER a\r\n");
            }
        }
    }

    #[tokio::test]
    async fn the_tls_session_that_a_proxy_terminated_is_decoded() {
        let (peer, local) = addresses();
        let tls = TlsSession { version: "TLSv1.3", server_name: None, client: None };
        let (proxied, _) = read(&[&header(ProxyHeader::V2, peer, local, Some(&tls))]).await;
        assert_eq!(proxied.unwrap(), Proxied::Client { peer, local, tls: Some(tls) });
    }
}
