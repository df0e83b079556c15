//! Capabilities: Reprieve announces its own, the same in posed and relayed sessions, because mail
//! programs remember what a server offered last time.

use super::credential::{Mechanism, Mechanisms};

/// What a virtual server offers on a connection.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Seconds between logins to announce (RFC 2449, section 6.5), if any.
    pub login_delay: Option<u64>,
    /// Every node of the pool supports TOP.
    pub top: bool,
    /// Every node of the pool supports UIDL.
    pub uidl: bool,
    /// The client can start TLS (RFC 2595).
    pub stls: bool,
    /// Mechanisms that the client can log in with.
    pub mechanisms: Mechanisms,
}

impl Default for Offer {
    /// The offer without any setting and before anything is known about the nodes.
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

/// The replies to CAPA and to AUTH without arguments (RFC 2449, 5034), built once for an offer.
#[derive(Clone, Debug)]
pub struct Capabilities {
    before_login: Box<[u8]>,
    after_login: Box<[u8]>,
    mechanism_list: Box<[u8]>,
    mechanisms: Mechanisms,
    stls: bool,
}

impl Capabilities {
    /// Builds the replies.
    #[must_use]
    pub fn new(offer: &Offer) -> Self {
        let mut common = String::new();
        for (name, is_offered) in [("TOP", offer.top), ("UIDL", offer.uidl)] {
            if is_offered {
                common.push_str(name);
                common.push_str("\r\n");
            }
        }
        // These do not depend on the nodes: Reprieve itself answers pipelined commands in order,
        // and passes response codes on.
        common.push_str("RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n");
        if let Some(seconds) = offer.login_delay {
            common.push_str(&format!("LOGIN-DELAY {seconds}\r\n"));
        }
        let sasl: Vec<_> = offer.mechanisms.sasl().map(Mechanism::name).collect();
        let mut before_login = common.clone();
        if offer.stls {
            before_login.push_str("STLS\r\n");
        }
        if offer.mechanisms.contains(Mechanism::UserPass) {
            before_login.push_str("USER\r\n");
        }
        if !sasl.is_empty() {
            before_login.push_str(&format!("SASL {}\r\n", sasl.join(" ")));
        }
        let names: String = sasl.iter().map(|name| format!("{name}\r\n")).collect();
        let reply = |lines: &str| format!("+OK\r\n{lines}.\r\n").into_bytes().into_boxed_slice();
        Self {
            before_login: reply(&before_login),
            after_login: reply(&common),
            mechanism_list: reply(&names),
            mechanisms: offer.mechanisms,
            stls: offer.stls,
        }
    }

    /// The reply to CAPA in the AUTHORIZATION state.
    #[must_use]
    pub fn before_login(&self) -> &[u8] {
        &self.before_login
    }

    /// The reply to CAPA in the TRANSACTION state, without STLS and mechanisms.
    #[must_use]
    pub fn after_login(&self) -> &[u8] {
        &self.after_login
    }

    /// The reply to AUTH without arguments.
    #[must_use]
    pub fn mechanisms(&self) -> &[u8] {
        &self.mechanism_list
    }

    /// Whether the client can log in with this mechanism.
    #[must_use]
    pub fn offers(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.contains(mechanism)
    }

    /// Whether the client can start TLS.
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

/// The capabilities that a mail server has announced in its reply to CAPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendCapabilities {
    /// `TOP`, which is optional in RFC 1939.
    pub top: bool,
    /// `UIDL`, which is optional in RFC 1939.
    pub uidl: bool,
    /// Commands may be sent before the previous one is answered (RFC 2449).
    pub pipelining: bool,
    /// `STLS` (RFC 2595).
    pub stls: bool,
    /// `USER` and the SASL mechanisms.
    pub mechanisms: Mechanisms,
}

impl BackendCapabilities {
    /// The capabilities assumed of a mail server without CAPA: what nearly all of them support, and
    /// nothing newer.
    pub const WITHOUT_CAPA: Self = Self {
        top: true,
        uidl: true,
        pipelining: false,
        stls: false,
        mechanisms: Mechanisms::of(&[Mechanism::UserPass]),
    };

    /// Parses the lines of a reply to CAPA, without the status line and the final dot.
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let none = Mechanisms::default();
        let mut capabilities =
            Self { top: false, uidl: false, pipelining: false, stls: false, mechanisms: none };
        for line in lines {
            let mut words = line
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .map(<[u8]>::to_ascii_uppercase);
            match words.next().unwrap_or_default().as_slice() {
                b"TOP" => capabilities.top = true,
                b"UIDL" => capabilities.uidl = true,
                b"PIPELINING" => capabilities.pipelining = true,
                b"STLS" => capabilities.stls = true,
                b"USER" => capabilities.mechanisms.insert(Mechanism::UserPass),
                b"SASL" => words
                    .filter_map(|word| Mechanism::from_sasl(&word))
                    .for_each(|mechanism| capabilities.mechanisms.insert(mechanism)),
                _ => {}
            }
        }
        capabilities
    }

    /// These capabilities, announced before a login, together with those announced `after` it: a
    /// server may announce some only then (RFC 2449, section 5).
    #[must_use]
    pub fn and_after_login(self, after: Self) -> Self {
        Self {
            top: self.top || after.top,
            uidl: self.uidl || after.uidl,
            pipelining: self.pipelining || after.pipelining,
            ..self
        }
    }

    /// Whether one of those that clients are offered is missing, so that it is worth asking again
    /// after a login.
    #[must_use]
    pub fn lacks_offered(self) -> bool {
        !(self.top && self.uidl)
    }

    /// Whether it announces a mechanism that takes a password or token. A mail server that requires
    /// TLS announces none on a connection without it.
    #[must_use]
    pub fn takes_secrets(self) -> bool {
        self.mechanisms.iter().any(Mechanism::reveals_secret)
    }

    /// The capabilities that both servers have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self {
            top: self.top && other.top,
            uidl: self.uidl && other.uidl,
            pipelining: self.pipelining && other.pipelining,
            stls: self.stls && other.stls,
            mechanisms: self.mechanisms.intersection(other.mechanisms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_what_is_possible_is_offered() {
        let default = Capabilities::default();
        assert_eq!(
            text(default.before_login()),
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
    fn an_announcement_without_mechanisms_takes_no_secrets() {
        // Dovecot without TLS, from another address than its own.
        assert!(!BackendCapabilities::parse([&b"TOP"[..], b"UIDL", b"SASL"]).takes_secrets());
        assert!(!BackendCapabilities::parse([&b"UIDL"[..], b"SASL CRAM-MD5"]).takes_secrets());
        assert!(BackendCapabilities::parse([&b"UIDL"[..], b"USER"]).takes_secrets());
        assert!(BackendCapabilities::parse([&b"SASL PLAIN"[..]]).takes_secrets());
        assert!(BackendCapabilities::WITHOUT_CAPA.takes_secrets());
    }

    #[test]
    fn a_pool_has_the_capabilities_that_all_its_nodes_announce() {
        let one =
            BackendCapabilities::parse([&b"top"[..], b"UIDL", b"SASL plain CRAM-MD5 X-OWN", b"EXPIRE 60"]);
        let other =
            BackendCapabilities::parse([&b"UIDL"[..], b"USER", b"PIPELINING", b"SASL CRAM-MD5", b"STLS"]);
        assert!(one.top && one.uidl && !one.pipelining);
        let both = one.intersection(other);
        assert!(both.uidl && !both.top && !both.pipelining && !both.stls);
        assert_eq!(both.mechanisms, Mechanisms::of(&[Mechanism::CramMd5]));
    }
    #[test]
    fn every_capability_has_its_own_line() {
        let lines: [&[u8]; 5] = [b"TOP", b"UIDL", b"PIPELINING", b"STLS", b"USER"];
        for own in lines {
            let BackendCapabilities { top, uidl, pipelining, stls, mechanisms } =
                BackendCapabilities::parse([own]);
            let user = mechanisms.contains(Mechanism::UserPass);
            let found = [top, uidl, pipelining, stls, user];
            assert_eq!(found, lines.map(|line| line == own), "{}", text(own));
        }
    }

    #[test]
    fn capabilities_before_and_after_the_login_add_up() {
        let none = BackendCapabilities::parse([]);
        for line in [&b"TOP"[..], b"UIDL", b"PIPELINING"] {
            let one = BackendCapabilities::parse([line]);
            assert_eq!(none.and_after_login(one), one, "{}", text(line));
            assert_eq!(one.and_after_login(none), one, "{}", text(line));
        }
        // TLS and mechanisms concern only what comes before it.
        let late = BackendCapabilities::parse([&b"STLS"[..], b"USER"]);
        assert_eq!(none.and_after_login(late), none);
    }

    #[test]
    fn what_clients_are_offered_is_worth_a_second_question() {
        for (lines, lacks) in [
            (&[&b"TOP"[..], b"UIDL"][..], false),
            (&[b"TOP"], true),
            (&[b"UIDL", b"PIPELINING"], true),
            (&[], true),
        ] {
            let found = BackendCapabilities::parse(lines.iter().copied());
            assert_eq!(found.lacks_offered(), lacks);
        }
    }

    #[test]
    fn nodes_have_in_common_what_each_of_them_has() {
        let lines: [&[u8]; 4] = [b"TOP", b"UIDL", b"PIPELINING", b"STLS"];
        let all = BackendCapabilities::parse(lines);
        for line in lines {
            let one = BackendCapabilities::parse([line]);
            assert_eq!(all.intersection(one), one, "{}", text(line));
            assert_eq!(one.intersection(all), one, "{}", text(line));
        }
    }
}
