//! SASL messages, both ways: what clients send is read strictly, what mail servers get is
//! written. PLAIN (RFC 4616), XOAUTH2, OAUTHBEARER (RFC 7628), and of CRAM-MD5 (RFC 2195) and
//! SCRAM (RFC 5802) only who it is that logs in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::credential::{Credentials, Mechanism, Secret};

/// What separates the parts of a token's message.
const BAR: u8 = 1;

/// Strict base64: canonical, padded, nothing else in it. `=` alone stands for an empty
/// response (RFC 5034, section 4).
pub fn decode(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if encoded == b"=" {
        return Some(Zeroizing::new(Vec::new()));
    }
    let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
    let length = STANDARD.decode_slice(encoded, &mut octets).ok()?;
    octets.truncate(length);
    Some(octets)
}

/// Writes base64, the empty message as `=`.
pub fn encode(message: &[u8]) -> Zeroizing<Vec<u8>> {
    if message.is_empty() {
        return Zeroizing::new(b"=".to_vec());
    }
    let mut octets = Zeroizing::new(vec![0; message.len().div_ceil(3) * 4]);
    let length = STANDARD.encode_slice(message, &mut octets).unwrap_or(0);
    octets.truncate(length);
    octets
}

/// Reads `authzid NUL authcid NUL passwd`.
pub(super) fn read_plain(message: &[u8]) -> Option<Credentials> {
    let mut parts = message.splitn(3, |&octet| octet == 0);
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

/// Writes PLAIN's message.
pub fn write_plain(acting: &[u8], user: &[u8], secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(acting.len() + user.len() + secret.len() + 2));
    message.extend_from_slice(acting);
    message.push(0);
    message.extend_from_slice(user);
    message.push(0);
    message.extend_from_slice(secret);
    message
}

/// Reads `user=` name, bar, `auth=Bearer` token, two bars.
pub(super) fn read_xoauth2(message: &[u8]) -> Option<Credentials> {
    let parts = message.strip_suffix(&[BAR, BAR])?;
    let (user, auth) = split_once(parts, BAR)?;
    let user = user.strip_prefix(b"user=")?;
    let token = bearer(auth.strip_prefix(b"auth=")?)?;
    Some(Credentials::new(user, Secret::new(token), Mechanism::Xoauth2))
}

/// Reads the GS2 header `n,a=`name`,` and, behind bars, `host`, `port` and `auth`. The name is
/// empty if the header leaves it out: such a login is not possible, because only the mail server
/// could tell from the token who it is.
pub(super) fn read_oauthbearer(message: &[u8]) -> Option<Credentials> {
    let (header, rest) = split_once(message, BAR)?;
    let user = gs2_identity(header)?;
    let mut auth = None;
    for pair in rest.strip_suffix(&[BAR, BAR])?.split(|&octet| octet == BAR) {
        let (key, value) = split_once(pair, b'=')?;
        match key {
            b"auth" if auth.is_none() => auth = Some(value),
            b"auth" => return None,
            _ => {}
        }
    }
    Some(Credentials::new(&user, Secret::new(bearer(auth?)?), Mechanism::OauthBearer))
}

/// Writes a token's message for a mail server.
pub fn write_token(mechanism: Mechanism, user: &[u8], token: &[u8]) -> Zeroizing<Vec<u8>> {
    let (before, user): (&[u8], Vec<u8>) = match mechanism {
        Mechanism::OauthBearer => (b"n,a=", write_saslname(user)),
        _ => (b"user=", user.to_vec()),
    };
    let after: &[u8] = if mechanism == Mechanism::OauthBearer { b"," } else { b"" };
    let mut message = Zeroizing::new(Vec::with_capacity(token.len() + user.len() + 32));
    for part in [before, &user, after, &[BAR], b"auth=Bearer ", token, &[BAR, BAR]] {
        message.extend_from_slice(part);
    }
    message
}

/// Who answers a CRAM-MD5 challenge: all before the last space.
pub fn cram_user(message: &[u8]) -> Option<&[u8]> {
    let at = memchr::memrchr(b' ', message)?;
    let digest = &message[at + 1..];
    (at > 0 && digest.len() == 32 && digest.iter().all(u8::is_ascii_hexdigit)).then_some(&message[..at])
}

/// Who logs in by a first SCRAM message, and whom he asks to act as. Channel binding is not
/// possible: the mail server's TLS is not the client's.
pub(super) fn scram_user(message: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let rest = message.strip_prefix(b"n,").or_else(|| message.strip_prefix(b"y,"))?;
    let (acting, bare) = split_once(rest, b',')?;
    let acting = match acting {
        b"" => None,
        acting => Some(read_saslname(acting.strip_prefix(b"a=")?)?),
    };
    let mut parts = bare.split(|&octet| octet == b',');
    let user = read_saslname(parts.next()?.strip_prefix(b"n=")?)?;
    parts.next()?.strip_prefix(b"r=")?;
    let acting = acting.filter(|acting| *acting != user);
    (!user.is_empty()).then_some((user, acting))
}

fn split_once(octets: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let found = memchr::memchr(at, octets)?;
    Some((&octets[..found], &octets[found + 1..]))
}

fn bearer(auth: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = split_once(auth, b' ')?;
    let token = token.trim_ascii();
    // RFC 6750's b64token, and nothing that could end a line or a part.
    let is_right = scheme.eq_ignore_ascii_case(b"bearer")
        && !token.is_empty()
        && token.iter().all(|octet| octet.is_ascii_graphic());
    is_right.then_some(token)
}

fn gs2_identity(header: &[u8]) -> Option<Vec<u8>> {
    let rest = header.strip_prefix(b"n,").or_else(|| header.strip_prefix(b"y,"))?;
    let acting = rest.strip_suffix(b",")?;
    if acting.is_empty() { Some(Vec::new()) } else { read_saslname(acting.strip_prefix(b"a=")?) }
}

/// Undoes `=2C` and `=3D`; any other `=` is wrong.
fn read_saslname(name: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&octet, more)) = rest.split_first() {
        rest = more;
        octets.push(match octet {
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
            octet => octet,
        });
    }
    Some(octets)
}

fn write_saslname(name: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(name.len());
    for &octet in name {
        match octet {
            b',' => octets.extend_from_slice(b"=2C"),
            b'=' => octets.extend_from_slice(b"=3D"),
            octet => octets.push(octet),
        }
    }
    octets
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
        assert_eq!(encode(b"\0a\0b").as_slice(), b"AGEAYg==");
        assert_eq!(encode(b"").as_slice(), b"=");
    }

    #[test]
    fn plain_keeps_user_and_authorization_identity_apart() {
        let credentials = read_plain(b"\0alice\0pa ss").unwrap();
        assert_eq!(&*credentials.user, b"alice");
        assert_eq!(credentials.secret.expose(), b"pa ss");
        assert_eq!(read_plain(b"alice\0alice\0x").unwrap().authorization_id, None);
        let master = read_plain(b"alice\0root\0x").unwrap();
        assert_eq!((&*master.user, master.authorization_id.as_deref()), (&b"root"[..], Some(&b"alice"[..])));
        for wrong in [&b"alice\0x"[..], b"\0\0x", b"\0a\0x\0y", b""] {
            assert!(read_plain(wrong).is_none(), "{}", wrong.escape_ascii());
        }
        assert_eq!(write_plain(b"a", b"b", b"c").as_slice(), b"a\0b\0c");
    }

    #[test]
    fn tokens_are_read_and_written_in_both_ways() {
        let login = read_xoauth2(b"user=alice@example\x01auth=Bearer ya29.t-o_k~e+n/=\x01\x01").unwrap();
        assert_eq!(&*login.user, b"alice@example");
        assert_eq!(login.secret.expose(), b"ya29.t-o_k~e+n/=");
        let written = write_token(Mechanism::Xoauth2, &login.user, login.secret.expose());
        assert_eq!(written.as_slice(), b"user=alice@example\x01auth=Bearer ya29.t-o_k~e+n/=\x01\x01");
        let login = read_oauthbearer(b"n,a=al=2Cice=3D,\x01host=mail\x01port=110\x01auth=bearer abc\x01\x01")
            .unwrap();
        assert_eq!(&*login.user, b"al,ice=");
        let written = write_token(Mechanism::OauthBearer, &login.user, login.secret.expose());
        assert_eq!(written.as_slice(), b"n,a=al=2Cice=3D,\x01auth=Bearer abc\x01\x01");
    }

    #[test]
    fn what_is_no_token_message_is_none() {
        for wrong in [
            &b"user=a\x01auth=Bearer t\x01"[..],
            b"user=a\x01auth=Basic t\x01\x01",
            b"user=a\x01auth=Bearer t\r\nx\x01\x01",
            b"user=a\x01auth=Bearer \x01\x01",
            b"auth=Bearer t\x01\x01",
        ] {
            assert!(read_xoauth2(wrong).is_none(), "{}", wrong.escape_ascii());
        }
        for wrong in [
            &b"n,a=a\x01auth=Bearer t\x01\x01"[..],
            b"n,b=a,\x01auth=Bearer t\x01\x01",
            b"p=tls,a=a,\x01auth=Bearer t\x01\x01",
            b"n,a=a=2,\x01auth=Bearer t\x01\x01",
            b"n,a=a,\x01host=x\x01\x01",
            b"n,a=a,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
        ] {
            assert!(read_oauthbearer(wrong).is_none(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn a_token_without_a_name_is_nobodys() {
        for message in [&b"n,,\x01auth=Bearer t\x01\x01"[..], b"y,a=,\x01auth=Bearer t\x01\x01"] {
            assert!(read_oauthbearer(message).unwrap().user.is_empty());
        }
    }

    #[test]
    fn digests_tell_who_logs_in() {
        assert_eq!(
            cram_user(b"tim tom b913a602c7eda7a495b4e6e7334d3890"),
            Some(&b"tim tom"[..]),
            "a space in the name"
        );
        assert_eq!(cram_user(b"tim b913"), None);
        assert_eq!(scram_user(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), Some((b"user".to_vec(), None)));
        assert_eq!(scram_user(b"y,a=alice,n=root,r=abc"), Some((b"root".to_vec(), Some(b"alice".to_vec()))));
        for wrong in [&b"p=tls-unique,,n=u,r=x"[..], b"n,,m=ext,n=u,r=x", b"n,,n=,r=x", b"n,,n=u", b""] {
            assert_eq!(scram_user(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_message_makes_a_reader_panic(message in proptest::collection::vec(0u8..=255, 0..100)) {
            let _ = (read_plain(&message), read_xoauth2(&message), read_oauthbearer(&message));
            let _ = (cram_user(&message), scram_user(&message), decode(&message));
        }

        #[test]
        fn tokens_survive_the_way_through(
            user in proptest::collection::vec(33u8..=126, 1..40),
            token in proptest::collection::vec(33u8..=126, 1..400),
        ) {
            let read = read_oauthbearer(&write_token(Mechanism::OauthBearer, &user, &token)).unwrap();
            proptest::prop_assert_eq!(&*read.user, &user[..]);
            proptest::prop_assert_eq!(read.secret.expose(), &token[..]);
            let encoded = encode(&token);
            proptest::prop_assert_eq!(&decode(&encoded).unwrap()[..], &token[..]);
        }
    }
}
