//! Logins to play, and their outcomes at a simulated mail server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::{
    Backend, Claim, Client, Ending, Login, Maildrop, Mechanism, MemoryKey, Pools, Session, Standing,
    TlsSession, moment,
};
use reprieve_store::Fault;

/// Facts about a login that a policy sees, except for the session and the time.
#[derive(Clone, Debug)]
pub struct LoginFacts {
    /// User name as the client sent it.
    pub user: String,
    /// Identity that the client asks to act as, if it is not the user's own.
    pub authorization_id: Option<String>,
    /// How the secret is presented.
    pub mechanism: Mechanism,
    /// What the host knows about the secret.
    pub standing: Standing,
    /// Address of the client.
    pub peer: SocketAddr,
    /// Address that the client connected to.
    pub local: SocketAddr,
    /// TLS session, or `None` for a cleartext connection.
    pub tls: Option<TlsSession>,
    /// State of the pool that the login would be passed to.
    pub backend: Backend,
    /// What the host knows about the user's maildrop.
    pub maildrop: Maildrop,
    /// All pools.
    pub pools: Arc<dyn Pools>,
    /// Failed or refused logins on the same connection before this one.
    pub earlier_logins: u32,
}

impl LoginFacts {
    /// A user with a known secret on a cleartext connection, and the pool `mail` with one healthy
    /// node.
    #[must_use]
    pub fn new(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            authorization_id: None,
            mechanism: Mechanism::UserPass,
            standing: Standing::Known,
            peer: SocketAddr::from(([192, 0, 2, 1], 49_152)),
            local: SocketAddr::from(([192, 0, 2, 110], 110)),
            tls: None,
            backend: Backend::idle("mail"),
            maildrop: Maildrop::default(),
            pools: Arc::new(vec!["mail".to_owned()]),
            earlier_logins: 0,
        }
    }

    /// Argument of `decide` for a login with these facts. `id`: the session's, up to 32
    /// characters.
    #[must_use]
    pub fn login(&self, virtual_server: &str, id: &str, unix_ms: u64, zone: &TimeZone) -> Arc<Login> {
        Arc::new(Login {
            session: Session {
                virtual_server: virtual_server.into(),
                id: id.into(),
                earlier_logins: self.earlier_logins,
            },
            client: Client { peer: self.peer, local: self.local, tls: self.tls.clone() },
            claim: Claim {
                user: self.user.clone(),
                authorization_id: self.authorization_id.clone(),
                key: MemoryKey::new(&self.user, self.authorization_id.as_deref()),
                mechanism: self.mechanism,
                standing: self.standing,
            },
            time: moment(unix_ms, zone),
            backend: self.backend.clone(),
            pools: self.pools.clone(),
            maildrop: self.maildrop,
        })
    }
}

/// Outcome of a login that is passed to the simulated mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendOutcome {
    /// `observe` is not called.
    NotObserved,
    /// `observe` is called with this outcome.
    Observed {
        /// How the login ended.
        ending: Ending,
        /// Node that answered the login.
        node: Option<String>,
        /// Latency of the node, as reported to the policy.
        latency: Duration,
        /// How far the clock moves before `observe` is called.
        after: Duration,
        /// Response code of a rejection, without brackets.
        response_code: Option<String>,
    },
}

impl From<Ending> for BackendOutcome {
    fn from(ending: Ending) -> Self {
        let answered = matches!(ending, Ending::Authenticated | Ending::Rejected);
        Self::Observed {
            ending,
            node: answered.then(|| "192.0.2.25:110".to_owned()),
            latency: Duration::from_millis(10),
            after: Duration::ZERO,
            response_code: None,
        }
    }
}

/// Fault that is injected into one login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// The store cannot be reached.
    StoreUnavailable,
    /// The store rejects all writes because it is full.
    StoreFull,
    /// The CPU time of `decide` is used up at once.
    Time,
}

impl InjectedFault {
    pub(super) fn store_fault(self) -> Option<Fault> {
        match self {
            Self::StoreUnavailable => Some(Fault::Unavailable),
            Self::StoreFull => Some(Fault::Full),
            Self::Time => None,
        }
    }
}

/// How a relayed session goes, after the mail server has accepted its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTotals {
    /// From the outcome of the login to the end of the session.
    pub lasts: Duration,
    /// Messages that are fetched.
    pub fetched: u32,
    /// Messages that are deleted.
    pub deleted: u32,
    /// Bytes that are sent to the client.
    pub sent_bytes: u64,
    /// Whether the client ends it with QUIT.
    pub quit: bool,
}

/// A login to play: its facts, its outcome, and the fault to inject.
#[derive(Clone, Debug)]
pub struct TestLogin {
    pub(super) facts: LoginFacts,
    /// `None`: as derived from earlier outcomes.
    pub(super) standing: Option<Standing>,
    /// `None`: the harness's outcome.
    pub(super) outcome: Option<BackendOutcome>,
    /// `None`: the harness's first pool.
    pub(super) pool: Option<String>,
    pub(super) fault: Option<InjectedFault>,
    /// States of pools other than the login's.
    pub(super) other_pools: Vec<Backend>,
    /// Whether a posed session is upgraded.
    pub(super) upgrade: bool,
    /// `None`: the session does not end before the test does.
    pub(super) session: Option<SessionTotals>,
}

impl TestLogin {
    /// A login with these facts, except for the standing and the pool's name: the harness derives
    /// the standing from earlier outcomes and uses its first pool. Use [`TestLogin::from`] to
    /// keep both.
    #[must_use]
    pub fn new(facts: LoginFacts) -> Self {
        Self {
            facts,
            standing: None,
            outcome: None,
            pool: None,
            fault: None,
            other_pools: Vec::new(),
            upgrade: false,
            session: None,
        }
    }

    /// Outcome if the login is passed to the mail server [default: the harness's].
    #[must_use]
    pub fn outcome(mut self, outcome: impl Into<BackendOutcome>) -> Self {
        self.outcome = Some(outcome.into());
        self
    }

    /// What the host knows about the secret [default: as derived from earlier outcomes].
    #[must_use]
    pub fn standing(mut self, standing: Standing) -> Self {
        self.standing = Some(standing);
        self
    }

    /// Pool that the login would be passed to [default: the harness's first pool].
    #[must_use]
    pub fn pool(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// If the user is shown their maildrop unchanged, the client asks for something that only the mail
    /// server has, and the session continues there.
    #[must_use]
    pub fn upgrade(mut self) -> Self {
        self.upgrade = true;
        self
    }

    /// If the mail server accepts the login, how the session goes; its end is reported to a policy with
    /// the export `sessions`, and the clock moves on to it.
    #[must_use]
    pub fn session(mut self, totals: SessionTotals) -> Self {
        self.session = Some(totals);
        self
    }

    /// State of a pool that the login would not be passed to [default: one idle node].
    #[must_use]
    pub fn other_pool(mut self, state: Backend) -> Self {
        self.other_pools.push(state);
        self
    }

    /// Injects a fault into this login.
    #[must_use]
    pub fn inject(mut self, fault: InjectedFault) -> Self {
        self.fault = Some(fault);
        self
    }
}

/// A login of this user with the facts of [`LoginFacts::new`] and a derived standing.
impl From<&str> for TestLogin {
    fn from(user: &str) -> Self {
        Self::new(LoginFacts::new(user))
    }
}

/// A login with exactly these facts, including the standing and the pool.
impl From<LoginFacts> for TestLogin {
    fn from(facts: LoginFacts) -> Self {
        let standing = facts.standing;
        let pool = facts.backend.pool.clone();
        Self::new(facts).standing(standing).pool(&pool)
    }
}

/// The pools of a test.
#[derive(Debug)]
pub(super) struct TestPools {
    pub(super) all: Arc<dyn Pools>,
    /// States of some of them.
    pub(super) states: Vec<Backend>,
}

impl Pools for TestPools {
    fn names(&self) -> Vec<String> {
        self.all.names()
    }

    fn state(&self, pool: &str) -> Option<Backend> {
        let given = self.states.iter().find(|state| *state.pool == *pool);
        given.cloned().or_else(|| self.all.state(pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_without_a_given_state_are_idle() {
        let all = Arc::new(vec!["mail".to_owned(), "archive".to_owned()]);
        let pools = TestPools { all, states: vec![Backend { nodes: 5, ..Backend::idle("archive") }] };
        assert_eq!(pools.names(), ["mail", "archive"]);
        assert_eq!(pools.state("archive").map(|state| state.nodes), Some(5));
        assert_eq!(pools.state("mail"), Some(Backend::idle("mail")));
        assert_eq!(pools.state("other"), None);
    }
}
