//! SASL exchanges of which the host sees the secret: PLAIN (RFC 4616) and LOGIN.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::credential::{Credentials, Mechanism, Secret};

/// Strict base64: canonical, padded, nothing else in it. `=` alone stands for an empty
/// response (RFC 5034, section 4).
pub(super) fn decode(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if encoded == b"=" {
        return Some(Zeroizing::new(Vec::new()));
    }
    let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
    let length = STANDARD.decode_slice(encoded, &mut octets).ok()?;
    octets.truncate(length);
    Some(octets)
}

/// What is wrong with a PLAIN message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PlainError {
    Malformed,
    /// The client asked to act as somebody else.
    AuthorizationIdentity,
}

/// `authzid NUL authcid NUL passwd`
pub(super) fn plain(message: &[u8]) -> Result<Credentials, PlainError> {
    let mut parts = message.splitn(3, |&octet| octet == 0);
    let (Some(acting), Some(user), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(PlainError::Malformed);
    };
    if user.is_empty() || secret.contains(&0) {
        return Err(PlainError::Malformed);
    }
    if !acting.is_empty() && acting != user {
        return Err(PlainError::AuthorizationIdentity);
    }
    Ok(Credentials { user: user.into(), secret: Secret::new(secret), mechanism: Mechanism::Plain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_strictly() {
        assert_eq!(decode(b"AGEAYg==").unwrap().as_slice(), b"\0a\0b");
        assert_eq!(decode(b"=").unwrap().as_slice(), b"");
        for wrong in [&b"AGEAYg"[..], b"AGEA Yg==", b"AGEAYh==", b"A", b"AGEAYg==x", b"===="] {
            assert!(decode(wrong).is_none(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn plain_takes_the_user_and_nobody_else() {
        let credentials = plain(b"\0alice\0pa ss").unwrap();
        assert_eq!(&*credentials.user, b"alice");
        assert_eq!(credentials.secret.expose(), b"pa ss");
        assert!(plain(b"alice\0alice\0x").is_ok());
        assert_eq!(plain(b"root\0alice\0x").unwrap_err(), PlainError::AuthorizationIdentity);
        assert_eq!(plain(b"alice\0x").unwrap_err(), PlainError::Malformed);
        assert_eq!(plain(b"\0\0x").unwrap_err(), PlainError::Malformed);
        assert_eq!(plain(b"\0a\0x\0y").unwrap_err(), PlainError::Malformed);
    }
}
