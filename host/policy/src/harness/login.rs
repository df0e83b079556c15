//! A login that nobody made, and what happens to it at a mail server.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::Injection;
use crate::{
    Backend, Claim, Client, Ending, Login, Mechanism, Session, Standing, TlsSession, endpoint, moment,
};
use reprieve_store::Fault;

/// Who logs in, and how the pool is at that time.
#[derive(Clone, Debug)]
pub struct Who {
    /// User name as the client gives it.
    pub user: String,
    /// Identity that the client asks to act as, if it is not his own.
    pub authorization_id: Option<String>,
    /// How the secret is presented.
    pub mechanism: Mechanism,
    /// What the host knows of the secret.
    pub standing: Standing,
    /// The client's own address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The TLS session, if there is one.
    pub tls: Option<TlsSession>,
    /// State of the pool that the login would go to.
    pub backend: Backend,
}

impl Who {
    /// A known user on a cleartext connection, before a pool `mail` of one healthy node.
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
            backend: Backend {
                pool: "mail".to_owned(),
                nodes: 1,
                healthy_nodes: 1,
                sessions: 0,
                waiting: 0,
                login_latency_ms: None,
            },
        }
    }

    /// The login as a policy is given it. `id`: the session's, up to 32 characters.
    #[must_use]
    pub fn login(&self, virtual_server: &str, id: &str, unix_ms: u64, zone: &TimeZone) -> Login {
        Login {
            session: Session { virtual_server: virtual_server.to_owned(), id: id.to_owned() },
            client: Client { peer: endpoint(self.peer), local: endpoint(self.local), tls: self.tls.clone() },
            claim: Claim {
                user: self.user.clone(),
                authorization_id: self.authorization_id.clone(),
                mechanism: self.mechanism,
                standing: self.standing,
            },
            time: moment(unix_ms, zone),
            backend: self.backend.clone(),
        }
    }
}

/// What happens to a login that goes on to a mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happens {
    /// Nothing is known of it: the policy is not told.
    Nothing,
    /// It ends, and the policy is told.
    Ends {
        /// How it ends.
        ending: Ending,
        /// The node that judged it.
        node: Option<String>,
        /// How long the node took, as the policy is told.
        latency: Duration,
        /// How far the clock moves on meanwhile.
        after: Duration,
    },
}

impl From<Ending> for Happens {
    fn from(ending: Ending) -> Self {
        let judged = matches!(ending, Ending::Authenticated | Ending::Rejected);
        Self::Ends {
            ending,
            node: judged.then(|| "192.0.2.25:110".to_owned()),
            latency: Duration::from_millis(10),
            after: Duration::ZERO,
        }
    }
}

/// A login with all that is to happen to it. Made from a user's name, or from a [`Who`], whose
/// standing then is what it says.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(super) who: Who,
    /// Without it the host knows what it has seen.
    pub(super) standing: Option<Standing>,
    /// Without it what the trial's logins come to.
    pub(super) happens: Option<Happens>,
    pub(super) pool: Option<String>,
    pub(super) interference: Option<Fault>,
    pub(super) out_of_time: bool,
}

impl Attempt {
    /// What it comes to at the mail server, if it gets there.
    #[must_use]
    pub fn ends(mut self, happens: impl Into<Happens>) -> Self {
        self.happens = Some(happens.into());
        self
    }

    /// What the host knows of the secret, instead of what it has seen.
    #[must_use]
    pub fn standing(mut self, standing: Standing) -> Self {
        self.standing = Some(standing);
        self
    }

    /// The pool that it would go to, instead of the trial's.
    #[must_use]
    pub fn pool(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// Something fails while it is judged.
    #[must_use]
    pub fn inject(mut self, injection: Injection) -> Self {
        self.interference = injection.interference();
        self.out_of_time = injection == Injection::Time;
        self
    }

    /// The login, with the standing left to the host.
    #[must_use]
    pub fn by(who: Who) -> Self {
        Self { who, standing: None, happens: None, pool: None, interference: None, out_of_time: false }
    }
}

impl From<&str> for Attempt {
    fn from(user: &str) -> Self {
        Self::by(Who::new(user))
    }
}

impl From<Who> for Attempt {
    fn from(who: Who) -> Self {
        let standing = who.standing;
        let pool = who.backend.pool.clone();
        Self::by(who).standing(standing).pool(&pool)
    }
}
