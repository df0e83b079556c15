//! The replies that Reprieve itself sends, and the parts of mail servers' replies that it reads.

/// No such command, or not in this state.
pub const UNKNOWN: &[u8] = b"-ERR unknown command\r\n";
/// See [`Command::Malformed`](crate::command::Command::Malformed).
pub const MALFORMED: &[u8] = b"-ERR wrong arguments\r\n";
/// See [`NextLine::TooLong`](crate::line::NextLine::TooLong).
pub const TOO_LONG: &[u8] = b"-ERR line too long\r\n";
/// The command needs a login.
pub(crate) const LOG_IN_FIRST: &[u8] = b"-ERR log in first\r\n";
/// The command is for clients that are not logged in.
pub(crate) const ALREADY_LOGGED_IN: &[u8] = b"-ERR you are logged in\r\n";
/// The mechanism is possible only on an encrypted connection.
pub(crate) const TLS_FIRST: &[u8] = b"-ERR cleartext login is not possible here, use TLS\r\n";
/// The reply to STLS, after which the handshake begins (RFC 2595).
pub(crate) const BEGIN_TLS: &[u8] = b"+OK begin TLS negotiation\r\n";
/// The connection is encrypted already, or TLS is not configured.
pub(crate) const NO_STLS: &[u8] = b"-ERR STLS is not possible here\r\n";
/// The virtual server does not offer the mechanism.
pub const NOT_OFFERED: &[u8] = b"-ERR mechanism is not offered\r\n";
/// The client has cancelled a SASL exchange.
pub const CANCELLED: &[u8] = b"-ERR authentication cancelled\r\n";
/// A SASL response is not valid base64.
pub const NOT_BASE64: &[u8] = b"-ERR not base64\r\n";
/// A SASL response is not valid for the mechanism.
pub const NOT_A_MESSAGE: &[u8] = b"-ERR not a message of this mechanism\r\n";
/// The login cannot be sent where the policy wants it: a challenge-response login is valid only for
/// one user name and for the mail server that sent the challenge.
pub const NOT_ROUTABLE: &[u8] =
    b"-ERR [SYS/PERM] this mechanism is not possible for you, use another one\r\n";
/// The client has sent no certificate, or one without a user name.
pub const NO_CERTIFICATE: &[u8] = b"-ERR [AUTH] no client certificate that names a user\r\n";
/// The client asks for a maildrop that does not belong to the user of its certificate.
pub const NOT_CERTIFIED: &[u8] = b"-ERR [AUTH] the client certificate is another user's\r\n";
/// All nodes have reached their connection limits, and the queue is full or waiting took too long.
pub const POOL_FULL: &[u8] = b"-ERR [SYS/TEMP] mail server has too many sessions, try again later\r\n";
/// The positive reply without text.
pub const OK: &[u8] = b"+OK\r\n";
/// A posed login was accepted.
pub const LOGGED_IN: &[u8] = b"+OK Logged in.\r\n";
/// The reply to QUIT.
pub(crate) const BYE: &[u8] = b"+OK bye\r\n";
/// No message has this number.
pub(crate) const NO_SUCH_MESSAGE: &[u8] = b"-ERR no such message\r\n";
/// The manner `busy`: the reply to each command about messages.
pub(crate) const BUSY: &[u8] = b"-ERR [SYS/TEMP] mailbox is busy, try again later\r\n";
/// No node could be reached.
pub const UNREACHABLE: &[u8] = b"-ERR [SYS/TEMP] mail server is not available, try again later\r\n";
/// The connection to the node was lost during the session.
pub const LOST: &[u8] = b"-ERR [SYS/TEMP] connection to the mail server was lost\r\n";
/// The policy failed, and `on-failure` is `deny`.
pub const POLICY_FAILED: &[u8] = b"-ERR [SYS/TEMP] login is not possible now, try again later\r\n";
/// The client speaks HTTP. The reply repeats nothing of the request: a browser would display it.
pub(crate) const NOT_HTTP: &[u8] = b"-ERR this is a POP3 server\r\n";
/// The limit of unknown commands is reached.
pub const TOO_MANY_BAD: &[u8] = b"-ERR too many bad commands\r\n";
/// The limit of failed logins is reached.
pub const TOO_MANY_FAILED: &[u8] = b"-ERR too many failed logins\r\n";
/// The limit of logins that no mail server could check is reached.
pub const TOO_MANY_UNJUDGED: &[u8] =
    b"-ERR [SYS/TEMP] mail server is not available, too many logins on this connection\r\n";
/// The idle timeout is over.
pub const IDLE: &[u8] = b"-ERR disconnected for inactivity\r\n";
/// Reprieve is shutting down.
pub const SHUTTING_DOWN: &[u8] = b"-ERR [SYS/TEMP] server is shutting down, try again later\r\n";
/// The connection limit of the virtual server or of the process is reached.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"-ERR [SYS/TEMP] too many connections, try again later\r\n";
/// The connection limit of the client's address is reached.
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

/// The response codes with which a policy or Reprieve can refuse a login.
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
    /// Writes the reply, with the seconds until the client should try again if they are known. `text`:
    /// replaces the usual words; printable ASCII.
    pub fn write(self, retry_after: Option<u32>, text: Option<&str>, out: &mut Vec<u8>) {
        let (code, usual): (&str, &str) = match self {
            Self::LoginDelay => ("LOGIN-DELAY", "too soon after your last login"),
            Self::InUse => ("IN-USE", "maildrop is in use"),
            Self::SysTemp => ("SYS/TEMP", "login is not possible now"),
            Self::SysPerm => ("SYS/PERM", "login is not possible, ask your administrator"),
            Self::Auth => ("AUTH", "authentication failed"),
        };
        out.extend_from_slice(b"-ERR [");
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(b"] ");
        out.extend_from_slice(text.unwrap_or(usual).as_bytes());
        if let Some(seconds) = retry_after {
            out.extend_from_slice(b", try again in ");
            push_number(out, u64::from(seconds));
            out.extend_from_slice(b" seconds");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The response code of a mail server's status line, such as `SYS/TEMP` in `-ERR [SYS/TEMP] …`.
#[must_use]
pub fn response_code(status: &[u8]) -> Option<&[u8]> {
    let text = status.strip_prefix(b"-ERR ").or_else(|| status.strip_prefix(b"+OK "))?;
    let rest = text.trim_ascii_start().strip_prefix(b"[")?;
    rest.split(|&byte| byte == b']').next()
}

/// The reply to a command that needed an upgrade, if the mail server has refused the login with this
/// `status` line. It contains the mail server's text, which explains the reason.
#[must_use]
pub fn upgrade_refused(status: &[u8]) -> Vec<u8> {
    /// RFC 2449, section 4, limits a reply to 512 bytes with its line end.
    const MAX_BYTES: usize = 510;
    let line = status.trim_ascii_end();
    let text = line.strip_prefix(b"-ERR").unwrap_or(line).trim_ascii();
    // The code describes a login, not this command: it is left to the reply to the next login.
    let code = response_code(line).map_or(0, |code| code.len() + 2);
    let text = text.get(code..).unwrap_or_default().trim_ascii_start();
    let mut reply = b"-ERR [SYS/TEMP] mail server refuses the login now".to_vec();
    if !text.is_empty() {
        reply.extend_from_slice(b": ");
        reply.extend(text.iter().map(|&byte| if byte.is_ascii_control() { b' ' } else { byte }));
    }
    reply.truncate(MAX_BYTES);
    reply.extend_from_slice(b"\r\n");
    reply
}

/// Whether a status line is positive. None if it is neither `+OK` nor `-ERR`.
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
    fn a_refusal_has_a_response_code_and_seconds() {
        let mut out = Vec::new();
        Refusal::LoginDelay.write(Some(540), None, &mut out);
        assert_eq!(out, b"-ERR [LOGIN-DELAY] too soon after your last login, try again in 540 seconds\r\n");
    }

    #[test]
    fn a_refusal_says_its_code_and_the_text_that_the_policy_has_chosen() {
        for (refusal, text, reply) in [
            (Refusal::InUse, None, "-ERR [IN-USE] maildrop is in use\r\n"),
            (Refusal::SysTemp, None, "-ERR [SYS/TEMP] login is not possible now\r\n"),
            (Refusal::SysPerm, None, "-ERR [SYS/PERM] login is not possible, ask your administrator\r\n"),
            (Refusal::Auth, None, "-ERR [AUTH] authentication failed\r\n"),
            (Refusal::LoginDelay, Some("come back later"), "-ERR [LOGIN-DELAY] come back later\r\n"),
        ] {
            let mut out = Vec::new();
            refusal.write(None, text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), reply);
        }
    }

    #[test]
    fn a_status_line_is_positive_negative_or_neither() {
        for (line, expected) in
            [("+OK", Some(true)), ("+OK x", Some(true)), ("-ERR x", Some(false)), ("* OK", None), ("", None)]
        {
            assert_eq!(status(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_refused_upgrade_contains_the_text_of_the_mail_server() {
        for (status, text) in [
            ("-ERR [AUTH] Authentication failed.\r\n", ": Authentication failed."),
            ("-ERR [IN-USE] Mailbox is locked\r\n", ": Mailbox is locked"),
            ("-ERR account disabled\n", ": account disabled"),
            ("-ERR a\tb\r\n", ": a b"),
            ("-ERR\r\n", ""),
            ("-ERR [x\r\n", ""),
        ] {
            let expected = format!("-ERR [SYS/TEMP] mail server refuses the login now{text}\r\n");
            assert_eq!(String::from_utf8(upgrade_refused(status.as_bytes())).unwrap(), expected);
        }
        assert_eq!(upgrade_refused(&[b"-ERR ", &[b'x'; 2000][..]].concat()).len(), 512);
    }

    #[test]
    fn a_response_code_is_found_only_at_the_start_of_the_text() {
        assert_eq!(response_code(b"-ERR [SYS/TEMP] later"), Some(&b"SYS/TEMP"[..]));
        assert_eq!(response_code(b"+OK  [X] logged in"), Some(&b"X"[..]));
        assert_eq!(response_code(b"-ERR no [AUTH] here"), None);
    }

    #[test]
    fn numbers_are_written_as_by_the_standard_library() {
        for number in [0, 7, 10, 1_234_567, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
