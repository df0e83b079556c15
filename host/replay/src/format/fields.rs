//! Fields that several formats have, and fast splitting of lines into fields.

use std::net::{IpAddr, SocketAddr};

use memchr::memchr_iter;

use crate::entry::NO_ADDRESS;
use reprieve_policy_host::{MECHANISMS, Mechanism, TlsSession};

/// The mechanism of this SASL name; `plaintext` and `user` are USER and PASS.
pub(super) fn mechanism(name: &str) -> Mechanism {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if is("plaintext") || is("user") {
        return Mechanism::UserPass;
    }
    MECHANISMS.iter().find(|(other, _)| is(other)).map_or(Mechanism::Other, |(_, mechanism)| *mechanism)
}

/// An address with or without a port; an IPv4-mapped IPv6 address becomes IPv4. The unspecified
/// address if the text is not an address: the login counts all the same.
pub(super) fn address(text: &str) -> SocketAddr {
    let read = text.parse::<SocketAddr>().or_else(|_| {
        text.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| SocketAddr::new(address, 0))
    });
    read.map_or(NO_ADDRESS, |address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The text between the first `before` and the first `after` that follows it.
pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

/// Like [`str::split_once`], for a separator of two ASCII bytes. It is faster than the general
/// search, which does preparatory work for longer patterns on each call.
pub(super) fn split_once<'a>(text: &'a str, separator: &[u8; 2]) -> Option<(&'a str, &'a str)> {
    let bytes = text.as_bytes();
    let at = memchr_iter(separator[0], bytes).find(|at| bytes.get(at + 1) == Some(&separator[1]))?;
    Some((&text[..at], &text[at + 2..]))
}

/// Like [`str::split`], for a separator of two ASCII bytes.
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

/// Like [`str::rfind`], for a pattern that begins with an ASCII byte.
pub(super) fn rfind(text: &str, pattern: &str) -> Option<usize> {
    let first = *pattern.as_bytes().first()?;
    memchr_iter(first, text.as_bytes())
        .rev()
        .find(|at| text.as_bytes()[*at..].starts_with(pattern.as_bytes()))
}

/// A TLS session of which the log has no details.
pub(super) fn unknown_tls() -> TlsSession {
    TlsSession { version: "unknown".to_owned(), server_name: None, client_subject: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_as_by_the_standard_library() {
        for text in ["", "a", ": ", "a: b", "a:b: c: d", ": a", "a: ", "a:: b", "ä: ö: :", ":", ", a, b,, c"]
        {
            assert_eq!(split_once(text, b": "), text.split_once(": "), "{text}");
            assert!(split(text, b", ").eq(text.split(", ")), "{text}");
            for pattern in [":", ": ", ": b", ", "] {
                assert_eq!(rfind(text, pattern), text.rfind(pattern), "{pattern} in {text}");
            }
        }
    }

    #[test]
    fn addresses_are_parsed_in_every_notation() {
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
