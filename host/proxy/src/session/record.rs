//! What is told of a session when it is over: one line, and the counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::context::Context;
use super::counters::Counters;
use super::link::{Link, LinkEnd};
use crate::decision_log::Story;
use crate::net::{Admitted, TlsSession};
use reprieve_policy_host::{Manner, Worded as _};
use reprieve_pop3::authorization::UnusableLogin;
use reprieve_text::socket_text;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By QUIT.
    Quit,
    /// At the client's end.
    Link(LinkEnd),
    /// The mail server closed it or was lost.
    Server,
    /// Closed by the manner `disconnect`.
    Disconnected,
    /// STLS led to no handshake.
    Handshake,
    /// The mail server was disabled.
    NodeDisabled,
    /// Too many commands that were none.
    BadCommands,
    /// The client spoke HTTP.
    Http,
    /// Too many logins that failed.
    FailedLogins,
    /// Too many logins that no mail server judged.
    UnjudgedLogins,
}

impl End {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Link(LinkEnd::Closed) => "closed",
            Self::Link(LinkEnd::Lost) => "lost",
            Self::Link(LinkEnd::Idle) => "idle",
            Self::Link(LinkEnd::Drained) => "drained",
            Self::Link(LinkEnd::Stalled) => "stalled",
            Self::Server => "server-lost",
            Self::Disconnected => "disconnected",
            Self::Handshake => "no-handshake",
            Self::NodeDisabled => "node-disabled",
            Self::BadCommands => "bad-commands",
            Self::Http => "http",
            Self::FailedLogins => "failed-logins",
            Self::UnjudgedLogins => "unjudged-logins",
        }
    }
}

/// What is kept of a session for its line. Each connection has one: what is absent most of the
/// time, or never grows, takes little.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: SessionId,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// Its place among the connections, held to its end.
    pub(super) admitted: Option<Admitted>,
    pub(super) tls: Option<Box<TlsSession>>,
    pub(super) user: Option<Box<str>>,
    pub(super) mechanism: &'static str,
    /// `pass` or `deny`, by the policy or by `on-failure`.
    pub(super) verdict: &'static str,
    pub(super) manner: Option<Manner>,
    pub(super) reason: Box<str>,
    /// Of the login at the mail server.
    pub(super) outcome: &'static str,
    pub(super) node: Option<Arc<str>>,
    pub(super) posed: bool,
    /// Whether a mail server was asked, or nobody knows what the policy would have said: then
    /// there was no relief.
    pub(super) asked_server: bool,
    pub(super) upgraded: bool,
    pub(super) logins: u32,
    /// For who is told of the session, where somebody is.
    pub(super) story: Option<Box<Story>>,
    pub(super) began: Instant,
    told: bool,
}

impl Record {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            id: SessionId::next(),
            peer,
            local,
            admitted: None,
            tls: None,
            user: None,
            mechanism: "",
            verdict: "",
            manner: None,
            reason: Box::default(),
            outcome: "",
            node: None,
            posed: false,
            asked_server: false,
            upgraded: false,
            logins: 0,
            story: None,
            began: Instant::now(),
            told: false,
        }
    }

    /// Forgets the login before, of which this connection makes another one.
    pub(super) fn begin_login(&mut self, user: &str, mechanism: &'static str) {
        self.user = Some(user.into());
        self.mechanism = mechanism;
        self.verdict = "";
        self.manner = None;
        self.reason = Box::default();
        self.outcome = "";
        self.node = None;
        self.asked_server = false;
        self.logins += 1;
    }

    /// A login that no mail server can be asked about.
    pub(super) fn unusable(&mut self, login: &UnusableLogin) {
        self.begin_login(&String::from_utf8_lossy(&login.user), login.mechanism.name());
        self.reason = login.why.reason().into();
    }

    /// Tells of the session, once.
    pub(super) fn finish(&mut self, context: &Context, link: &Link, end: End) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let counters = &context.counters;
        Counters::count(&counters.sessions);
        counters.kinds.ended(end);
        counters.octets_in.fetch_add(link.octets_in, Ordering::Relaxed);
        counters.octets_out.fetch_add(link.octets_out, Ordering::Relaxed);
        let relief = self.verdict == "deny" && !self.asked_server;
        // Refusals and disconnections were counted when they happened.
        if relief && self.posed {
            Counters::count(&counters.relieved);
        }
        tracing::info!(
            target: "session",
            id = self.id.as_str(),
            server = &*context.settings.name,
            peer = %socket_text(self.peer),
            tls = self.tls.as_ref().map_or("", |tls| tls.version),
            user = self.user.as_deref().unwrap_or(""),
            mechanism = self.mechanism,
            verdict = self.verdict,
            manner = self.manner.map_or("", Manner::word),
            reason = &*self.reason,
            outcome = self.outcome,
            node = self.node.as_deref().unwrap_or(""),
            upgraded = self.upgraded,
            relief,
            logins = self.logins,
            octets_in = link.octets_in,
            octets_out = link.octets_out,
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = end.name(),
            "session"
        );
        self.tell(context, link, end, relief);
    }
}

/// What a session is called: 16 hexadecimal digits, different for each session of this process,
/// and most likely of all.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionId([u8; 16]);

impl SessionId {
    fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static PROCESS: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        let process = PROCESS.get_or_init(|| {
            let mut octets = [0; 4];
            let _ = getrandom::fill(&mut octets);
            u32::from_le_bytes(octets)
        });
        let number = u64::from(*process) << 32 | u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let digit = |place: usize| b"0123456789abcdef"[(number >> (60 - 4 * place) & 0xf) as usize];
        Self(std::array::from_fn(digit))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_called_differently() {
        let [one, other] = [SessionId::next(), SessionId::next()];
        assert_ne!(one.as_str(), other.as_str());
        assert!(one.as_str().len() == 16 && one.as_str().bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(one.as_str()[..8], other.as_str()[..8]);
    }
}
