//! What is recorded of a session for its log line and its counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::client_io::{ClientIo, Disconnect};
use super::context::Context;
use super::counters::Counters;
use crate::decision_log::SessionEvents;
use crate::net::{Admitted, Place, TlsSession};
#[cfg(test)]
use crate::simulation::{EndedSession, Fault, planted, session_ended};
use reprieve_metrics::labels;
use reprieve_policy_host::{Because, Decided, Disposition, Ending, Manner, Worded as _};
use reprieve_pop3::authorization::UnusableLogin;
use reprieve_text::socket_text;

labels! {
    /// How a session ended.
    pub(super) enum SessionEnd {
        /// By QUIT.
        Quit = "quit",
        /// The client closed its side.
        Closed = "closed",
        /// The connection to the client broke.
        Lost = "lost",
        /// The client sent nothing for too long.
        Idle = "idle",
        /// The server shuts down.
        Drained = "drained",
        /// The client read a reply too slowly.
        Stalled = "stalled",
        /// The mail server closed the connection, or it broke.
        ServerLost = "server-lost",
        /// Closed by the manner `disconnect`.
        Disconnected = "disconnected",
        /// The TLS handshake after STLS failed.
        NoHandshake = "no-handshake",
        /// The node was disabled.
        NodeDisabled = "node-disabled",
        /// Too many bad commands.
        BadCommands = "bad-commands",
        /// Too many failed logins.
        FailedLogins = "failed-logins",
        /// Too many logins that no mail server judged.
        UnjudgedLogins = "unjudged-logins",
        /// The client spoke HTTP.
        Http = "http",
        /// It had not logged in, and another connection needed its place.
        Shed = "shed",
    }
}

impl From<Disconnect> for SessionEnd {
    fn from(end: Disconnect) -> Self {
        match end {
            Disconnect::Closed => Self::Closed,
            Disconnect::Lost => Self::Lost,
            Disconnect::Idle => Self::Idle,
            Disconnect::Drained => Self::Drained,
            Disconnect::Stalled => Self::Stalled,
        }
    }
}

impl SessionEnd {
    /// Whether it is the client's side that ended.
    pub(super) fn is_disconnect(self) -> bool {
        matches!(self, Self::Closed | Self::Lost | Self::Idle | Self::Drained | Self::Stalled)
    }
}

/// What is recorded of a session. Each connection has one, so fields that are mostly absent are
/// boxed.
#[derive(Debug)]
pub(super) struct SessionRecord {
    pub(super) id: SessionId,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// Its slot within the connection limits, until it ends.
    pub(super) admitted: Option<Admitted>,
    pub(super) tls: Option<Box<TlsSession>>,
    pub(super) user: Option<Box<str>>,
    pub(super) mechanism: &'static str,
    /// What the policy decided about the latest login.
    pub(super) decided: Option<Decided>,
    /// The policy's reason for a denial, or why a login cannot be passed on.
    pub(super) reason: Box<str>,
    /// What happened to the latest login.
    pub(super) disposition: Option<Disposition>,
    /// The outcome of the login at the mail server.
    pub(super) outcome: Option<Ending>,
    pub(super) node: Option<Arc<str>>,
    pub(super) posed: bool,
    /// Whether a mail server was asked; if so, there was no relief.
    pub(super) asked_server: bool,
    pub(super) upgraded: bool,
    pub(super) logins: u32,
    /// Details for the decision log and the traces, if either wants them.
    pub(super) events: Option<Box<SessionEvents>>,
    pub(super) began: Instant,
    told: bool,
}

impl SessionRecord {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            id: SessionId::next(),
            peer,
            local,
            admitted: None,
            tls: None,
            user: None,
            mechanism: "",
            decided: None,
            reason: Box::default(),
            disposition: None,
            outcome: None,
            node: None,
            posed: false,
            asked_server: false,
            upgraded: false,
            logins: 0,
            events: None,
            began: Instant::now(),
            told: false,
        }
    }

    /// Its place among the connections that have not logged in, until it has.
    pub(super) fn place(&self) -> Option<Arc<Place>> {
        self.admitted.as_ref().and_then(Admitted::place)
    }

    /// The client has logged in. False if another connection has its place by now.
    pub(super) fn logged_in(&mut self) -> bool {
        self.admitted.as_mut().is_none_or(Admitted::logs_in)
    }

    /// Forgets the previous login of this connection.
    pub(super) fn begin_login(&mut self, user: &str, mechanism: &'static str) {
        self.user = Some(user.into());
        self.mechanism = mechanism;
        self.decided = None;
        self.reason = Box::default();
        self.disposition = None;
        self.outcome = None;
        self.node = None;
        self.asked_server = false;
        self.logins += 1;
    }

    /// Records a login that cannot be passed to any mail server.
    pub(super) fn unusable(&mut self, login: &UnusableLogin) {
        self.begin_login(&String::from_utf8_lossy(&login.user), login.mechanism.name());
        self.reason = login.why.reason().into();
    }

    /// Logs and counts the session, once.
    pub(super) fn finish(&mut self, context: &Context, client: &ClientIo, end: SessionEnd) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let counters = &context.counters;
        Counters::count(&counters.sessions);
        counters.labeled.ended(end);
        counters.bytes_in.fetch_add(client.bytes_in, Ordering::Relaxed);
        counters.bytes_out.fetch_add(client.bytes_out, Ordering::Relaxed);
        let manner = match self.decided {
            Some(Decided::Deny { manner, .. }) => Some(manner),
            _ => None,
        };
        let relief = manner.is_some() && !self.asked_server;
        // Refused and disconnected logins were counted when they happened.
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
            verdict = self.decided.map_or("", Decided::verdict),
            manner = manner.map_or("", Manner::word),
            reason = &*self.reason,
            disposition = self.disposition.map_or("", |disposition| disposition.action.name()),
            because = self.disposition.and_then(|it| it.because).map_or("", Because::name),
            outcome = self.outcome.map_or("", Ending::word),
            node = self.node.as_deref().unwrap_or(""),
            upgraded = self.upgraded,
            relief,
            logins = self.logins,
            bytes_in = client.bytes_in,
            bytes_out = client.bytes_out,
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = end.name(),
            "session"
        );
        #[cfg(test)]
        if self.logins == 0 && planted(Fault::AdmissionLeaked) {
            std::mem::forget(self.admitted.take());
        }
        #[cfg(test)]
        session_ended(EndedSession {
            id: self.id.as_str().to_owned(),
            peer: self.peer,
            action: self.disposition.map(|disposition| disposition.action),
            because: self.disposition.and_then(|disposition| disposition.because),
            manner: self.disposition.and_then(|disposition| disposition.manner),
            posed: self.posed,
            upgraded: self.upgraded,
            relief,
            logins: self.logins,
            lacks_outcome: self.asked_server && self.outcome.is_none(),
            end: end.name(),
        });
        self.tell(context, client, end, relief);
    }
}

/// The id of a session: 16 hexadecimal digits, unique within this process and almost certainly
/// among all processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionId([u8; 16]);

impl SessionId {
    fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static PROCESS: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        let process = PROCESS.get_or_init(|| {
            let mut bytes = [0; 4];
            let _ = getrandom::fill(&mut bytes);
            u32::from_le_bytes(bytes)
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
    fn ids_differ_between_sessions() {
        let [one, other] = [SessionId::next(), SessionId::next()];
        assert_ne!(one.as_str(), other.as_str());
        assert!(one.as_str().len() == 16 && one.as_str().bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(one.as_str()[..8], other.as_str()[..8]);
    }
}
