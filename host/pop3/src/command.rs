//! Commands of a client, parsed strictly: an ambiguous line is refused and never forwarded, so that
//! a mail server cannot understand it differently from Reprieve.

use super::reply::push_number;

/// The number of a message in a session, from 1 (RFC 1939, section 5).
pub type MessageNumber = u32;

/// A command line of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `USER name`
    User(&'a [u8]),
    /// `PASS secret`: everything after the first space, including further spaces.
    Pass(&'a [u8]),
    /// `AUTH [mechanism [initial-response]]` (RFC 5034)
    Auth {
        /// None if the client asks for the list of mechanisms.
        mechanism: Option<&'a [u8]>,
        /// The initial response, in base64.
        initial: Option<&'a [u8]>,
    },
    /// `APOP name digest` (RFC 1939, section 7)
    Apop(&'a [u8], &'a [u8]),
    /// `STLS` (RFC 2595)
    Stls,
    /// `CAPA` (RFC 2449)
    Capa,
    /// `NOOP`
    Noop,
    /// `QUIT`
    Quit,
    /// `STAT`
    Stat,
    /// `LIST [n]`
    List(Option<MessageNumber>),
    /// `UIDL [n]`
    Uidl(Option<MessageNumber>),
    /// `RETR n`
    Retr(MessageNumber),
    /// `TOP n lines`
    Top(MessageNumber, u32),
    /// `DELE n`
    Dele(MessageNumber),
    /// `RSET`
    Rset,
    /// `LAST`, which RFC 1725 removed from POP3.
    Last,
    /// A known command with wrong arguments.
    Malformed,
    /// A command that some RFC or mail server defines, and that Reprieve never offers.
    Unsupported,
    /// Any other line.
    Unknown,
}

impl<'a> Command<'a> {
    /// Parses a line without its line end.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        // Some servers take a CR or NUL inside a line for its end, others do not.
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return Self::Unknown;
        }
        let (verb, rest) = match memchr::memchr(b' ', line) {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        let mut upper = [0_u8; 4];
        let Some(upper) = upper.get_mut(..verb.len()) else { return Self::of_long_name(verb) };
        upper.copy_from_slice(verb);
        upper.make_ascii_uppercase();
        let arguments = rest.unwrap_or_default();
        match &*upper {
            b"USER" => match arguments.trim_ascii() {
                b"" => Self::Malformed,
                name => Self::User(name),
            },
            b"PASS" => rest.map_or(Self::Malformed, Self::Pass),
            b"AUTH" => {
                let mut words = words(arguments);
                match (words.next(), words.next(), words.next()) {
                    (mechanism, initial, None) => Self::Auth { mechanism, initial },
                    _ => Self::Malformed,
                }
            }
            b"APOP" => match memchr::memrchr(b' ', arguments.trim_ascii()) {
                // The name may contain spaces, the digest cannot.
                Some(at) => {
                    let arguments = arguments.trim_ascii();
                    Self::Apop(arguments[..at].trim_ascii_end(), &arguments[at + 1..])
                }
                None => Self::Malformed,
            },
            // These take no arguments. Any are ignored, as by Dovecot.
            b"STLS" => Self::Stls,
            b"CAPA" => Self::Capa,
            b"NOOP" => Self::Noop,
            b"QUIT" => Self::Quit,
            b"STAT" => Self::Stat,
            b"RSET" => Self::Rset,
            b"LAST" => Self::Last,
            b"LIST" => optional_number(arguments).map_or(Self::Malformed, Self::List),
            b"UIDL" => optional_number(arguments).map_or(Self::Malformed, Self::Uidl),
            b"RETR" => number(arguments.trim_ascii()).map_or(Self::Malformed, Self::Retr),
            b"DELE" => number(arguments.trim_ascii()).map_or(Self::Malformed, Self::Dele),
            b"TOP" => {
                let mut words = words(arguments);
                match (words.next().and_then(number), words.next().and_then(lines), words.next()) {
                    (Some(message), Some(lines), None) => Self::Top(message, lines),
                    _ => Self::Malformed,
                }
            }
            // UTF8 and LANG: RFC 6856. RPOP: RFC 1081. XTND: qpopper.
            b"UTF8" | b"LANG" | b"RPOP" | b"XTND" => Self::Unsupported,
            _ => Self::Unknown,
        }
    }

    fn of_long_name(verb: &[u8]) -> Self {
        if verb.eq_ignore_ascii_case(b"XCLIENT") { Self::Unsupported } else { Self::Unknown }
    }

    /// Writes a command that is sent to mail servers after the login. Any other one becomes NOOP.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let (verb, first, second): (&[u8], Option<u32>, Option<u32>) = match self {
            Self::Stat => (b"STAT", None, None),
            Self::List(number) => (b"LIST", number, None),
            Self::Uidl(number) => (b"UIDL", number, None),
            Self::Retr(number) => (b"RETR", Some(number), None),
            Self::Top(number, lines) => (b"TOP", Some(number), Some(lines)),
            Self::Dele(number) => (b"DELE", Some(number), None),
            Self::Rset => (b"RSET", None, None),
            Self::Quit => (b"QUIT", None, None),
            _ => (b"NOOP", None, None),
        };
        out.extend_from_slice(verb);
        for number in [first, second].into_iter().flatten() {
            out.push(b' ');
            push_number(out, u64::from(number));
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn words(arguments: &[u8]) -> impl Iterator<Item = &[u8]> {
    arguments.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

fn optional_number(arguments: &[u8]) -> Option<Option<MessageNumber>> {
    match arguments.trim_ascii() {
        b"" => Some(None),
        word => number(word).map(Some),
    }
}

/// A decimal number of a command or a listing, with or without leading zeros.
pub(crate) fn number(word: &[u8]) -> Option<u32> {
    decimal(word).and_then(|value| u32::try_from(value).ok())
}

/// The number of lines of TOP. One that is too large for 32 bits is larger than any message.
fn lines(word: &[u8]) -> Option<u32> {
    decimal(word).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

fn decimal(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// The methods of HTTP (RFC 9110, RFC 5789), and PRI, with which HTTP/2 begins.
const HTTP_METHODS: [&[u8]; 10] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI"];

/// Whether a line, or the beginning of one, looks like the first line of an HTTP request.
pub(super) fn is_http(line: &[u8]) -> bool {
    let Some(space) = memchr::memchr(b' ', line) else { return false };
    let is_method = HTTP_METHODS.iter().any(|method| line[..space].eq_ignore_ascii_case(method));
    let version = memchr::memrchr(b' ', line).map(|at| &line[at + 1..]).and_then(|last| last.get(..5));
    is_method || version.is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_may_be_in_upper_or_lower_case() {
        assert_eq!(Command::parse(b"stat"), Command::Stat);
        assert_eq!(Command::parse(b"uIdL 3"), Command::Uidl(Some(3)));
        assert_eq!(Command::parse(b"top 2 10"), Command::Top(2, 10));
    }

    #[test]
    fn a_password_may_contain_spaces_and_commands() {
        assert_eq!(Command::parse(b"PASS  STAT QUIT "), Command::Pass(b" STAT QUIT "));
        assert_eq!(Command::parse(b"PASS "), Command::Pass(b""));
        assert_eq!(Command::parse(b"PASS"), Command::Malformed);
    }

    #[test]
    fn auth_takes_an_optional_mechanism_and_initial_response() {
        assert_eq!(Command::parse(b"AUTH"), Command::Auth { mechanism: None, initial: None });
        assert_eq!(Command::parse(b"AUTH PLAIN"), Command::Auth { mechanism: Some(b"PLAIN"), initial: None });
        assert_eq!(
            Command::parse(b"auth plain AGEAYg=="),
            Command::Auth { mechanism: Some(b"plain"), initial: Some(b"AGEAYg==") }
        );
        assert_eq!(Command::parse(b"AUTH PLAIN a b"), Command::Malformed);
    }

    #[test]
    fn apop_has_a_name_and_a_digest() {
        assert_eq!(Command::parse(b"APOP al ice 0123"), Command::Apop(b"al ice", b"0123"));
        assert_eq!(Command::parse(b"APOP alice"), Command::Malformed);
    }

    #[test]
    fn arguments_that_are_not_numbers_in_range_are_malformed() {
        for line in [
            &b"RETR"[..],
            b"RETR x",
            b"RETR -1",
            b"RETR 4294967296",
            b"DELE 1 2",
            b"LIST 99999999999",
            b"LIST 18446744073709551617",
            b"TOP 1",
            b"TOP 1 18446744073709551616",
        ] {
            assert_eq!(Command::parse(line), Command::Malformed, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_line_that_servers_could_split_differently_is_unknown() {
        assert_eq!(Command::parse(b"NOOP\rDELE 1"), Command::Unknown);
        assert_eq!(Command::parse(b"NOOP\0"), Command::Unknown);
        assert_eq!(Command::parse(b""), Command::Unknown);
    }

    #[test]
    fn unexpected_arguments_are_ignored_and_numbers_may_have_leading_zeros() {
        for (line, command) in [
            (&b"QUIT now"[..], Command::Quit),
            (b"STAT 1", Command::Stat),
            (b"LIST 00000000000000000012", Command::List(Some(12))),
            (b"TOP 01 4294967296", Command::Top(1, u32::MAX)),
            (b"XTND XMIT", Command::Unsupported),
            (b"xclient ADDR=192.0.2.7", Command::Unsupported),
        ] {
            assert_eq!(Command::parse(line), command, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn commands_are_written_as_they_are_parsed() {
        for line in [
            "STAT", "LIST", "LIST 7", "UIDL", "UIDL 7", "RETR 7", "TOP 7 0", "DELE 7", "RSET", "QUIT", "NOOP",
        ] {
            let mut out = Vec::new();
            Command::parse(line.as_bytes()).write(&mut out);
            assert_eq!(out, format!("{line}\r\n").into_bytes());
        }
    }

    #[test]
    fn http_requests_are_recognised_by_their_first_line() {
        for line in
            [&b"POST / HTTP/1.1"[..], b"get /", b"PROPFIND / http/2", b"PRI * HTTP/2.0", b"PUT /xxxxxxx"]
        {
            assert!(is_http(line), "{}", line.escape_ascii());
        }
        for line in [&b"STAT"[..], b"GET", b"USER POST", b"LIST HTTP", b"Host: mail.example", b"", b" GET /"]
        {
            assert!(!is_http(line), "{}", line.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn the_parser_panics_on_no_line(line in proptest::collection::vec(0u8..=255, 0..300)) {
            let _ = Command::parse(&line);
        }
    }
}
