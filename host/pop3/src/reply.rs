//! Replies that Reprieve gives itself.

/// Says that a command is not one, or not one here.
pub const UNKNOWN: &[u8] = b"-ERR unknown command\r\n";
/// Says that a command's arguments are wrong.
pub const MALFORMED: &[u8] = b"-ERR wrong arguments\r\n";
/// Says that a line was longer than it may be.
pub const TOO_LONG: &[u8] = b"-ERR line too long\r\n";
/// Says that the command needs a login.
pub const LOG_IN_FIRST: &[u8] = b"-ERR log in first\r\n";
/// Says that a login is not possible any more.
pub const LOGGED_IN: &[u8] = b"-ERR you are logged in\r\n";
/// Says that the connection must be encrypted before a secret goes over it.
pub const TLS_FIRST: &[u8] = b"-ERR cleartext login is not possible here, use TLS\r\n";
/// Says that the handshake may begin (RFC 2595).
pub const BEGIN_TLS: &[u8] = b"+OK begin TLS negotiation\r\n";
/// Says that TLS is there already, or not to be had.
pub const NO_STLS: &[u8] = b"-ERR STLS is not possible here\r\n";
/// Says that a way to log in is not to be had.
pub const NOT_OFFERED: &[u8] = b"-ERR mechanism is not offered\r\n";
/// Says that the client has ended a SASL exchange.
pub const CANCELLED: &[u8] = b"-ERR authentication cancelled\r\n";
/// Says that a SASL response is no base64.
pub const NOT_BASE64: &[u8] = b"-ERR not base64\r\n";
/// Says that a SASL response is not what the mechanism asks for.
pub const NOT_A_MESSAGE: &[u8] = b"-ERR not a message of this mechanism\r\n";
/// Says that a login whose secret only the mail server sees cannot go where it should.
pub const NOT_ROUTABLE: &[u8] =
    b"-ERR [SYS/PERM] this way to log in is not possible for you, use another one\r\n";
/// Says that a client certificate is missing, or names nobody.
pub const NO_CERTIFICATE: &[u8] = b"-ERR [AUTH] no client certificate that names a user\r\n";
/// Says that a login by certificate asks for somebody else's maildrop.
pub const NOT_CERTIFIED: &[u8] = b"-ERR [AUTH] the client certificate is another user's\r\n";
/// The mail servers have as many sessions as they may, and the queue is full or too slow.
pub const POOL_FULL: &[u8] = b"-ERR [SYS/TEMP] mail server has too many sessions, try again later\r\n";
/// The plain positive reply.
pub const OK: &[u8] = b"+OK\r\n";
/// The answer to an accepted login that no mail server saw.
pub const LOGGED_IN_OK: &[u8] = b"+OK Logged in.\r\n";
/// The answer to QUIT.
pub const BYE: &[u8] = b"+OK bye\r\n";
/// No message has the number that a command named.
pub const NO_SUCH_MESSAGE: &[u8] = b"-ERR no such message\r\n";
/// The manner `busy`, in answer to each command about mail.
pub const BUSY: &[u8] = b"-ERR [SYS/TEMP] mailbox is busy, try again later\r\n";
/// No node could be reached.
pub const UNREACHABLE: &[u8] = b"-ERR [SYS/TEMP] mail server is not available, try again later\r\n";
/// A node was lost in the middle of something.
pub const LOST: &[u8] = b"-ERR [SYS/TEMP] connection to the mail server was lost\r\n";
/// The policy failed and `on-failure` says `deny`.
pub const POLICY_FAILED: &[u8] = b"-ERR [SYS/TEMP] login is not possible now, try again later\r\n";
/// The client speaks HTTP. Nothing of what it has said is repeated: a browser would show it.
pub const NOT_HTTP: &[u8] = b"-ERR this is a POP3 server\r\n";
/// Too many commands that are none.
pub const TOO_MANY_BAD: &[u8] = b"-ERR too many bad commands\r\n";
/// Too many logins that failed.
pub const TOO_MANY_FAILED: &[u8] = b"-ERR too many failed logins\r\n";
/// Too many logins that no mail server judged.
pub const TOO_MANY_UNJUDGED: &[u8] =
    b"-ERR [SYS/TEMP] mail server is not available, too many logins on this connection\r\n";
/// The client was silent for too long.
pub const IDLE: &[u8] = b"-ERR disconnected for inactivity\r\n";
/// The server ends.
pub const SHUTTING_DOWN: &[u8] = b"-ERR [SYS/TEMP] server is shutting down, try again later\r\n";
/// The server has as many connections as it may.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"-ERR [SYS/TEMP] too many connections, try again later\r\n";
/// One address has as many connections as it may.
pub const TOO_MANY_FROM_ADDRESS: &[u8] =
    b"-ERR [SYS/TEMP] too many connections from your address, try again later\r\n";

/// Writes a number in decimal digits.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Why a login is refused, as a response code tells a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RFC 2449, section 8.1.1.
    LoginDelay,
    /// RFC 2449, section 8.1.2.
    InUse,
    /// RFC 3206, section 4.
    SysTemp,
    /// RFC 3206, section 4.
    SysPerm,
    /// RFC 3206, section 5.
    Auth,
}

impl Refusal {
    /// Writes the reply, with the seconds to wait where they are known.
    pub fn write(self, retry_after: Option<u32>, out: &mut Vec<u8>) {
        let (code, text): (&str, &str) = match self {
            Self::LoginDelay => ("LOGIN-DELAY", "too soon after your last login"),
            Self::InUse => ("IN-USE", "maildrop is in use"),
            Self::SysTemp => ("SYS/TEMP", "login is not possible now"),
            Self::SysPerm => ("SYS/PERM", "login is not possible, ask your administrator"),
            Self::Auth => ("AUTH", "authentication failed"),
        };
        out.extend_from_slice(b"-ERR [");
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(b"] ");
        out.extend_from_slice(text.as_bytes());
        if let Some(seconds) = retry_after {
            out.extend_from_slice(b", try again in ");
            push_number(out, u64::from(seconds));
            out.extend_from_slice(b" seconds");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The response code of a backend's status line, for instance `SYS/TEMP` of
/// `-ERR [SYS/TEMP] …`.
#[must_use]
pub fn response_code(status: &[u8]) -> Option<&[u8]> {
    let text = status.strip_prefix(b"-ERR ").or_else(|| status.strip_prefix(b"+OK "))?;
    let rest = text.trim_ascii_start().strip_prefix(b"[")?;
    rest.split(|&octet| octet == b']').next()
}

/// Answers a command of a posed session whose login the mail server refuses now. `status`: what
/// it said; its own text is the one that helps.
#[must_use]
pub fn login_refused(status: &[u8]) -> Vec<u8> {
    /// RFC 2449, section 4, gives a reply 512 bytes.
    const LONGEST: usize = 510;
    let line = status.trim_ascii_end();
    let text = line.strip_prefix(b"-ERR").unwrap_or(line).trim_ascii();
    // Its code belongs to a login: the client's next one hears it.
    let code = response_code(line).map_or(0, |code| code.len() + 2);
    let text = text.get(code..).unwrap_or_default().trim_ascii_start();
    let mut reply = b"-ERR [SYS/TEMP] mail server refuses the login now".to_vec();
    if !text.is_empty() {
        reply.extend_from_slice(b": ");
        reply.extend(text.iter().map(|&byte| if byte.is_ascii_control() { b' ' } else { byte }));
    }
    reply.truncate(LONGEST);
    reply.extend_from_slice(b"\r\n");
    reply
}

/// Whether a status line is positive. Anything but `+OK` and `-ERR` is neither.
#[must_use]
pub fn status(line: &[u8]) -> Option<bool> {
    if line.starts_with(b"+OK") {
        Some(true)
    } else if line.starts_with(b"-ERR") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_the_code_and_the_seconds() {
        let mut out = Vec::new();
        Refusal::LoginDelay.write(Some(540), &mut out);
        assert_eq!(out, b"-ERR [LOGIN-DELAY] too soon after your last login, try again in 540 seconds\r\n");
    }

    #[test]
    fn a_refused_upgrade_says_what_the_mail_server_said() {
        for (said, told) in [
            ("-ERR [AUTH] Authentication failed.\r\n", ": Authentication failed."),
            ("-ERR [IN-USE] Mailbox is locked\r\n", ": Mailbox is locked"),
            ("-ERR account disabled\n", ": account disabled"),
            ("-ERR a\tb\r\n", ": a b"),
            ("-ERR\r\n", ""),
            ("-ERR [x\r\n", ""),
        ] {
            let told = format!("-ERR [SYS/TEMP] mail server refuses the login now{told}\r\n");
            assert_eq!(String::from_utf8(login_refused(said.as_bytes())).unwrap(), told);
        }
        assert_eq!(login_refused(&[b"-ERR ", &[b'x'; 2000][..]].concat()).len(), 512);
    }

    #[test]
    fn response_codes_are_found_where_they_stand() {
        assert_eq!(response_code(b"-ERR [SYS/TEMP] later"), Some(&b"SYS/TEMP"[..]));
        assert_eq!(response_code(b"-ERR no [AUTH] here"), None);
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 1_234_567, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
