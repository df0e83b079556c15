//! Addresses in the form that policies see.

use std::net::SocketAddr;

use super::Endpoint;
use reprieve_text::ip_text;

/// The WIT form of an address. An IPv4 address from a dual-stack socket is written as IPv4.
#[must_use]
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address: ip_text(address.ip().to_canonical()), port: address.port() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_addresses_look_the_same_from_either_socket() {
        for (address, expected) in [
            ("192.0.2.7:110", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:110", "192.0.2.7"),
            ("[2001:db8::1]:110", "2001:db8::1"),
        ] {
            let seen = endpoint(address.parse().unwrap());
            assert_eq!((&*seen.address, seen.port), (expected, 110));
        }
    }
}
