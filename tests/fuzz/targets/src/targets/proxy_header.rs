//! PROXY headers. The first byte chooses bytes of a load balancer, or the addresses of a header that is
//! to be written and read again.
//!
//! A header is read the same whatever has arrived of it, and not one byte beyond it. Its addresses are
//! the same after they were written and read again, in both versions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reprieve::fuzzing::{
    Proxied, ProxyHeader, TlsSession, local_proxy_header, missing_of_proxy_header, parse_proxy_header, proxy_header as write_header,
    proxy_header_length,
};

use crate::input::Input;

/// Longest header of version 1 in bytes.
const MAX_V1: usize = 107;

/// See the head of this file.
pub fn proxy_header(data: &[u8]) {
    let mut input = Input::new(data);
    if input.below(4) == 0 { written(&mut input) } else { received(input.rest()) }
}

fn received(bytes: &[u8]) {
    let (whole, consumed) = read(bytes, bytes.len().min(536));
    for peeked in [1, 6, 16, 108] {
        let (other, also) = read(bytes, peeked.min(bytes.len()));
        if whole.is_ok() || other.is_ok() {
            assert_eq!((&other, also), (&whole, consumed), "{peeked} bytes had arrived");
        }
    }
    let Ok(proxied) = whole else { return };
    assert!(consumed <= if bytes.starts_with(b"PROXY ") { MAX_V1 } else { 16 + 0xFFFF });
    if let Proxied::Client { peer, local, tls } = &proxied {
        for version in [ProxyHeader::V1, ProxyHeader::V2] {
            assert_is_read_again(version, *peer, *local, tls.as_ref());
        }
    }
}

/// Reads a header as `read_header` does, when the first `peeked` bytes have arrived.
fn read(bytes: &[u8], peeked: usize) -> (Result<Proxied, String>, usize) {
    let mut consumed = proxy_header_length(&bytes[..peeked]).unwrap_or(1);
    loop {
        let Some(header) = bytes.get(..consumed) else { return (Err("lost".to_owned()), bytes.len()) };
        match missing_of_proxy_header(header) {
            Ok(0) => return (parse_proxy_header(header).map_err(|why| why.to_string()), consumed),
            Ok(missing) => consumed += missing,
            Err(why) => return (Err(why.to_string()), consumed),
        }
    }
}

fn written(input: &mut Input<'_>) {
    let mut address = || {
        let is_v4 = input.byte() & 1 == 0;
        let mut bytes = [0; 16];
        bytes.fill_with(|| input.byte());
        let ip = match bytes.first_chunk() {
            Some(&bytes) if is_v4 => IpAddr::from(Ipv4Addr::from_octets(bytes)),
            _ => IpAddr::from(Ipv6Addr::from_octets(bytes)),
        };
        SocketAddr::new(ip, u16::from_be_bytes([input.byte(), input.byte()]))
    };
    let (peer, local) = (address(), address());
    let version = ["TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1", "TLS"][input.below(5)];
    let tls = TlsSession { version, server_name: None, client: None };
    assert_is_read_again(ProxyHeader::V1, peer, local, None);
    assert_is_read_again(ProxyHeader::V2, peer, local, Some(&tls));
    for version in [ProxyHeader::V1, ProxyHeader::V2] {
        assert_eq!(read(&local_proxy_header(version), 1).0, Ok(Proxied::Local));
    }
}

fn assert_is_read_again(version: ProxyHeader, peer: SocketAddr, local: SocketAddr, tls: Option<&TlsSession>) {
    let header = write_header(version, peer, local, tls);
    let (proxied, consumed) = read(&header, 1);
    assert_eq!(consumed, header.len());
    let Ok(Proxied::Client { peer: peer_again, local: local_again, tls: tls_again }) = proxied else {
        panic!("{proxied:?} for {peer} {local}");
    };
    let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    assert_eq!(canonical(peer_again), canonical(peer));
    assert_eq!(canonical(local_again), canonical(local));
    let sent = tls.filter(|_| matches!(version, ProxyHeader::V2));
    assert_eq!(tls_again.map(|tls| tls.version), sent.map(|tls| tls.version));
}
