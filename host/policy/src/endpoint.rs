//! An address as policies see it.

use std::net::SocketAddr;

use super::Endpoint;
use reprieve_text::ip_text;

/// An address as policies see it: one of IPv4 as such, whatever socket it came in by.
#[must_use]
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address: ip_text(address.ip().to_canonical()), port: address.port() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_is_one_by_either_socket() {
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
