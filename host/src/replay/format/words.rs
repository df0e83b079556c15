//! Words that several logs have: mechanisms and addresses.

use std::net::{IpAddr, SocketAddr};

use crate::policy::{MECHANISMS, Mechanism, TlsSession};
use crate::replay::entry::NO_ADDRESS;

/// A SASL mechanism by its name, or how USER and PASS are called.
pub(super) fn mechanism(name: &str) -> Mechanism {
    let is = |word: &str| name.eq_ignore_ascii_case(word);
    if is("plaintext") || is("user") {
        return Mechanism::UserPass;
    }
    MECHANISMS.iter().find(|(word, _)| is(word)).map_or(Mechanism::Other, |(_, mechanism)| *mechanism)
}

/// An address with or without a port; IPv4 in IPv6's clothes is IPv4. Unspecified where it is
/// none: what a log says of an address is no reason to forget a login.
pub(super) fn address(text: &str) -> SocketAddr {
    let read = text.parse::<SocketAddr>().or_else(|_| {
        text.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| SocketAddr::new(address, 0))
    });
    read.map_or(NO_ADDRESS, |address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The text between two others, the first of each.
pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

/// A TLS session of which nothing more is known.
pub(super) fn some_tls() -> TlsSession {
    TlsSession { version: "unknown".to_owned(), server_name: None, client_subject: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_dress() {
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7:0"),
            ("::ffff:192.0.2.7", "192.0.2.7:0"),
            ("192.0.2.7:50312", "192.0.2.7:50312"),
            ("2001:db8::7", "[2001:db8::7]:0"),
            ("[2001:db8::7]:50312", "[2001:db8::7]:50312"),
            ("[::1]", "[::1]:0"),
            ("unix:/run/x", "0.0.0.0:0"),
        ] {
            assert_eq!(address(text).to_string(), expected);
        }
    }
}
