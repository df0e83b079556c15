//! A login in a log, in the same form for all formats.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::recorded_verdict::RecordedVerdict;
use reprieve_policy_host::{Action, Backend, Because, Ending, Mechanism, Standing, TlsSession};

/// The address of an entry if the log has none.
pub(crate) const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A login in a log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Time of the login in milliseconds since 1970.
    pub at_ms: u64,
    /// User name as in the log.
    pub user: String,
    /// Identity that the client asked to act as, if the log has one.
    pub authorization_id: Option<String>,
    /// Mechanism of the login; USER and PASS if the log does not have it.
    pub mechanism: Mechanism,
    /// The client's address; address or port are unspecified if the log does not have them.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The TLS session, if the log has one.
    pub tls: Option<TlsSession>,
    /// Outcome at the mail server; none if the login did not reach one.
    pub outcome: Option<Ending>,
    /// Latency of the mail server, if the log has it.
    pub latency_ms: Option<u32>,
    /// Number of identical logins that the line stands for: some logs count failed logins.
    pub times: u32,
    /// What only Reprieve's own logs contain.
    pub recorded: Option<Box<Recorded>>,
}

/// What only Reprieve's own logs contain.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Session id.
    pub id: String,
    /// Name of the virtual server.
    pub virtual_server: String,
    /// Number of the decision in its process, if the log has it.
    pub seq: Option<u64>,
    /// What the host knew about the presented secret.
    pub standing: Option<Standing>,
    /// State of the pool.
    pub backend: Option<Backend>,
    /// Time of the outcome in milliseconds since 1970.
    pub outcome_at_ms: Option<u64>,
    /// The node that checked the credentials.
    pub node: Option<String>,
    /// The policy that decided, if the log has it.
    pub policy: Option<RecordedPolicy>,
    /// Verdict of the policy; none if it was not asked.
    pub verdict: Option<RecordedVerdict>,
    /// What happened to the login, after the host's rules.
    pub action: Option<Action>,
    /// Why that is not what the policy decided.
    pub because: Option<Because>,
    /// The login was posed, and the session continued at a mail server.
    pub upgraded: bool,
}

/// A policy as Reprieve's decision log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedPolicy {
    /// Built-in name, or path of the component.
    pub component: String,
    /// SHA-256 of the component in hexadecimal.
    pub sha256: String,
}

impl Entry {
    /// A login of which only user, time and outcome are known.
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

    /// Whether the session was posed and then continued at a mail server. False for other software's
    /// logs.
    pub(super) fn is_upgraded(&self) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.upgraded)
    }

    /// Number of the decision in its process.
    pub(super) fn seq(&self) -> Option<u64> {
        self.recorded.as_ref().and_then(|recorded| recorded.seq)
    }
}
