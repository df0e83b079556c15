//! Words that several logs have: mechanisms and addresses.

use std::net::{IpAddr, SocketAddr};

use memchr::memchr_iter;

use crate::entry::NO_ADDRESS;
use reprieve_policy_host::{MECHANISMS, Mechanism, TlsSession};

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

/// What stands before and after the first `: ` or the like: two octets of ASCII. The general
/// search prepares itself for longer words than that, for each line anew.
pub(super) fn split_once<'a>(text: &'a str, separator: &[u8; 2]) -> Option<(&'a str, &'a str)> {
    let octets = text.as_bytes();
    let at = memchr_iter(separator[0], octets).find(|at| octets.get(at + 1) == Some(&separator[1]))?;
    Some((&text[..at], &text[at + 2..]))
}

/// The parts between such separators.
pub(super) fn split<'a>(text: &'a str, separator: &'a [u8; 2]) -> impl Iterator<Item = &'a str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (part, after) = match split_once(text, separator) {
            Some((part, after)) => (part, Some(after)),
            None => (text, None),
        };
        rest = after;
        Some(part)
    })
}

/// Where a word that begins with an octet of ASCII stands last.
pub(super) fn rfind(text: &str, word: &str) -> Option<usize> {
    let first = *word.as_bytes().first()?;
    memchr_iter(first, text.as_bytes()).rev().find(|at| text.as_bytes()[*at..].starts_with(word.as_bytes()))
}

/// A TLS session of which nothing more is known.
pub(super) fn some_tls() -> TlsSession {
    TlsSession { version: "unknown".to_owned(), server_name: None, client_subject: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_as_the_standard_library_does() {
        for text in ["", "a", ": ", "a: b", "a:b: c: d", ": a", "a: ", "a:: b", "ä: ö: :", ":", ", a, b,, c"]
        {
            assert_eq!(split_once(text, b": "), text.split_once(": "), "{text}");
            assert!(split(text, b", ").eq(text.split(", ")), "{text}");
            for word in [":", ": ", ": b", ", "] {
                assert_eq!(rfind(text, word), text.rfind(word), "{word} in {text}");
            }
        }
    }

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
