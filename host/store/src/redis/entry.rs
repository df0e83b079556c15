//! How an entry is stored in Redis: the generation that it was written in and the time at
//! which it expires (milliseconds since 1970, 0 for never), six octets each, most significant
//! first; then the value.

use super::super::NEVER;

const HEAD: usize = 12;

/// An entry as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub generation: u64,
    /// Milliseconds since 1970; [`NEVER`].
    pub expires: u64,
    pub value: &'a [u8],
}

impl<'a> Stored<'a> {
    /// None where the octets are something else.
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let (head, value) = octets.split_at_checked(HEAD)?;
        let number = |octets: &[u8]| octets.iter().fold(0, |sum, &octet| sum << 8 | u64::from(octet));
        let expires = match number(&head[6..]) {
            0 => NEVER,
            expires => expires,
        };
        Some(Self { generation: number(&head[..6]), expires, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_head_of_twelve_octets_and_the_value() {
        let octets = b"\x00\x00\x00\x00\x01\x02\x01\x99\x00\x00\x00\x00value";
        let stored = Stored::parse(octets).unwrap();
        assert_eq!((stored.generation, stored.expires, stored.value), (258, 0x0199_0000_0000, &b"value"[..]));
        assert_eq!(Stored::parse(&[0; 12]).unwrap().expires, NEVER);
        assert_eq!(Stored::parse(&[0; 11]), None);
    }
}
