//! Capabilities: always the host's own, the same in posed and relayed sessions, because mail
//! programs remember what a server could last time.

use super::credential::{Mechanism, Mechanisms};

/// What a virtual server can promise a connection.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Seconds to announce between logins (RFC 2449, section 6.5), if any.
    pub login_delay: Option<u64>,
    /// `TOP` works at every mail server of the pool.
    pub top: bool,
    /// `UIDL` works at every mail server of the pool.
    pub uidl: bool,
    /// TLS can be begun (RFC 2595).
    pub stls: bool,
    /// Ways to log in that are possible on this connection.
    pub mechanisms: Mechanisms,
}

impl Default for Offer {
    /// What every connection is promised where nothing is set and nothing known.
    fn default() -> Self {
        Self {
            login_delay: None,
            top: true,
            uidl: true,
            stls: false,
            mechanisms: Mechanisms::of(&[Mechanism::UserPass, Mechanism::Plain, Mechanism::Login]),
        }
    }
}

/// What a virtual server promises in answer to CAPA and to a bare AUTH (RFC 2449, 5034).
#[derive(Clone, Debug)]
pub struct Capabilities {
    before_login: Box<[u8]>,
    after_login: Box<[u8]>,
    listed: Box<[u8]>,
    mechanisms: Mechanisms,
    stls: bool,
}

impl Capabilities {
    /// Puts the answers into words.
    #[must_use]
    pub fn new(offer: &Offer) -> Self {
        let mut common = String::new();
        for (name, there) in [("TOP", offer.top), ("UIDL", offer.uidl)] {
            if there {
                common.push_str(name);
                common.push_str("\r\n");
            }
        }
        // The host's own doing, whatever the mail servers can: commands of a client that
        // sends many at once are answered in order, and response codes are passed on.
        common.push_str("RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n");
        if let Some(seconds) = offer.login_delay {
            common.push_str(&format!("LOGIN-DELAY {seconds}\r\n"));
        }
        let sasl: Vec<_> = offer.mechanisms.sasl().map(Mechanism::name).collect();
        let mut before = common.clone();
        if offer.stls {
            before.push_str("STLS\r\n");
        }
        if offer.mechanisms.contains(Mechanism::UserPass) {
            before.push_str("USER\r\n");
        }
        if !sasl.is_empty() {
            before.push_str(&format!("SASL {}\r\n", sasl.join(" ")));
        }
        let listed: String = sasl.iter().map(|name| format!("{name}\r\n")).collect();
        let reply = |lines: &str| format!("+OK\r\n{lines}.\r\n").into_bytes().into_boxed_slice();
        Self {
            before_login: reply(&before),
            after_login: reply(&common),
            listed: reply(&listed),
            mechanisms: offer.mechanisms,
            stls: offer.stls,
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
        &self.listed
    }

    /// Whether a connection can log in that way.
    #[must_use]
    pub fn offers(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.contains(mechanism)
    }

    /// Whether TLS can be begun.
    #[must_use]
    pub fn has_stls(&self) -> bool {
        self.stls
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new(&Offer::default())
    }
}

/// What a mail server has said that it can do, in answer to CAPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// `TOP` (RFC 1939 leaves it open).
    pub top: bool,
    /// `UIDL`.
    pub uidl: bool,
    /// It takes commands that are sent before the reply to the one before (RFC 2449).
    pub pipelining: bool,
    /// `STLS` (RFC 2595).
    pub stls: bool,
    /// SASL mechanisms, and `USER`.
    pub mechanisms: Mechanisms,
}

impl Learned {
    /// What is taken for true of a mail server that does not know CAPA: that it knows what
    /// nearly all do, and nothing newer.
    pub const OLD: Self = Self {
        top: true,
        uidl: true,
        pipelining: false,
        stls: false,
        mechanisms: Mechanisms::of(&[Mechanism::UserPass]),
    };

    /// Reads the lines of the answer to CAPA, without the first and the dot.
    #[must_use]
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let none = Mechanisms::default();
        let mut learned = Self { top: false, uidl: false, pipelining: false, stls: false, mechanisms: none };
        for line in lines {
            let mut words = line
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .map(<[u8]>::to_ascii_uppercase);
            match words.next().unwrap_or_default().as_slice() {
                b"TOP" => learned.top = true,
                b"UIDL" => learned.uidl = true,
                b"PIPELINING" => learned.pipelining = true,
                b"STLS" => learned.stls = true,
                b"USER" => learned.mechanisms.insert(Mechanism::UserPass),
                b"SASL" => words
                    .filter_map(|word| Mechanism::from_sasl(&word))
                    .for_each(|mechanism| learned.mechanisms.insert(mechanism)),
                _ => {}
            }
        }
        learned
    }

    /// What a node can do that has said this before a login and that after one: RFC 2449,
    /// section 5, lets it list then only what is of use then.
    #[must_use]
    pub fn with_more(self, after: Self) -> Self {
        Self {
            top: self.top || after.top,
            uidl: self.uidl || after.uidl,
            pipelining: self.pipelining || after.pipelining,
            ..self
        }
    }

    /// Whether a login could tell more than is known of what clients are promised.
    #[must_use]
    pub fn lacks_any(self) -> bool {
        !(self.top && self.uidl)
    }

    /// What both can do.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self {
            top: self.top && other.top,
            uidl: self.uidl && other.uidl,
            pipelining: self.pipelining && other.pipelining,
            stls: self.stls && other.stls,
            mechanisms: self.mechanisms.both(other.mechanisms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(octets: &[u8]) -> &str {
        std::str::from_utf8(octets).unwrap()
    }

    #[test]
    fn only_what_is_possible_is_promised() {
        let usual = Capabilities::default();
        assert_eq!(
            text(usual.before_login()),
            "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n"
        );
        let bare = Capabilities::new(&Offer {
            login_delay: Some(600),
            top: false,
            uidl: false,
            stls: true,
            mechanisms: Mechanisms::default(),
        });
        let common = "RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nLOGIN-DELAY 600\r\n";
        assert_eq!(text(bare.before_login()), format!("+OK\r\n{common}STLS\r\n.\r\n"));
        assert_eq!(text(bare.after_login()), format!("+OK\r\n{common}.\r\n"));
        assert_eq!(text(bare.mechanisms()), "+OK\r\n.\r\n");
    }

    #[test]
    fn what_mail_servers_say_is_learned_and_only_what_all_can_is_kept() {
        let one = Learned::from_lines([&b"top"[..], b"UIDL", b"SASL plain CRAM-MD5 X-OWN", b"EXPIRE 60"]);
        let other = Learned::from_lines([&b"UIDL"[..], b"USER", b"PIPELINING", b"SASL CRAM-MD5", b"STLS"]);
        assert!(one.top && one.uidl && !one.pipelining);
        let both = one.both(other);
        assert!(both.uidl && !both.top && !both.pipelining && !both.stls);
        assert_eq!(both.mechanisms, Mechanisms::of(&[Mechanism::CramMd5]));
    }
}
