//! Capabilities: always the host's own, the same in posed and relayed sessions, because mail
//! programs remember what a server could last time.

/// What a virtual server promises in answer to CAPA and to a bare AUTH (RFC 2449, 5034).
#[derive(Clone, Debug)]
pub struct Capabilities {
    before_login: Box<[u8]>,
    after_login: Box<[u8]>,
    mechanisms: Box<[u8]>,
}

impl Capabilities {
    /// `login_delay`: seconds to announce between logins (RFC 2449, section 6.5), if any.
    #[must_use]
    pub fn new(login_delay: Option<u64>) -> Self {
        let delay = login_delay.map(|seconds| format!("LOGIN-DELAY {seconds}\r\n")).unwrap_or_default();
        let common = format!("TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n{delay}");
        let octets = |text: String| text.into_bytes().into_boxed_slice();
        Self {
            before_login: octets(format!("+OK\r\n{common}USER\r\nSASL PLAIN LOGIN\r\n.\r\n")),
            after_login: octets(format!("+OK\r\n{common}.\r\n")),
            mechanisms: octets("+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n".to_owned()),
        }
    }

    /// The answer to CAPA in the AUTHORIZATION state.
    #[must_use]
    pub fn before_login(&self) -> &[u8] {
        &self.before_login
    }

    /// The answer to CAPA in the TRANSACTION state, where ways to log in are of no use.
    #[must_use]
    pub fn after_login(&self) -> &[u8] {
        &self.after_login
    }

    /// The answer to a bare AUTH.
    #[must_use]
    pub fn mechanisms(&self) -> &[u8] {
        &self.mechanisms
    }
}
