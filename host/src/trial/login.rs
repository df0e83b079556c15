//! A login that nobody made.

use std::net::SocketAddr;

use jiff::tz::TimeZone;

use crate::policy::{
    Backend, Claim, Client, Endpoint, Login, Mechanism, Session, Standing, TlsSession, moment,
};

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

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address: address.ip().to_canonical().to_string(), port: address.port() }
}
