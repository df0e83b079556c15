//! SASL messages: parses those of clients strictly, and writes those for mail servers. PLAIN (RFC
//! 4616), XOAUTH2 and OAUTHBEARER (RFC 7628) completely; of CRAM-MD5 (RFC 2195) and SCRAM (RFC 5802)
//! only the user name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::credential::{Credentials, Mechanism, Secret};

/// Separates the parts of a message with a token.
const SEPARATOR: u8 = 1;

/// Decodes base64, which must be canonical and padded. `=` alone is an empty response (RFC 5034,
/// section 4).
pub fn decode(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if encoded == b"=" {
        return Some(Zeroizing::new(Vec::new()));
    }
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
    let length = STANDARD.decode_slice(encoded, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Encodes base64, and an empty message as `=`.
pub fn encode(message: &[u8]) -> Zeroizing<Vec<u8>> {
    if message.is_empty() {
        return Zeroizing::new(b"=".to_vec());
    }
    let mut bytes = Zeroizing::new(vec![0; message.len().div_ceil(3) * 4]);
    let length = STANDARD.encode_slice(message, &mut bytes).unwrap_or(0);
    bytes.truncate(length);
    bytes
}

/// Parses `authzid NUL authcid NUL passwd`.
pub(super) fn parse_plain(message: &[u8]) -> Option<Credentials> {
    let mut parts = message.splitn(3, |&byte| byte == 0);
    let (acting, user, secret) = (parts.next()?, parts.next()?, parts.next()?);
    if user.is_empty() || secret.contains(&0) {
        return None;
    }
    let mut credentials = Credentials::new(user, Secret::new(secret), Mechanism::Plain);
    if !acting.is_empty() && acting != user {
        credentials.authorization_id = Some(acting.into());
    }
    Some(credentials)
}

/// Writes the message of PLAIN. `acting`: the user to act as, or nothing.
pub fn write_plain(acting: &[u8], user: &[u8], secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(acting.len() + user.len() + secret.len() + 2));
    message.extend_from_slice(acting);
    message.push(0);
    message.extend_from_slice(user);
    message.push(0);
    message.extend_from_slice(secret);
    message
}

/// Parses `user=NAME^Aauth=Bearer TOKEN^A^A`.
pub(super) fn parse_xoauth2(message: &[u8]) -> Option<Credentials> {
    let parts = message.strip_suffix(&[SEPARATOR, SEPARATOR])?;
    let (user, auth) = split_once(parts, SEPARATOR)?;
    let user = user.strip_prefix(b"user=")?;
    let token = bearer(auth.strip_prefix(b"auth=")?)?;
    Some(Credentials::new(user, Secret::new(token), Mechanism::Xoauth2))
}

/// Parses `n,a=NAME,^Ahost=HOST^Aport=PORT^Aauth=Bearer TOKEN^A^A`. If the name is left out, the user
/// name is empty, and the login is refused: only the mail server could find the user by the token.
pub(super) fn parse_oauthbearer(message: &[u8]) -> Option<Credentials> {
    let (header, rest) = split_once(message, SEPARATOR)?;
    let user = gs2_identity(header)?;
    let mut auth = None;
    for pair in rest.strip_suffix(&[SEPARATOR, SEPARATOR])?.split(|&byte| byte == SEPARATOR) {
        let (key, value) = split_once(pair, b'=')?;
        match key {
            b"auth" if auth.is_none() => auth = Some(value),
            b"auth" => return None,
            _ => {}
        }
    }
    Some(Credentials::new(&user, Secret::new(bearer(auth?)?), Mechanism::OauthBearer))
}

/// Writes the message of XOAUTH2 or OAUTHBEARER.
pub fn write_token(mechanism: Mechanism, user: &[u8], token: &[u8]) -> Zeroizing<Vec<u8>> {
    let (prefix, user): (&[u8], Vec<u8>) = match mechanism {
        Mechanism::OauthBearer => (b"n,a=", write_saslname(user)),
        _ => (b"user=", user.to_vec()),
    };
    let suffix: &[u8] = if mechanism == Mechanism::OauthBearer { b"," } else { b"" };
    let mut message = Zeroizing::new(Vec::with_capacity(token.len() + user.len() + 32));
    for part in [prefix, &user, suffix, &[SEPARATOR], b"auth=Bearer ", token, &[SEPARATOR, SEPARATOR]] {
        message.extend_from_slice(part);
    }
    message
}

/// The user name in a response to a CRAM-MD5 challenge: everything before the last space.
pub fn cram_user(message: &[u8]) -> Option<&[u8]> {
    let at = memchr::memrchr(b' ', message)?;
    let digest = &message[at + 1..];
    (at > 0 && digest.len() == 32 && digest.iter().all(u8::is_ascii_hexdigit)).then_some(&message[..at])
}

/// The user name in the first message of SCRAM, and the user to act as. Messages with channel binding
/// are refused: the mail server's TLS connection is not that of the client.
pub(super) fn scram_user(message: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let rest = message.strip_prefix(b"n,").or_else(|| message.strip_prefix(b"y,"))?;
    let (acting, bare) = split_once(rest, b',')?;
    let acting = match acting {
        b"" => None,
        acting => Some(parse_saslname(acting.strip_prefix(b"a=")?)?),
    };
    let mut parts = bare.split(|&byte| byte == b',');
    let user = parse_saslname(parts.next()?.strip_prefix(b"n=")?)?;
    parts.next()?.strip_prefix(b"r=")?;
    let acting = acting.filter(|acting| *acting != user);
    (!user.is_empty()).then_some((user, acting))
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let found = memchr::memchr(at, bytes)?;
    Some((&bytes[..found], &bytes[found + 1..]))
}

fn bearer(auth: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = split_once(auth, b' ')?;
    let token = token.trim_ascii();
    // RFC 6750, section 2.1. No character of it ends a line or a part.
    let is_valid = scheme.eq_ignore_ascii_case(b"bearer")
        && !token.is_empty()
        && token.iter().all(|byte| byte.is_ascii_graphic());
    is_valid.then_some(token)
}

fn gs2_identity(header: &[u8]) -> Option<Vec<u8>> {
    let rest = header.strip_prefix(b"n,").or_else(|| header.strip_prefix(b"y,"))?;
    let acting = rest.strip_suffix(b",")?;
    if acting.is_empty() { Some(Vec::new()) } else { parse_saslname(acting.strip_prefix(b"a=")?) }
}

/// Decodes a saslname (RFC 5802, section 5.1): `=2C` is a comma, `=3D` an equals sign.
fn parse_saslname(name: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        bytes.push(match byte {
            b'=' => {
                let (code, more) = rest.split_at_checked(2)?;
                rest = more;
                match code {
                    b"2C" | b"2c" => b',',
                    b"3D" | b"3d" => b'=',
                    _ => return None,
                }
            }
            b',' => return None,
            byte => byte,
        });
    }
    Some(bytes)
}

fn write_saslname(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b',' => bytes.extend_from_slice(b"=2C"),
            b'=' => bytes.extend_from_slice(b"=3D"),
            byte => bytes.push(byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_must_be_canonical() {
        assert_eq!(decode(b"AGEAYg==").unwrap().as_slice(), b"\0a\0b");
        assert_eq!(decode(b"=").unwrap().as_slice(), b"");
        for wrong in [&b"AGEAYg"[..], b"AGEA Yg==", b"AGEAYh==", b"A", b"AGEAYg==x", b"===="] {
            assert!(decode(wrong).is_none(), "{}", wrong.escape_ascii());
        }
        assert_eq!(encode(b"\0a\0b").as_slice(), b"AGEAYg==");
        assert_eq!(encode(b"").as_slice(), b"=");
    }

    #[test]
    fn plain_keeps_user_and_authorization_identity_apart() {
        let credentials = parse_plain(b"\0alice\0pa ss").unwrap();
        assert_eq!(&*credentials.user, b"alice");
        assert_eq!(credentials.secret.expose(), b"pa ss");
        assert_eq!(parse_plain(b"alice\0alice\0x").unwrap().authorization_id, None);
        let master = parse_plain(b"alice\0root\0x").unwrap();
        assert_eq!((&*master.user, master.authorization_id.as_deref()), (&b"root"[..], Some(&b"alice"[..])));
        for wrong in [&b"alice\0x"[..], b"\0\0x", b"\0a\0x\0y", b""] {
            assert!(parse_plain(wrong).is_none(), "{}", wrong.escape_ascii());
        }
        assert_eq!(write_plain(b"a", b"b", b"c").as_slice(), b"a\0b\0c");
    }

    #[test]
    fn messages_with_tokens_are_parsed_and_written() {
        let login = parse_xoauth2(b"user=alice@example\x01auth=Bearer ya29.t-o_k~e+n/=\x01\x01").unwrap();
        assert_eq!(&*login.user, b"alice@example");
        assert_eq!(login.secret.expose(), b"ya29.t-o_k~e+n/=");
        let written = write_token(Mechanism::Xoauth2, &login.user, login.secret.expose());
        assert_eq!(written.as_slice(), b"user=alice@example\x01auth=Bearer ya29.t-o_k~e+n/=\x01\x01");
        let login =
            parse_oauthbearer(b"n,a=al=2Cice=3D,\x01host=mail\x01port=110\x01auth=bearer abc\x01\x01")
                .unwrap();
        assert_eq!(&*login.user, b"al,ice=");
        let written = write_token(Mechanism::OauthBearer, &login.user, login.secret.expose());
        assert_eq!(written.as_slice(), b"n,a=al=2Cice=3D,\x01auth=Bearer abc\x01\x01");
    }

    #[test]
    fn malformed_messages_with_tokens_are_refused() {
        for wrong in [
            &b"user=a\x01auth=Bearer t\x01"[..],
            b"user=a\x01auth=Basic t\x01\x01",
            b"user=a\x01auth=Bearer t\r\nx\x01\x01",
            b"user=a\x01auth=Bearer \x01\x01",
            b"auth=Bearer t\x01\x01",
        ] {
            assert!(parse_xoauth2(wrong).is_none(), "{}", wrong.escape_ascii());
        }
        for wrong in [
            &b"n,a=a\x01auth=Bearer t\x01\x01"[..],
            b"n,b=a,\x01auth=Bearer t\x01\x01",
            b"p=tls,a=a,\x01auth=Bearer t\x01\x01",
            b"n,a=a=2,\x01auth=Bearer t\x01\x01",
            b"n,a=a,\x01host=x\x01\x01",
            b"n,a=a,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
        ] {
            assert!(parse_oauthbearer(wrong).is_none(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn the_user_name_of_a_token_may_be_left_out() {
        for message in [&b"n,,\x01auth=Bearer t\x01\x01"[..], b"y,a=,\x01auth=Bearer t\x01\x01"] {
            assert!(parse_oauthbearer(message).unwrap().user.is_empty());
        }
    }

    #[test]
    fn challenge_response_messages_contain_the_user_name() {
        assert_eq!(
            cram_user(b"tim tom b913a602c7eda7a495b4e6e7334d3890"),
            Some(&b"tim tom"[..]),
            "the name contains a space"
        );
        for wrong in [
            &b"tim b913"[..],
            b"tim b913a602c7eda7a495b4e6e7334d389g",
            b"tim b913a602c7eda7a495b4e6e7334d38900",
            b" b913a602c7eda7a495b4e6e7334d3890",
            b"b913a602c7eda7a495b4e6e7334d3890",
        ] {
            assert_eq!(cram_user(wrong), None, "{}", wrong.escape_ascii());
        }
        assert_eq!(scram_user(b"n,a=user,n=user,r=abc"), Some((b"user".to_vec(), None)));
        assert_eq!(scram_user(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), Some((b"user".to_vec(), None)));
        assert_eq!(scram_user(b"y,a=alice,n=root,r=abc"), Some((b"root".to_vec(), Some(b"alice".to_vec()))));
        for wrong in [&b"p=tls-unique,,n=u,r=x"[..], b"n,,m=ext,n=u,r=x", b"n,,n=,r=x", b"n,,n=u", b""] {
            assert_eq!(scram_user(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn the_parsers_panic_on_no_message(message in proptest::collection::vec(0u8..=255, 0..100)) {
            let _ = (parse_plain(&message), parse_xoauth2(&message), parse_oauthbearer(&message));
            let _ = (cram_user(&message), scram_user(&message), decode(&message));
        }

        #[test]
        fn written_messages_are_parsed_to_the_same_credentials(
            user in proptest::collection::vec(33u8..=126, 1..40),
            token in proptest::collection::vec(33u8..=126, 1..400),
        ) {
            let read = parse_oauthbearer(&write_token(Mechanism::OauthBearer, &user, &token)).unwrap();
            proptest::prop_assert_eq!(&*read.user, &user[..]);
            proptest::prop_assert_eq!(read.secret.expose(), &token[..]);
            let encoded = encode(&token);
            proptest::prop_assert_eq!(&decode(&encoded).unwrap()[..], &token[..]);
        }
    }
}
