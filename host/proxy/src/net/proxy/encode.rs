//! Encodes PROXY headers for nodes.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};

use crate::config::ProxyHeader;
use crate::net::TlsSession;

/// Encodes the header for a client's connection; empty if `proxy-header` is off.
#[must_use]
pub fn header(
    version: ProxyHeader,
    peer: SocketAddr,
    local: SocketAddr,
    tls: Option<&TlsSession>,
) -> Vec<u8> {
    let (peer, local) = same_family(peer, local);
    match version {
        ProxyHeader::Off => Vec::new(),
        ProxyHeader::V1 => v1::Addresses::from((peer, local)).to_string().into_bytes(),
        ProxyHeader::V2 => {
            let command = v2::Version::Two | v2::Command::Proxy;
            let mut builder = v2::Builder::with_addresses(command, v2::Protocol::Stream, (peer, local));
            if let Some(tls) = tls {
                let version = tls.version.as_bytes();
                // PP2_CLIENT_SSL; four zero bytes: verification did not fail; the version as sub-TLV.
                let mut value = vec![1, 0, 0, 0, 0, v2::Type::SSLVersion.into(), 0];
                value.push(u8::try_from(version.len()).unwrap_or(0));
                value.extend_from_slice(version);
                let Ok(with_tls) = builder.write_tlv(v2::Type::SSL, &value) else { return Vec::new() };
                builder = with_tls;
            }
            builder.build().unwrap_or_default()
        }
    }
}

/// Encodes the header for a connection that Reprieve opens itself, such as a health check.
#[must_use]
pub fn local_header(version: ProxyHeader) -> Vec<u8> {
    match version {
        ProxyHeader::Off => Vec::new(),
        ProxyHeader::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyHeader::V2 => {
            v2::Builder::new(v2::Version::Two | v2::Command::Local, 0).build().unwrap_or_default()
        }
    }
}

/// A header holds addresses of one family only: if they differ, both are written as IPv6.
fn same_family(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (one, other) = (canonical(one), canonical(other));
    if one.is_ipv4() == other.is_ipv4() {
        return (one, other);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(one), mapped(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_different_families_are_written_as_ipv6() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("192.0.2.7:1".parse().unwrap(), "[2001:db8::1]:2".parse().unwrap());
        assert_eq!(header(ProxyHeader::V1, v4, v4, None), b"PROXY TCP4 192.0.2.7 192.0.2.7 1 1\r\n");
        let mixed = String::from_utf8(header(ProxyHeader::V1, v4, v6, None)).unwrap();
        assert!(mixed.starts_with("PROXY TCP6 ") && mixed.ends_with(" 1 2\r\n"), "{mixed}");
        let mapped = "[::ffff:192.0.2.7]:1".parse().unwrap();
        assert_eq!(header(ProxyHeader::V2, mapped, v4, None), header(ProxyHeader::V2, v4, v4, None));
        assert!(header(ProxyHeader::Off, v4, v4, None).is_empty());
    }
}
