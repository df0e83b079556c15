//! A login as policies see it, and its parts. The versions of the contract are made from these
//! types (see [`crate::contract`]).

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{Date, Mechanism, Standing, Weekday};
use reprieve_metrics::labels;
use reprieve_store::clock::civil;
use reprieve_text::ip_text;

/// A complete login that is waiting for a verdict. It is shared, because a call that is made again
/// and the outcome need it, too.
#[derive(Clone, Debug)]
pub struct Login {
    /// The session that it belongs to.
    pub session: Session,
    /// The client's connection.
    pub client: Client,
    /// The user who is logging in.
    pub claim: Claim,
    /// When the login was complete.
    pub time: Moment,
    /// State of the pool that it would go to.
    pub backend: Backend,
    /// All pools.
    pub pools: Arc<dyn Pools>,
    /// What is known about the user's maildrop.
    pub maildrop: Maildrop,
}

/// The session that a login belongs to.
#[derive(Clone, Debug)]
pub struct Session {
    /// Name of the virtual server.
    pub virtual_server: Arc<str>,
    /// Session id, as in the log: up to 32 characters.
    pub id: Box<str>,
    /// Failed or refused logins on the same connection before this one.
    pub earlier_logins: u32,
}

/// The client's connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's own address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The TLS session; None for a cleartext connection.
    pub tls: Option<TlsSession>,
}

/// The TLS session between the client and Reprieve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSession {
    /// Protocol version, for instance `TLSv1.3`.
    pub version: String,
    /// Server name that the client requested (SNI).
    pub server_name: Option<String>,
    /// Subject of the client's certificate, if it presented one that was verified.
    pub client_subject: Option<String>,
}

/// The user who is logging in. The secret is not part of it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// User name that the client sent, in readable form.
    pub user: String,
    /// Identity that the client asks to act as, if it is not the user's own.
    pub authorization_id: Option<String>,
    /// What identifies the user's maildrop.
    pub key: MemoryKey,
    /// How the secret was presented.
    pub mechanism: Mechanism,
    /// What is known about the secret.
    pub standing: Standing,
}

/// A point in time, as Unix time and as local time in the virtual server's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
    /// Civil date.
    pub date: Date,
    /// Day of the week of that date.
    pub weekday: Weekday,
    /// Seconds since midnight, local time: 0 to 86,399.
    pub second_of_day: u32,
}

/// State of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name of the pool.
    pub pool: Arc<str>,
    /// Nodes in the pool.
    pub nodes: u32,
    /// Nodes that are considered healthy.
    pub healthy_nodes: u32,
    /// Open sessions at the nodes.
    pub sessions: u32,
    /// Logins waiting for a node.
    pub waiting: u32,
    /// Moving average of the duration of recent logins at the nodes, from connecting to the answer,
    /// in milliseconds; None before the first login.
    pub login_latency_ms: Option<u32>,
}

impl Backend {
    /// A pool with one healthy node and nothing to do.
    #[must_use]
    pub fn idle(pool: &str) -> Self {
        Self {
            pool: pool.into(),
            nodes: 1,
            healthy_nodes: 1,
            sessions: 0,
            waiting: 0,
            login_latency_ms: None,
        }
    }
}

/// The pools that a policy can ask about.
pub trait Pools: Send + Sync + std::fmt::Debug {
    /// Names of all pools.
    fn names(&self) -> Vec<String>;

    /// State of a pool; None if there is none of this name.
    fn state(&self, pool: &str) -> Option<Backend>;
}

/// Pools with one healthy node each and nothing to do.
impl Pools for Vec<String> {
    fn names(&self) -> Vec<String> {
        self.clone()
    }

    fn state(&self, pool: &str) -> Option<Backend> {
        self.iter().any(|name| name == pool).then(|| Backend::idle(pool))
    }
}

/// What is known about a user's maildrop. All numbers saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// The snapshot, if there is one.
    pub snapshot: Option<SnapshotFacts>,
    /// Seconds since a denied login of the user was last upgraded.
    pub seconds_since_upgrade: Option<u32>,
    /// The user's other open sessions at this proxy.
    pub open_sessions: u32,
    /// What is known about changes since the snapshot.
    pub freshness: Freshness,
}

labels! {
    /// What is known about changes of a maildrop since its snapshot.
    #[derive(Default)]
    pub enum Freshness {
        /// Nothing: there may be new mail.
        #[default]
        Unknown = "unknown",
        /// There is no new mail: all deliveries are signalled, and none was.
        Unchanged = "unchanged",
        /// There is new mail.
        NewMail = "new-mail",
    }
}

/// What is known about a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Messages in it.
    pub messages: u32,
    /// Size of these messages in bytes.
    pub total_bytes: u32,
    /// Seconds since the login of the session that left the snapshot.
    pub seconds_since_seen: Option<u32>,
    /// Seconds since a session last found something else in the maildrop than the session before it
    /// had left.
    pub seconds_unchanged: Option<u32>,
}

/// A Unix time in milliseconds, with the civil time of a time zone.
#[must_use]
pub fn moment(unix_ms: u64, zone: &TimeZone) -> Moment {
    let civil = civil(unix_ms, zone);
    Moment {
        unix_ms,
        date: Date { year: civil.year, month: civil.month, day: civil.day },
        weekday: match civil.weekday {
            0 => Weekday::Monday,
            1 => Weekday::Tuesday,
            2 => Weekday::Wednesday,
            3 => Weekday::Thursday,
            4 => Weekday::Friday,
            5 => Weekday::Saturday,
            _ => Weekday::Sunday,
        },
        second_of_day: civil.second_of_day,
    }
}

/// What identifies a user's maildrop, and the key in the store of what the policy remembers about
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryKey(Box<str>);

impl MemoryKey {
    /// First character of the keys of memories in the store. Policies cannot use such keys.
    pub const PREFIX: char = '~';

    /// From the names in the spelling that the virtual server's settings make of them. A master user
    /// has a separate key for each user that they act as.
    #[must_use]
    pub fn new(user: &str, authorization_id: Option<&str>) -> Self {
        let mut key = String::with_capacity(user.len() + authorization_id.map_or(0, str::len) + 2);
        key.push(Self::PREFIX);
        key.push_str(user);
        if let Some(acting) = authorization_id {
            // User names contain no NUL.
            key.push('\0');
            key.push_str(acting);
        }
        Self(key.into())
    }

    /// From what identifies the maildrop.
    #[must_use]
    pub fn of_user_key(key: &str) -> Self {
        Self::new(key, None)
    }

    /// What identifies the maildrop.
    #[must_use]
    pub fn user(&self) -> &str {
        self.0.get(Self::PREFIX.len_utf8()..).unwrap_or_default()
    }

    /// The key in the store.
    #[must_use]
    pub fn stored(&self) -> &str {
        &self.0
    }
}

/// An address in its usual text form. An IPv4 address from a dual-stack socket is written as IPv4.
pub(crate) fn address_text(address: SocketAddr) -> String {
    ip_text(address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_addresses_look_the_same_from_either_socket() {
        for (address, expected) in [
            ("192.0.2.7:110", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:110", "192.0.2.7"),
            ("[2001:db8::1]:110", "2001:db8::1"),
        ] {
            assert_eq!(address_text(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn each_maildrop_has_its_own_key() {
        let keys = [("alice", None), ("bob", None), ("alice", Some("bob")), ("alicebob", None)]
            .map(|(user, acting)| MemoryKey::new(user, acting));
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{key:?}");
            assert!(key.stored().starts_with(MemoryKey::PREFIX));
        }
        assert_eq!(keys[0].user(), "alice");
    }
}
