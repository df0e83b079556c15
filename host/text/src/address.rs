//! Addresses as text, without the general way of formatting: each login tells its policy two of
//! them, and its line one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address as text.
#[must_use]
pub fn ip_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let mut text = String::with_capacity(15);
            push(&mut text, address);
            text
        }
        IpAddr::V6(address) => address.to_string(),
    }
}

/// An address and a port as text.
#[must_use]
pub fn socket_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => {
            let mut text = String::with_capacity(21);
            push(&mut text, *address.ip());
            text.push(':');
            text.push_str(itoa::Buffer::new().format(address.port()));
            text
        }
        SocketAddr::V6(address) => address.to_string(),
    }
}

fn push(text: &mut String, address: Ipv4Addr) {
    let mut buffer = itoa::Buffer::new();
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        text.push_str(buffer.format(octet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_as_the_standard_library_writes_them() {
        for address in ["0.0.0.0:0", "127.0.0.1:110", "192.0.2.255:65535", "[2001:db8::1]:995"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(ip_text(address.ip()), address.ip().to_string());
            assert_eq!(socket_text(address), address.to_string());
        }
    }
}
