//! A login that a log tells of, whoever wrote the log.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::said::Said;
use reprieve_policy_host::harness::Becomes;
use reprieve_policy_host::{Backend, Ending, Mechanism, Standing, TlsSession};

/// Stands for an address that a log does not tell.
pub(crate) const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A login that a log tells of.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// User name as the log has it.
    pub user: String,
    /// Identity that the client asked to act as, if the log tells of one.
    pub authorization_id: Option<String>,
    /// How the secret was presented.
    pub mechanism: Mechanism,
    /// The client's address; unspecified where the log does not tell. So is its port.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The TLS session, if the log tells of one.
    pub tls: Option<TlsSession>,
    /// How it ended at the mail server; none where no mail server was asked.
    pub outcome: Option<Ending>,
    /// Milliseconds that the mail server took, where the log tells.
    pub latency_ms: Option<u32>,
    /// Logins that one line stands for: failed ones are told together.
    pub times: u32,
    /// What only Reprieve's own logs tell.
    pub recorded: Option<Box<Recorded>>,
}

/// What Reprieve's own logs tell beside.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The session.
    pub id: String,
    /// The virtual server.
    pub virtual_server: String,
    /// Order of decisions in the process, where the log tells.
    pub seq: Option<u64>,
    /// What the host knew of the secret.
    pub standing: Option<Standing>,
    /// The pool's state.
    pub backend: Option<Backend>,
    /// When the outcome was there, in milliseconds since 1970.
    pub outcome_at_ms: Option<u64>,
    /// The node that judged the login.
    pub node: Option<String>,
    /// What the policy said then; none where it was not asked.
    pub said: Option<Said>,
    /// What the host made of it.
    pub became: Option<Becomes>,
    /// There was no snapshot that could have been shown.
    pub no_snapshot: bool,
    /// It was posed, and went on at a mail server for what only that has.
    pub upgraded: bool,
}

impl Entry {
    /// A login of which nothing is known but who, when and how it ended.
    #[must_use]
    pub fn new(at_ms: u64, user: &str, outcome: Ending) -> Self {
        Self {
            at_ms,
            user: user.to_owned(),
            authorization_id: None,
            mechanism: Mechanism::UserPass,
            peer: NO_ADDRESS,
            local: NO_ADDRESS,
            tls: None,
            outcome: Some(outcome),
            latency_ms: None,
            times: 1,
            recorded: None,
        }
    }

    /// Whether it went on at a mail server after it had been posed. Other logs do not tell.
    pub(super) fn is_upgraded(&self) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.upgraded)
    }

    /// Its place in the order of decisions.
    pub(super) fn seq(&self) -> Option<u64> {
        self.recorded.as_ref().and_then(|recorded| recorded.seq)
    }
}
